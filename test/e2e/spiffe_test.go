package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/federation"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"

	"troth/ca"
	"troth/ca/catest"
	"troth/ca/local"
	"troth/internal/api"
)

var trustDomain = spiffeid.RequireTrustDomainFromString("troth.internal")

// fetchBundle follows the service as a relying party does that was given nothing
// but its address and the CA of its own certificate.
func (s *service) fetchBundle(t testing.TB) *spiffebundle.Bundle {
	t.Helper()
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(must(os.ReadFile(s.caFile))(t)) {
		t.Fatal("no CA certificate")
	}
	bundle := must(federation.FetchBundle(t.Context(), trustDomain, s.admin.Base+api.PathSPIFFEBundle, federation.WithWebPKIRoots(roots)))(t)
	if hint, ok := bundle.RefreshHint(); !ok || hint != time.Minute {
		t.Errorf("refresh hint %v, %v", hint, ok)
	}
	return bundle
}

// relyingParty is a server of somebody else, in Go's TLS as go-spiffe sets it up.
func relyingParty(t testing.TB, bundle *spiffebundle.Bundle, allowed spiffeid.ID) *httptest.Server {
	t.Helper()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "welcome")
	}))
	own := must(must(local.Open(t.TempDir(), local.Options{TrustDomain: "party.example", Now: time.Now}))(t).
		ServerCertificate([]string{"127.0.0.1"}, time.Hour))(t)
	server.TLS = tlsconfig.MTLSWebServerConfig(&own, bundle, tlsconfig.AuthorizeID(allowed))
	server.StartTLS()
	t.Cleanup(server.Close)
	return server
}

// visitParty shows a certificate there; the server is not looked at.
func visitParty(t testing.TB, server *httptest.Server, cert *tls.Certificate) error {
	t.Helper()
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{
		InsecureSkipVerify: true, MinVersion: tls.VersionTLS13,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil },
	}}}
	defer client.CloseIdleConnections()
	r := must(http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, nil))(t)
	answer, err := client.Do(r)
	if err != nil {
		return err
	}
	return answer.Body.Close()
}

// A relying party that follows SPIFFE accepts a device's TPM-held certificate by
// configuration alone, and nobody else's.
func TestSPIFFERelyingParty(t *testing.T) {
	t.Parallel()
	s := newService(t, "")
	a, b := newAttacker(t, s), newAttacker(t, s)
	a.enroll()
	b.enroll()
	bundle := s.fetchBundle(t)
	party := relyingParty(t, bundle, must(spiffeid.FromPathf(trustDomain, "/device/%s", a.id))(t))
	hold := func(x *attacker) *tls.Certificate {
		return &tls.Certificate{Certificate: [][]byte{x.credential.Certificate}, PrivateKey: must(x.tpm.Signer(x.tls))(t)}
	}
	if err := visitParty(t, party, hold(a)); err != nil {
		t.Errorf("the device is refused: %v", err)
	}
	if err := visitParty(t, party, hold(b)); err == nil {
		t.Error("another device is accepted in its place")
	}
	if err := visitParty(t, party, foreign(t, "other.example", a.id)); err == nil {
		t.Error("a device of another trust domain is accepted")
	}
	if err := visitParty(t, party, foreign(t, trustDomain.Name(), a.id)); err == nil {
		t.Error("a certificate with the device's name by another CA is accepted")
	}
	if err := visitParty(t, party, &tls.Certificate{}); err == nil {
		t.Error("nobody is accepted")
	}
	s.followed(t, bundle)
}

// foreign is a certificate by a CA of our own making.
func foreign(t testing.TB, domain, id string) *tls.Certificate {
	t.Helper()
	key := catest.NewKey(t)
	uri := ca.DeviceURI(domain, id)
	issuer := must(local.Open(t.TempDir(), local.Options{TrustDomain: domain, Now: time.Now}))(t)
	issued := must(issuer.Issue(t.Context(), ca.Request{
		CSR: catest.NewCSR(t, key, &x509.CertificateRequest{URIs: must(uris(uri))(t)}), PublicKey: &key.PublicKey, URI: uri,
	}))(t)
	return &tls.Certificate{Certificate: [][]byte{issued.DER}, PrivateKey: key}
}

// followed changes the CA: the bundle's sequence number rises with its content,
// and only then.
func (s *service) followed(t testing.TB, before *spiffebundle.Bundle) {
	t.Helper()
	last, ok := before.SequenceNumber()
	if !ok || len(before.X509Authorities()) != 1 {
		t.Fatalf("sequence %d, %v, of %d authorities", last, ok, len(before.X509Authorities()))
	}
	for _, step := range []struct {
		name        string
		rise        uint64
		authorities int
	}{{"begin", 1, 2}, {"activate", 0, 2}, {"retire", 1, 1}} {
		s.mustRotate(t, step.name, true)
		after := s.fetchBundle(t)
		if got, _ := after.SequenceNumber(); got != last+step.rise || len(after.X509Authorities()) != step.authorities {
			t.Errorf("after %s: sequence %d of %d authorities, want %d of %d", step.name, got, len(after.X509Authorities()), last+step.rise, step.authorities)
		}
		last += step.rise
	}
}
