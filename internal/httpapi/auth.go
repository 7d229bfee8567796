package httpapi

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"troth/internal/fleet"
	"troth/internal/operator"
)

// caller is a device that proved itself by its client certificate.
type caller struct {
	id    fleet.DeviceID
	key   []byte            // PKIX SPKI of the certificate's key
	shown fleet.Certificate // its record
}

type callerKey struct{}

func callerOf(ctx context.Context) caller {
	c, _ := ctx.Value(callerKey{}).(caller)
	return c
}

type tokenKey struct{}

func tokenOf(ctx context.Context) fleet.Token {
	t, _ := ctx.Value(tokenKey{}).(fleet.Token)
	return t
}

func (e *edge) requireDevice(ctx huma.Context, next func(huma.Context)) {
	r, _ := humago.Unwrap(ctx)
	c, err := e.identify(r)
	if err != nil {
		e.deny(ctx, err)
		return
	}
	next(huma.WithValue(ctx, callerKey{}, c))
}

// deviceOnly is requireDevice for routes that huma does not serve.
func (e *edge) deviceOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := e.identify(r); err != nil {
			p := render(e.fail(r.Context(), err))
			writeProblem(w, r, p.Status, p.Problem)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// identify finds the device behind a request. TLS verified the chain; here the
// certificate must also be one that is on record as issued and not revoked, for
// a device that is not retired. A quarantined device is let through, with the
// certificate that its quarantine restricts to these routes: this is how it
// proves that it was mended, and gets the firmware to mend it. The first use of
// a certificate that succeeds others ends those.
func (e *edge) identify(r *http.Request) (caller, error) {
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
		return caller{}, fleet.Errorf(fleet.Unauthorized, "certificate_required", "this needs the device's client certificate: enrol first")
	}
	leaf := r.TLS.VerifiedChains[0][0]
	// TLS looks at the time once, and a connection may outlive its certificate.
	if e.Now().After(leaf.NotAfter) {
		return caller{}, fleet.Errorf(fleet.Unauthorized, "certificate_expired", "the certificate ended at %s: enrol again", leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	record, err := e.Records.CertificateBySerial(r.Context(), serialOf(leaf))
	if fleet.IsKind(err, fleet.NotFound) {
		return caller{}, fleet.Errorf(fleet.Unauthorized, "certificate_unknown", "the certificate is not on record here: enrol again")
	}
	if err != nil {
		return caller{}, err
	}
	if !record.Opens() {
		return caller{}, fleet.Errorf(fleet.Unauthorized, "certificate_revoked", "the certificate was revoked: %s", record.Reason)
	}
	if len(leaf.URIs) != 1 || leaf.URIs[0].String() != e.Enroll.URI(record.Device) {
		return caller{}, fleet.Errorf(fleet.Unauthorized, "certificate_unknown", "the certificate does not name the device that it is on record for")
	}
	d, err := e.Records.Device(r.Context(), record.Device)
	if err != nil {
		return caller{}, err
	}
	if d.Lifecycle == fleet.Retired {
		return caller{}, fleet.Errorf(fleet.Unauthorized, "device_retired", "the device was retired: %s", d.LifecycleReason)
	}
	if record.Succeeds {
		if err := e.Enroll.Used(r.Context(), record); err != nil {
			return caller{}, err
		}
	}
	return caller{id: record.Device, key: leaf.RawSubjectPublicKeyInfo, shown: record}, nil
}

// serialOf is written as ca.Certificate.Serial is.
func serialOf(c *x509.Certificate) string { return hex.EncodeToString(c.SerialNumber.Bytes()) }

// requireOperator lets a token through whose role and scope policy allows the
// action, which is about the device that the path names, or about none.
func (e *edge) requireOperator(action string, aboutDevice bool) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		token, err := e.operator(ctx.Context(), ctx.Header("Authorization"), ctx.RemoteAddr(), action, ctx.Param("id"), aboutDevice)
		if err != nil {
			e.deny(ctx, err)
			return
		}
		next(huma.WithValue(ctx, tokenKey{}, token))
	}
}

// operator finds the token of an Authorization header, and asks policy whether
// it may do the action. An address may guess so often.
func (e *edge) operator(ctx context.Context, authorization, remote, action, resource string, aboutDevice bool) (fleet.Token, error) {
	token, err := e.Operators.Authenticate(ctx, secretOf(authorization))
	if err == nil {
		err = e.authorize(ctx, token, action, resource, aboutDevice)
	}
	if fleet.IsKind(err, fleet.Unauthorized) && !e.guesses.allow(remote, e.Now()) {
		err = tooMany("too many wrong tokens from this address: wait a moment")
	}
	return token, err
}

// Actions that no policy is asked about: logging in is all that a bootstrap
// token may do, and everybody else may ask who they are.
const (
	actionLogin  = "login"
	actionWhoAmI = "whoami"
)

// secretOf is the token of an Authorization header: a bearer token (RFC 6750,
// section 2.1), or the password of a proxy that knows only user names and
// passwords (RFC 7617). Empty where there is none.
func secretOf(header string) string {
	scheme, secret, _ := strings.Cut(header, " ")
	switch {
	case strings.EqualFold(scheme, "Bearer"):
		return strings.TrimSpace(secret)
	case strings.EqualFold(scheme, "Basic"):
		plain, err := base64.StdEncoding.DecodeString(strings.TrimSpace(secret))
		if err != nil {
			return ""
		}
		_, password, _ := strings.Cut(string(plain), ":")
		return password
	}
	return ""
}

func (e *edge) authorize(ctx context.Context, t fleet.Token, action, resource string, aboutDevice bool) error {
	switch {
	case action == actionLogin:
		return nil // operator.Login takes bootstrap tokens only
	case t.Role == fleet.RoleBootstrap:
		return fleet.Errorf(fleet.Refused, "forbidden", "a bootstrap token is good for one login and nothing else")
	case action == actionWhoAmI:
		return nil
	case aboutDevice:
		return e.authorizeDevice(ctx, t, action, resource)
	default:
		return e.Operators.Authorize(ctx, t, action, resource, fleet.Device{})
	}
}

// authorizeDevice asks policy about one device. One out of the token's scope is
// answered as one that does not exist, so that nobody learns which there are.
func (e *edge) authorizeDevice(ctx context.Context, t fleet.Token, action, key string) error {
	d, err := e.Devices.Resolve(ctx, key)
	if err != nil && !fleet.IsKind(err, fleet.NotFound) && !fleet.IsKind(err, fleet.Conflict) {
		return err
	}
	if err != nil {
		d = fleet.Device{} // the route says so to whom it may
	}
	err = e.Operators.Authorize(ctx, t, action, key, d)
	if fleet.CodeOf(err) == operator.CodeOutOfScope {
		return fleet.Errorf(fleet.NotFound, "device_not_found", "no device has the name or id %q", key)
	}
	return err
}

// inScope asks policy again about a device that a proxy's question turned out to
// be about.
func (e *edge) inScope(ctx context.Context, t fleet.Token, id fleet.DeviceID) (bool, error) {
	if len(t.Scope) == 0 {
		return true, nil
	}
	d, err := e.Records.Device(ctx, id)
	if fleet.IsKind(err, fleet.NotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	err = e.Operators.Authorize(ctx, t, actionAccess, string(id), d)
	if fleet.CodeOf(err) == operator.CodeOutOfScope {
		return false, nil
	}
	return err == nil, err
}
