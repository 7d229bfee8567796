package tpm_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/big"
	"net"
	"sync"
	"testing"
	"time"
)

func selfSigned(t *testing.T, s crypto.Signer) tls.Certificate {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, s.Public(), s)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: s}
}

// handshake runs TLS 1.3 over a pipe and returns the client's key as the server
// saw it.
func handshake(server, client tls.Certificate) (crypto.PublicKey, error) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	serverSide := tls.Server(a, &tls.Config{Certificates: []tls.Certificate{server}, ClientAuth: tls.RequireAnyClientCert, MinVersion: tls.VersionTLS13})
	clientSide := tls.Client(b, &tls.Config{Certificates: []tls.Certificate{client}, InsecureSkipVerify: true, MinVersion: tls.VersionTLS13})
	failed := make(chan error, 1)
	go func() {
		err := clientSide.Handshake()
		if err == nil {
			_, err = clientSide.Read(make([]byte, 1)) // takes the session tickets in
		}
		failed <- err
	}()
	if err := serverSide.Handshake(); err != nil {
		return nil, err
	}
	if _, err := serverSide.Write([]byte{1}); err != nil {
		return nil, err
	}
	if err := <-failed; err != nil {
		return nil, err
	}
	state := serverSide.ConnectionState()
	if state.Version != tls.VersionTLS13 || len(state.PeerCertificates) != 1 {
		return nil, fmt.Errorf("version %x, %d certificates", state.Version, len(state.PeerCertificates))
	}
	return state.PeerCertificates[0].PublicKey, nil
}

func TestSignerInTLS(t *testing.T) {
	d := newDevice(t, bare)
	key := d.tlsKey(t)
	s, err := d.Signer(key)
	if err != nil {
		t.Fatal(err)
	}
	serverKey, err := ecdsa.GenerateKey(s.Public().(*ecdsa.PublicKey).Curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	server, client := selfSigned(t, serverKey), selfSigned(t, s)
	begin := time.Now()
	seen, err := handshake(server, client)
	t.Logf("handshake took %v", time.Since(begin))
	if err != nil {
		t.Fatal(err)
	}
	if !eccPublic(t, key.Public).Equal(seen) {
		t.Error("server saw another key")
	}
	d.wantEmpty(t)
}

func TestSignerSignsRequests(t *testing.T) {
	d := newDevice(t, bare)
	s, err := d.Signer(d.tlsKey(t))
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, s)
	if err != nil {
		t.Fatal(err)
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		t.Fatal(err)
	}
	if err := csr.CheckSignature(); err != nil {
		t.Error(err)
	}
}

func TestSignerConcurrently(t *testing.T) {
	d := newDevice(t, bare)
	ak := d.ak(t)
	s, err := d.Signer(d.tlsKey(t))
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			digest := sha256.Sum256([]byte{byte(i)})
			sig, err := s.Sign(rand.Reader, digest[:], crypto.SHA256)
			if err != nil || !ecdsa.VerifyASN1(s.Public().(*ecdsa.PublicKey), digest[:], sig) {
				t.Errorf("signature %d: %v", i, err)
			}
			if _, err := d.Quote(ak, digest[:], map[string][]int{"sha256": {0}}); err != nil {
				t.Errorf("quote %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	d.wantEmpty(t)
}

func TestSignerRefuses(t *testing.T) {
	d := newDevice(t, bare)
	if _, err := d.Signer(d.ak(t)); err == nil {
		t.Error("signer of a restricted key")
	}
	s, err := d.Signer(d.tlsKey(t))
	if err != nil {
		t.Fatal(err)
	}
	for name, f := range map[string]func() ([]byte, error){
		"sha384":  func() ([]byte, error) { return s.Sign(nil, make([]byte, 48), crypto.SHA384) },
		"short":   func() ([]byte, error) { return s.Sign(nil, make([]byte, 31), crypto.SHA256) },
		"no hash": func() ([]byte, error) { return s.Sign(nil, make([]byte, 32), crypto.Hash(0)) },
		"nil":     func() ([]byte, error) { return s.Sign(nil, make([]byte, 32), nil) },
	} {
		if _, err := f(); err == nil {
			t.Errorf("%s: signed", name)
		}
	}
}
