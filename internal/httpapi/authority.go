package httpapi

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"troth/internal/api"
	"troth/internal/authority"
	"troth/internal/fleet"
)

// CA is the service's certificate authorities, as others see them.
type CA struct {
	*authority.Service
	// Trust is whom devices are to believe.
	Trust func() api.TrustBundle
	// Published is what verifiers of certificates ask for.
	Published Published
}

// Published are documents for whoever verifies a certificate. An authority that
// is not ours, or publishes elsewhere, is fleet.ErrNotFound.
type Published interface {
	SPIFFEBundle(ctx context.Context) ([]byte, error)                    // a JWK Set
	BundlePEM(ctx context.Context) ([]byte, error)                       // roots of devices
	CRL(ctx context.Context, id string) ([]byte, error)                  // DER
	Issuer(ctx context.Context, id string) ([]byte, error)               // DER
	OCSP(ctx context.Context, id string, request []byte) ([]byte, error) // DER
}

// Media types of what is published (RFC 2585, section 4; RFC 6960, appendix C).
const (
	typeSPIFFE       = "application/json"
	typePEM          = "application/pem-certificate-chain"
	typeCRL          = "application/pkix-crl"
	typeCertificate  = "application/pkix-cert"
	typeOCSPResponse = "application/ocsp-response"
)

// How long a document may be used without asking again. Bundles: a change of the
// CA waits for devices, not for relying parties, so they ask often.
const (
	cacheBundle = "public, max-age=60"
	cacheCRL    = "public, max-age=60, must-revalidate"
	cacheIssuer = "public, max-age=86400, immutable"
	cacheOCSP   = "no-cache"
)

func (e *edge) trustDigest() string {
	if e.CA.Trust == nil {
		return ""
	}
	return e.CA.Trust().Digest()
}

func (e *edge) authorityRoutes() {
	byDevice(e, huma.Operation{
		OperationID: "trust-bundle", Method: http.MethodGet, Path: api.PathTrustBundle, Tags: []string{"device"},
		Summary: "Whom the device is to believe from now on",
	}, func(context.Context, caller, *struct{}) (*body[api.TrustBundle], error) {
		return answer(e.CA.Trust(), nil)
	})
	byOperator(e, huma.Operation{
		OperationID: "ca-status", Method: http.MethodGet, Path: api.PathAuthorities, Tags: []string{"operator"},
		Summary: "The CAs of the service, and how far a change of one is",
	}, "ca.get", func(ctx context.Context, _ fleet.Token, _ *struct{}) (*body[api.CAStatus], error) {
		status, err := e.CA.Status(ctx)
		return answer(caStatus(status), err)
	})
	for step, summary := range map[authority.Step]string{
		authority.Begin:    "Announce the next authority of a CA",
		authority.Activate: "Have the next authority sign",
		authority.Retire:   "Take the old authority out of the trust bundle, for good",
	} {
		byOperator(e, huma.Operation{
			OperationID: "ca-" + string(step), Method: http.MethodPost, Path: "/v1/ca/" + string(step), Tags: []string{"operator"}, Summary: summary,
		}, "ca.rotate", func(ctx context.Context, t fleet.Token, in *struct{ Body api.RotateRequest }) (*body[api.CAStatus], error) {
			status, err := e.CA.Rotate(ctx, step, in.Body.CA, t.Operator, in.Body.Force)
			return answer(caStatus(status), err)
		})
	}
	e.publishedRoutes()
}

func caStatus(s authority.Status) api.CAStatus {
	out := api.CAStatus{Bundle: s.Bundle, Devices: s.Devices, Confirmed: s.Confirmed, CAs: []api.CA{}}
	for _, c := range s.CAs {
		shown := api.CA{Name: c.Name, Rotatable: c.Rotatable, Authorities: []api.Authority{}}
		for _, m := range c.Members {
			a := api.Authority{
				ID: m.ID, Role: string(m.Role), Subject: m.Certificate.Subject.String(),
				Live: m.Live, NotAfter: m.Certificate.NotAfter.UTC(), Bridged: m.Bridged,
			}
			if !m.LastEnds.IsZero() {
				ends := m.LastEnds.UTC()
				a.LastEnds = &ends
			}
			shown.Authorities = append(shown.Authorities, a)
		}
		out.CAs = append(out.CAs, shown)
	}
	return out
}

// AuthorityID is exported for the sake of embedding, as ByID.
type AuthorityID struct {
	ID string `path:"id" maxLength:"64" doc:"subject key identifier of the authority, hexadecimal"`
}

// publicFile is a document for everybody.
func publicFile(contentType, cache string, content []byte, err error) (*keyDocument, error) {
	if err != nil {
		return nil, err
	}
	return &keyDocument{ContentType: contentType, CacheControl: cache, Body: content}, nil
}

func (e *edge) publishedRoutes() {
	limit := newPerAddress(enrollRate, enrollBurst)
	get := func(id, path, summary string) huma.Operation {
		return huma.Operation{OperationID: id, Method: http.MethodGet, Path: path, Summary: summary, Tags: []string{"public"}}
	}
	open(e, get("spiffe-bundle", api.PathSPIFFEBundle, "The SPIFFE bundle of the trust domain"), limit,
		func(ctx context.Context, _ *struct{}) (*keyDocument, error) {
			content, err := e.CA.Published.SPIFFEBundle(ctx)
			return publicFile(typeSPIFFE, cacheBundle, content, err)
		})
	open(e, get("bundle-pem", api.PathBundlePEM, "The roots of device certificates"), limit,
		func(ctx context.Context, _ *struct{}) (*keyDocument, error) {
			content, err := e.CA.Published.BundlePEM(ctx)
			return publicFile(typePEM, cacheBundle, content, err)
		})
	open(e, get("crl", api.PathCRL, "The revocation list of an authority (RFC 5280)"), limit,
		func(ctx context.Context, in *AuthorityID) (*keyDocument, error) {
			content, err := e.CA.Published.CRL(ctx, in.ID)
			return publicFile(typeCRL, cacheCRL, content, err)
		})
	open(e, get("issuer", api.PathIssuer, "The certificate of an authority"), limit,
		func(ctx context.Context, in *AuthorityID) (*keyDocument, error) {
			content, err := e.CA.Published.Issuer(ctx, in.ID)
			return publicFile(typeCertificate, cacheIssuer, content, err)
		})
	ask := get("ocsp", api.PathOCSP, "Whether a certificate is revoked (RFC 6960)")
	ask.Method, ask.MaxBodyBytes = http.MethodPost, 4096
	open(e, ask, limit, func(ctx context.Context, in *struct {
		AuthorityID
		RawBody []byte `contentType:"application/ocsp-request"`
	}) (*keyDocument, error) {
		content, err := e.CA.Published.OCSP(ctx, in.ID, in.RawBody)
		return publicFile(typeOCSPResponse, cacheOCSP, content, err)
	})
}
