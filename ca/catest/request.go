// Package catest holds what tests of certificate authorities share: requests as
// a device makes them, the contract suite that every ca.Issuer passes, and a
// real Vault server.
package catest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"math/big"
	"net/url"
	"testing"
	"time"

	"troth/ca"
)

// TrustDomain is the trust domain that issuers under test serve.
const TrustDomain = "example.org"

// NewKey makes a device's TLS key, in memory.
func NewKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// URI is the subject of the device called name: the same name gives the same
// device id.
func URI(name string) string {
	id := sha256.Sum256([]byte(name))
	return ca.DeviceURI(TrustDomain, hex.EncodeToString(id[:]))
}

// NewRequest is a request that every issuer under test grants.
func NewRequest(t testing.TB, device string) ca.Request {
	t.Helper()
	key := NewKey(t)
	uri := URI(device)
	return ca.Request{
		CSR:       NewCSR(t, key, &x509.CertificateRequest{URIs: []*url.URL{ParseURL(t, uri)}}),
		PublicKey: &key.PublicKey,
		URI:       uri,
	}
}

// NewCSR signs a certificate request with key and returns its DER.
func NewCSR(t testing.TB, key any, template *x509.CertificateRequest) []byte {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// ParseURL parses a URL that is known to be one.
func ParseURL(t testing.TB, text string) *url.URL {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func mustURIs(t testing.TB, uris ...string) []*url.URL {
	t.Helper()
	var parsed []*url.URL
	for _, uri := range uris {
		parsed = append(parsed, ParseURL(t, uri))
	}
	return parsed
}

// strangersCertificate is self-signed by a key that no issuer knows.
func strangersCertificate(t testing.TB) []byte {
	t.Helper()
	key := NewKey(t)
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1 << 62),
		NotBefore:    now, NotAfter: now.Add(time.Hour),
		URIs: mustURIs(t, URI("stranger")),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}
