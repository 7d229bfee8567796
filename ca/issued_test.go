package ca_test

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"troth/ca"
	"troth/ca/catest"
)

var now = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// authority is a CA that signs whatever it is told.
type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func newAuthority(t testing.TB) authority {
	t.Helper()
	key := catest.NewKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "root"},
		NotBefore: now.Add(-24 * time.Hour), NotAfter: now.Add(365 * 24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	return authority{key: key, cert: signed(t, template, template, &key.PublicKey, key)}
}

func signed(t testing.TB, template, parent *x509.Certificate, public any, key *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return certificate
}

// good is the template of a certificate that CheckIssued accepts for r.
func good(t testing.TB, r ca.Request) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: new(big.Int).Lsh(big.NewInt(1), 100),
		URIs:         uris(t, r.URI),
		NotBefore:    now.Add(-time.Minute), NotAfter: now.Add(24 * time.Hour),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
}

func TestCheckIssued(t *testing.T) {
	root, r := newAuthority(t), catest.NewRequest(t, "device")
	stranger := newAuthority(t)
	check := func(by authority, key any, change func(*x509.Certificate)) error {
		template := good(t, r)
		change(template)
		certificate, err := ca.NewCertificate(signed(t, template, by.cert, key, by.key).Raw, [][]byte{by.cert.Raw})
		if err != nil {
			t.Fatal(err)
		}
		return ca.CheckIssued(r, certificate, []*x509.Certificate{root.cert}, now)
	}
	if err := check(root, r.PublicKey, func(*x509.Certificate) {}); err != nil {
		t.Errorf("good certificate: %v", err)
	}
	id := r.URI[strings.LastIndex(r.URI, "/")+1:]
	if err := check(root, r.PublicKey, func(c *x509.Certificate) { c.Subject.CommonName = id }); err != nil {
		t.Errorf("good certificate with CN=ID: %v", err)
	}
	for name, change := range map[string]func(*x509.Certificate){
		"CA": func(c *x509.Certificate) {
			c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, c.KeyUsage|x509.KeyUsageCertSign
		},
		"another URI":      func(c *x509.Certificate) { c.URIs = uris(t, catest.URI("another")) },
		"two URIs":         func(c *x509.Certificate) { c.URIs = uris(t, r.URI, catest.URI("another")) },
		"no URI":           func(c *x509.Certificate) { c.URIs = nil },
		"DNS name":         func(c *x509.Certificate) { c.DNSNames = []string{"localhost"} },
		"IP address":       func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)} },
		"common name":      func(c *x509.Certificate) { c.Subject.CommonName = "admin" },
		"server usage":     func(c *x509.Certificate) { c.ExtKeyUsage = append(c.ExtKeyUsage, x509.ExtKeyUsageServerAuth) },
		"any usage":        func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny} },
		"no usage":         func(c *x509.Certificate) { c.ExtKeyUsage = nil },
		"key encipherment": func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageKeyEncipherment },
		"longer":           func(c *x509.Certificate) { c.NotAfter = now.Add(25 * time.Hour) },
		"ended":            func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Second) },
		"not yet":          func(c *x509.Certificate) { c.NotBefore = now.Add(time.Hour) },
		"backdated":        func(c *x509.Certificate) { c.NotBefore = now.Add(-time.Hour) },
		"small serial":     func(c *x509.Certificate) { c.SerialNumber = big.NewInt(7) },
	} {
		if err := check(root, r.PublicKey, change); !errors.Is(err, ca.ErrMisissued) {
			t.Errorf("%s: %v, want ErrMisissued", name, err)
		}
	}
	if err := check(root, &catest.NewKey(t).PublicKey, func(*x509.Certificate) {}); !errors.Is(err, ca.ErrMisissued) {
		t.Errorf("another key: %v, want ErrMisissued", err)
	}
	if err := check(stranger, r.PublicKey, func(*x509.Certificate) {}); !errors.Is(err, ca.ErrMisissued) {
		t.Errorf("another root: %v, want ErrMisissued", err)
	}
	if err := ca.CheckIssued(r, ca.Certificate{}, nil, now); !errors.Is(err, ca.ErrMisissued) {
		t.Errorf("nothing: %v, want ErrMisissued", err)
	}
}

func FuzzCheckIssued(f *testing.F) {
	root, r := newAuthority(f), catest.NewRequest(f, "device")
	f.Add(signed(f, good(f, r), root.cert, r.PublicKey, root.key).Raw)
	f.Fuzz(func(t *testing.T, der []byte) {
		err := ca.CheckIssued(r, ca.Certificate{DER: der, Chain: [][]byte{der}}, []*x509.Certificate{root.cert}, now)
		if err == nil {
			c, parseErr := x509.ParseCertificate(der)
			if parseErr != nil || c.CheckSignatureFrom(root.cert) != nil {
				t.Errorf("accepted %x", der)
			}
		}
	})
}
