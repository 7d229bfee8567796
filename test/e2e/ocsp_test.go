package e2e

import (
	"bytes"
	"crypto/x509"
	"io"
	"net/http"
	"testing"

	"golang.org/x/crypto/ocsp"

	"troth/ca"
	"troth/internal/api"
)

// raw sends a request without a credential.
func (s *service) raw(t testing.TB, method, path, contentType string, content []byte) ([]byte, http.Header) {
	t.Helper()
	r := must(http.NewRequestWithContext(t.Context(), method, s.admin.Base+path, bytes.NewReader(content)))(t)
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	answer := must(must(s.client(nil))(t).Do(r))(t)
	defer answer.Body.Close()
	body := must(io.ReadAll(answer.Body))(t)
	if answer.StatusCode != http.StatusOK {
		t.Fatalf("%s %s: %s: %s", method, path, answer.Status, body)
	}
	return body, answer.Header
}

// ocsp asks as a TLS library does, and checks the answer's signature, responder
// and time.
func (s *service) ocsp(t testing.TB, leaf, issuer *x509.Certificate) string {
	t.Helper()
	request := must(ocsp.CreateRequest(leaf, issuer, nil))(t)
	body, header := s.raw(t, http.MethodPost, api.Path(api.PathOCSP, ca.AuthorityID(leaf)), "application/ocsp-request", request)
	if header.Get("Content-Type") != "application/ocsp-response" {
		t.Errorf("answer of type %q", header.Get("Content-Type"))
	}
	answer := must(ocsp.ParseResponseForCert(body, leaf, issuer))(t)
	if answer.Certificate == nil || answer.Certificate.CheckSignatureFrom(issuer) != nil {
		t.Error("the answer is not of a responder that the issuer certified")
	}
	if !answer.NextUpdate.After(answer.ThisUpdate) {
		t.Error("the answer is good for no time")
	}
	return map[int]string{ocsp.Good: "good", ocsp.Revoked: "revoked", ocsp.Unknown: "unknown"}[answer.Status]
}
