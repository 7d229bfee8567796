package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"time"

	"troth/ca"
	"troth/ca/local"
	"troth/internal/atomicfile"
)

// identity is how the service shows itself in TLS, and whom it believes there.
// Both are renewed while it runs.
type identity struct {
	own     *local.CA // of the service's certificate
	devices ca.Issuer // of device certificates
	names   []string
	caFile  string // for clients to trust

	certificate atomic.Pointer[tls.Certificate]
	clients     atomic.Pointer[x509.CertPool]
}

func newIdentity(ctx context.Context, own *local.CA, devices ca.Issuer, c Config) (*identity, error) {
	i := &identity{own: own, devices: devices, names: c.Names, caFile: filepath.Join(c.DataDir, "ca.pem")}
	bundle, err := own.Bundle(ctx)
	if err != nil {
		return nil, fmt.Errorf("read CA: %w", err)
	}
	var out []byte
	for _, cert := range bundle {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})...)
	}
	if err := atomicfile.Write(i.caFile, out, 0o644); err != nil {
		return nil, err
	}
	// The CA of devices may be away: until it answers, no device is believed.
	i.clients.Store(x509.NewCertPool())
	return i, i.renew()
}

// renew makes the service a certificate of its own.
func (i *identity) renew() error {
	cert, err := i.own.ServerCertificate(i.names, 0)
	if err != nil {
		return fmt.Errorf("issue the service's own certificate: %w", err)
	}
	i.certificate.Store(&cert)
	return nil
}

// refresh reads the CA bundle of devices anew, and renews the service's own
// certificate in the last third of its life.
func (i *identity) refresh(ctx context.Context) error {
	leaf := i.certificate.Load().Leaf
	if time.Now().After(leaf.NotAfter.Add(-leaf.NotAfter.Sub(leaf.NotBefore) / 3)) {
		if err := i.renew(); err != nil {
			return err
		}
	}
	bundle, err := i.devices.Bundle(ctx)
	if err != nil {
		return fmt.Errorf("read the CA bundle of devices: %w", err)
	}
	pool := x509.NewCertPool()
	for _, cert := range bundle {
		pool.AddCert(cert)
	}
	i.clients.Store(pool)
	return nil
}

// tlsConfig asks every client for a certificate; the edge decides which routes
// need one.
func (i *identity) tlsConfig() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: []string{"h2", "http/1.1"},
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			return &tls.Config{
				MinVersion: tls.VersionTLS13, NextProtos: []string{"h2", "http/1.1"},
				Certificates: []tls.Certificate{*i.certificate.Load()},
				ClientAuth:   tls.VerifyClientCertIfGiven, ClientCAs: i.clients.Load(),
			}, nil
		},
	}
}
