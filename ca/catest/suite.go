package catest

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"troth/ca"
)

// Lister is an issuer that publishes its revocations (RFC 5280, section 5).
type Lister interface {
	CRL(ctx context.Context) ([]byte, error) // DER
}

// TestIssuer is the contract of ca.Issuer. newIssuer returns an issuer that
// serves TrustDomain, gives at least 24 hours to a device, and runs on the
// machine's clock.
func TestIssuer(t *testing.T, newIssuer func(t *testing.T) ca.Issuer) {
	issuer := newIssuer(t)
	for _, test := range []struct {
		name string
		run  func(*testing.T, ca.Issuer)
	}{
		{"issue", testIssue},
		{"lifetime", testLifetime},
		{"mutual TLS", testMutualTLS},
		{"refuse", testRefuse},
		{"another trust domain", testTrustDomain},
		{"revoke", testRevoke},
		{"revoke a stranger's", testRevokeStranger},
		{"concurrent", testConcurrent},
		{"cancelled", testCancelled},
		{"check", testCheck},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, issuer) })
	}
}

func issue(t *testing.T, issuer ca.Issuer, r ca.Request) (ca.Certificate, *x509.Certificate) {
	t.Helper()
	certificate, err := issuer.Issue(t.Context(), r)
	if err != nil {
		t.Fatalf("Issue: %v", err)
	}
	leaf, err := x509.ParseCertificate(certificate.DER)
	if err != nil {
		t.Fatalf("Issue returned no certificate: %v", err)
	}
	return certificate, leaf
}

func bundle(t *testing.T, issuer ca.Issuer) []*x509.Certificate {
	t.Helper()
	roots, err := issuer.Bundle(t.Context())
	if err != nil {
		t.Fatalf("Bundle: %v", err)
	}
	if len(roots) == 0 {
		t.Fatal("Bundle is empty")
	}
	for _, root := range roots {
		if !root.IsCA {
			t.Errorf("Bundle holds %v, which is not a CA", root.Subject)
		}
	}
	return roots
}

// testIssue looks at everything that a certificate says, without CheckIssued.
func testIssue(t *testing.T, issuer ca.Issuer) {
	r := NewRequest(t, "device")
	before := time.Now()
	certificate, leaf := issue(t, issuer, r)

	if !leaf.PublicKey.(*ecdsa.PublicKey).Equal(r.PublicKey) {
		t.Error("key is not the requested one")
	}
	if len(leaf.URIs) != 1 || leaf.URIs[0].String() != r.URI {
		t.Errorf("URIs = %v, want only %s", leaf.URIs, r.URI)
	}
	if len(leaf.DNSNames)+len(leaf.IPAddresses)+len(leaf.EmailAddresses) != 0 {
		t.Error("has other names than the URI")
	}
	if cn := leaf.Subject.CommonName; cn != "" && !strings.HasSuffix(r.URI, "/"+cn) {
		t.Errorf("common name = %q, want none or the device id", cn)
	}
	if len(leaf.ExtKeyUsage) != 1 || leaf.ExtKeyUsage[0] != x509.ExtKeyUsageClientAuth || len(leaf.UnknownExtKeyUsage) != 0 {
		t.Errorf("extended key usage = %v, want only clientAuth", leaf.ExtKeyUsage)
	}
	if leaf.KeyUsage != x509.KeyUsageDigitalSignature || leaf.IsCA {
		t.Errorf("key usage = %b, CA = %v", leaf.KeyUsage, leaf.IsCA)
	}
	if back := before.Sub(leaf.NotBefore); back < 0 || back > ca.MaxBackdate+time.Second {
		t.Errorf("backdated by %v, want 0 to %v", back, ca.MaxBackdate)
	}
	if left := leaf.NotAfter.Sub(before); left < ca.DefaultLifetime-time.Minute || left > ca.DefaultLifetime+time.Minute {
		t.Errorf("valid for %v, want %v", left, ca.DefaultLifetime)
	}
	if want := hex.EncodeToString(leaf.SerialNumber.Bytes()); certificate.Serial != want {
		t.Errorf("Serial = %q, want %q", certificate.Serial, want)
	}
	if !certificate.NotBefore.Equal(leaf.NotBefore) || !certificate.NotAfter.Equal(leaf.NotAfter) {
		t.Error("NotBefore or NotAfter differ from the certificate's")
	}
	if err := ca.CheckIssued(r, certificate, bundle(t, issuer), time.Now()); err != nil {
		t.Errorf("CheckIssued: %v", err)
	}
	again, _ := issue(t, issuer, r)
	if again.Serial == certificate.Serial {
		t.Error("the same serial number was issued twice")
	}
}

func testLifetime(t *testing.T, issuer ca.Issuer) {
	for _, want := range []time.Duration{time.Minute, time.Hour, 100 * 365 * 24 * time.Hour} {
		r := NewRequest(t, "device")
		r.Lifetime = want
		_, leaf := issue(t, issuer, r)
		if left := time.Until(leaf.NotAfter); left > want || left <= 0 {
			t.Errorf("asked for %v, got %v", want, left)
		}
		for _, root := range bundle(t, issuer) {
			if leaf.CheckSignatureFrom(root) == nil && leaf.NotAfter.After(root.NotAfter) {
				t.Errorf("asked for %v, got a certificate that outlives its root", want)
			}
		}
	}
}

// testMutualTLS lets Go's own TLS judge: accepted as a client, not as a server.
func testMutualTLS(t *testing.T, issuer ca.Issuer) {
	key := NewKey(t)
	r := NewRequest(t, "device")
	r.CSR = NewCSR(t, key, &x509.CertificateRequest{URIs: mustURIs(t, r.URI)})
	r.PublicKey = &key.PublicKey
	certificate, _ := issue(t, issuer, r)
	pair := tls.Certificate{Certificate: append([][]byte{certificate.DER}, certificate.Chain...), PrivateKey: key}
	roots := x509.NewCertPool()
	for _, root := range bundle(t, issuer) {
		roots.AddCert(root)
	}
	server := &tls.Config{
		Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert,
		ClientCAs: roots, MinVersion: tls.VersionTLS13,
	}
	// The server is looked at below; here only the client's certificate matters.
	client := &tls.Config{Certificates: []tls.Certificate{pair}, InsecureSkipVerify: true, MinVersion: tls.VersionTLS13}
	if err := handshake(t, server, client); err != nil {
		t.Errorf("a TLS server refuses the device: %v", err)
	}
	client = &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: roots, ServerName: "localhost", MinVersion: tls.VersionTLS13}
	if err := handshake(t, server, client); err == nil {
		t.Error("a TLS client accepts the device as a server")
	}
}

func handshake(t *testing.T, server, client *tls.Config) error {
	t.Helper()
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	deadline := time.Now().Add(10 * time.Second)
	_ = near.SetDeadline(deadline)
	_ = far.SetDeadline(deadline)
	done := make(chan error, 1)
	go func() {
		conn := tls.Server(far, server)
		err := conn.Handshake()
		if err == nil {
			_, err = conn.Write([]byte("x"))
		}
		done <- err
		far.Close()
	}()
	conn := tls.Client(near, client)
	// In TLS 1.3 a client learns only by reading that it was refused.
	_, err := io.ReadFull(conn, make([]byte, 1))
	near.Close()
	return errors.Join(err, <-done)
}

func testRefuse(t *testing.T, issuer ca.Issuer) {
	r := NewRequest(t, "device")
	r.PublicKey = &NewKey(t).PublicKey
	_, err := issuer.Issue(t.Context(), r)
	var refusal *ca.CSRError
	if !errors.As(err, &refusal) || refusal.Code != ca.CodeKeyMismatch || !errors.Is(err, ca.ErrRefused) {
		t.Errorf("Issue for another key = %v, want %s", err, ca.CodeKeyMismatch)
	}
}

func testTrustDomain(t *testing.T, issuer ca.Issuer) {
	key := NewKey(t)
	_, id, err := ca.SplitDeviceURI(URI("device"))
	if err != nil {
		t.Fatal(err)
	}
	uri := ca.DeviceURI("example.com", id)
	_, err = issuer.Issue(t.Context(), ca.Request{
		CSR:       NewCSR(t, key, &x509.CertificateRequest{URIs: mustURIs(t, uri)}),
		PublicKey: &key.PublicKey, URI: uri,
	})
	if !errors.Is(err, ca.ErrRefused) {
		t.Errorf("Issue in another trust domain = %v, want ErrRefused", err)
	}
}

func testRevoke(t *testing.T, issuer ca.Issuer) {
	kept, _ := issue(t, issuer, NewRequest(t, "kept"))
	gone, leaf := issue(t, issuer, NewRequest(t, "gone"))
	for range 2 {
		if err := issuer.Revoke(t.Context(), gone.DER); err != nil {
			t.Fatalf("Revoke: %v", err)
		}
	}
	lister, ok := issuer.(Lister)
	if !ok {
		return
	}
	der, err := lister.CRL(t.Context())
	if err != nil {
		t.Fatalf("CRL: %v", err)
	}
	list, err := x509.ParseRevocationList(der)
	if err != nil {
		t.Fatalf("CRL: %v", err)
	}
	if !signedByOne(list, append(bundle(t, issuer), chain(t, gone)...)) {
		t.Error("CRL is not signed by the issuer")
	}
	listed := 0
	for _, entry := range list.RevokedCertificateEntries {
		switch serial := hex.EncodeToString(entry.SerialNumber.Bytes()); serial {
		case gone.Serial:
			listed++
		case kept.Serial:
			t.Error("CRL lists a certificate that was not revoked")
		}
	}
	if listed != 1 {
		t.Errorf("CRL lists %s %d times, want once", leaf.SerialNumber, listed)
	}
}

func signedByOne(list *x509.RevocationList, issuers []*x509.Certificate) bool {
	for _, issuer := range issuers {
		if list.CheckSignatureFrom(issuer) == nil {
			return true
		}
	}
	return false
}

func chain(t *testing.T, c ca.Certificate) []*x509.Certificate {
	t.Helper()
	var links []*x509.Certificate
	for _, der := range c.Chain {
		link, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatalf("Chain: %v", err)
		}
		links = append(links, link)
	}
	return links
}

func testRevokeStranger(t *testing.T, issuer ca.Issuer) {
	for name, der := range map[string][]byte{
		"a stranger's certificate": strangersCertificate(t),
		"a root":                   bundle(t, issuer)[0].Raw,
		"not a certificate":        []byte("certificate"),
		"nothing":                  nil,
	} {
		if err := issuer.Revoke(t.Context(), der); !errors.Is(err, ca.ErrRefused) {
			t.Errorf("Revoke of %s = %v, want ErrRefused", name, err)
		}
	}
}

func testConcurrent(t *testing.T, issuer ca.Issuer) {
	const devices = 16
	serials := make(chan string, devices)
	var group sync.WaitGroup
	for range devices {
		r := NewRequest(t, "device")
		group.Go(func() {
			certificate, err := issuer.Issue(t.Context(), r)
			if err == nil {
				err = issuer.Revoke(t.Context(), certificate.DER)
			}
			if err != nil {
				t.Error(err)
			}
			serials <- certificate.Serial
		})
	}
	group.Wait()
	close(serials)
	seen := map[string]bool{}
	for serial := range serials {
		if seen[serial] {
			t.Errorf("serial number %s was issued twice", serial)
		}
		seen[serial] = true
	}
}

func testCancelled(t *testing.T, issuer ca.Issuer) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := issuer.Issue(ctx, NewRequest(t, "device"))
	if !errors.Is(err, context.Canceled) || !errors.Is(err, ca.ErrUnavailable) {
		t.Errorf("Issue after cancel = %v, want context.Canceled and ErrUnavailable", err)
	}
	if err := issuer.Check(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Check after cancel = %v, want context.Canceled", err)
	}
}

func testCheck(t *testing.T, issuer ca.Issuer) {
	if err := issuer.Check(t.Context()); err != nil {
		t.Errorf("Check: %v", err)
	}
	first, second := bundle(t, issuer), bundle(t, issuer)
	if len(first) != len(second) || !bytes.Equal(first[0].Raw, second[0].Raw) {
		t.Error("Bundle changes from call to call")
	}
}
