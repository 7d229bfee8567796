package httpapi

import (
	"context"
	"encoding/base64"
	"encoding/pem"
	"net/url"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"troth/internal/access"
	"troth/internal/api"
	"troth/internal/fleet"
)

// actionAccess is what a proxy needs to be allowed.
const actionAccess = "access.decide"

func (e *edge) accessRoutes(get func(id, path, summary string) huma.Operation) {
	op := get("authz", api.PathAuthz, "May the device do the action on the resource?")
	op.Description = "For any program by its query; for NGINX's auth_request and Traefik's ForwardAuth by the headers that they send. 200 is yes, 403 is no, and whatever else is no answer, which proxies take for a no."
	byOperator(e, op, actionAccess, e.authz)
	e.extAuthzRoute()
}

// question is what proxies ask, each in its own headers.
type question struct {
	Device   string `query:"device" maxLength:"64" doc:"device id"`
	Action   string `query:"action" maxLength:"64" doc:"by default the method of the proxied request, in lower case"`
	Resource string `query:"resource" maxLength:"1024" doc:"by default the URI of the proxied request"`

	ClientCert    string `header:"X-Client-Cert" maxLength:"16384" doc:"the device's certificate, PEM, URL-escaped: NGINX's $ssl_client_escaped_cert"`
	ForwardedCert string `header:"X-Forwarded-Tls-Client-Cert" maxLength:"65536" doc:"the device's certificate as Traefik's PassTLSClientCert writes it"`

	OriginalMethod  string `header:"X-Original-Method" maxLength:"64"`
	OriginalURI     string `header:"X-Original-URI" maxLength:"8192"`
	ForwardedMethod string `header:"X-Forwarded-Method" maxLength:"64"`
	ForwardedURI    string `header:"X-Forwarded-Uri" maxLength:"8192"`
}

// permit is a yes. Its headers are for the proxy to hand on.
type permit struct {
	Device  string `header:"X-Troth-Device" doc:"the device's id"`
	Verdict string `header:"X-Troth-Verdict"`
	Body    api.Access
}

// authz is asked by proxies: 200 is yes, 403 is no.
func (e *edge) authz(ctx context.Context, t fleet.Token, in *question) (*permit, error) {
	action, resource := in.subject()
	if action == "" {
		return nil, fleet.Errorf(fleet.Invalid, "action_missing", "say which action is asked about: the query action, or a header X-Original-Method or X-Forwarded-Method")
	}
	der, err := in.certificate()
	if err != nil {
		return nil, err
	}
	id, a, err := e.decide(ctx, t, fleet.DeviceID(in.Device), der, action, resource)
	if err != nil {
		return nil, err
	}
	return &permit{Device: string(id), Verdict: string(a.Verdict), Body: api.Access{
		Allow: true, Reason: a.Reason, Device: string(id), Verdict: string(a.Verdict),
		Policy: a.Policy, Input: a.Input, Evidence: a.Evidence,
	}}, nil
}

// decide asks for the device that is named, or whose certificate was shown. A no
// is an error that says why; of a device out of the token's scope it says what it
// says of one that nobody knows.
func (e *edge) decide(ctx context.Context, t fleet.Token, id fleet.DeviceID, der []byte, action, resource string) (fleet.DeviceID, access.Answer, error) {
	var a access.Answer
	var err error
	switch {
	case (id == "") == (der == nil):
		return "", a, fleet.Errorf(fleet.Refused, "device_unnamed", "the device must be named in one way: by its id, or by the certificate that it showed")
	case der != nil:
		id, a, err = e.Access.DecideShown(ctx, der, action, resource)
		if id == "" {
			break
		}
		if in, failed := e.inScope(ctx, t, id); failed != nil {
			return "", access.Answer{}, failed
		} else if !in {
			return "", access.Answer{}, fleet.Errorf(fleet.Refused, "certificate_unknown", "the certificate is not on record here")
		}
	default:
		if in, failed := e.inScope(ctx, t, id); failed != nil {
			return "", a, failed
		} else if !in {
			return "", a, fleet.Errorf(fleet.Refused, "device_unknown", "no such device is known")
		}
		a, err = e.Access.Decide(ctx, id, action, resource)
	}
	switch {
	case fleet.IsKind(err, fleet.NotFound):
		return "", a, fleet.Errorf(fleet.Refused, "device_unknown", "no such device is known")
	case err != nil:
		return "", a, err
	case !a.Allow:
		return "", a, fleet.Errorf(fleet.Refused, a.Code, "%s", a.Reason)
	}
	return id, a, nil
}

// subject is what the device would do on what: in the query's words, else the
// method and the URI of the proxied request.
func (q *question) subject() (action, resource string) {
	action, resource = q.Action, q.Resource
	if action == "" {
		action = strings.ToLower(q.OriginalMethod)
		if action == "" {
			action = strings.ToLower(q.ForwardedMethod)
		}
	}
	if resource == "" {
		resource = q.OriginalURI
		if resource == "" {
			resource = q.ForwardedURI
		}
	}
	return action, resource
}

// certificate is the one of the headers, as DER; nil where none came.
func (q *question) certificate() ([]byte, error) {
	malformed := fleet.Errorf(fleet.Invalid, "certificate_malformed", "the header does not hold one certificate")
	switch {
	case q.ClientCert != "" && q.ForwardedCert != "":
		return nil, fleet.Errorf(fleet.Refused, "device_unnamed", "two headers hold a certificate: a proxy sets one")
	case q.ClientCert != "":
		der, ok := escapedPEM(q.ClientCert)
		if !ok {
			return nil, malformed
		}
		return der, nil
	case q.ForwardedCert != "":
		// The chain from the leaf on, each without its PEM armour. Older releases
		// escape it.
		leaf, _, _ := strings.Cut(q.ForwardedCert, ",")
		if text, err := url.PathUnescape(leaf); err == nil { // a plus is base64's
			leaf = text
		}
		leaf, _, _ = strings.Cut(leaf, ",")
		der, err := base64.StdEncoding.DecodeString(leaf)
		if err != nil || len(der) == 0 {
			return nil, malformed
		}
		return der, nil
	}
	return nil, nil
}

// escapedPEM reads one URL-escaped PEM certificate.
func escapedPEM(text string) ([]byte, bool) {
	plain, err := url.PathUnescape(text)
	if err != nil {
		return nil, false
	}
	block, rest := pem.Decode([]byte(plain))
	if block == nil || block.Type != "CERTIFICATE" || len(strings.TrimSpace(string(rest))) > 0 {
		return nil, false
	}
	return block.Bytes, true
}
