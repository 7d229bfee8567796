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
	"troth/internal/api"
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
	trust       atomic.Pointer[api.TrustBundle] // whom devices are to believe
}

func newIdentity(ctx context.Context, own *local.CA, devices ca.Issuer, c Config) (*identity, error) {
	i := &identity{own: own, devices: devices, names: c.Names, caFile: filepath.Join(c.DataDir, "ca.pem")}
	// The CA of devices may be away: until it answers, no device is believed.
	i.clients.Store(x509.NewCertPool())
	i.trust.Store(&api.TrustBundle{})
	if err := i.renew(); err != nil {
		return nil, err
	}
	roots, err := i.own.Bundle(ctx)
	if err != nil {
		return nil, fmt.Errorf("read CA: %w", err)
	}
	return i, i.publish(roots)
}

// publish writes the roots of the service's own certificate where people find
// them.
func (i *identity) publish(roots []*x509.Certificate) error {
	return atomicfile.Write(i.caFile, pemOf(roots), 0o644)
}

func pemOf(roots []*x509.Certificate) []byte {
	var out []byte
	for _, root := range roots {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.Raw})...)
	}
	return out
}

func derOf(roots []*x509.Certificate) [][]byte {
	var out [][]byte
	for _, root := range roots {
		out = append(out, root.Raw)
	}
	return out
}

// leaf is the service's own certificate.
func (i *identity) leaf() *x509.Certificate { return i.certificate.Load().Leaf }

// believe is whom devices are to believe.
func (i *identity) believe() api.TrustBundle { return *i.trust.Load() }

// renew makes the service a certificate of its own.
func (i *identity) renew() error {
	cert, err := i.own.ServerCertificate(i.names, 0)
	if err != nil {
		return fmt.Errorf("issue the service's own certificate: %w", err)
	}
	i.certificate.Store(&cert)
	return nil
}

// stale reports whether the service's own certificate is in the last third of
// its life, or of an authority that no longer signs.
func (i *identity) stale(ctx context.Context) (bool, error) {
	leaf := i.leaf()
	if time.Now().After(leaf.NotAfter.Add(-leaf.NotAfter.Sub(leaf.NotBefore) / 3)) {
		return true, nil
	}
	all, err := i.own.Authorities(ctx)
	if err != nil {
		return false, fmt.Errorf("read CA: %w", err)
	}
	for _, a := range all {
		if a.Role == ca.Signing {
			return a.ID != ca.AuthorityID(leaf), nil
		}
	}
	return false, nil
}

// refresh reads anew whom to believe, and renews the service's own certificate
// where that is due.
func (i *identity) refresh(ctx context.Context) error {
	stale, err := i.stale(ctx)
	if err == nil && stale {
		err = i.renew()
	}
	if err != nil {
		return err
	}
	server, err := i.own.Bundle(ctx)
	if err != nil {
		return fmt.Errorf("read CA: %w", err)
	}
	devices, err := i.devices.Bundle(ctx)
	if err != nil {
		return fmt.Errorf("read the CA bundle of devices: %w", err)
	}
	before := i.believe()
	after := api.TrustBundle{Server: derOf(server), Devices: derOf(devices)}
	if before.Digest() == after.Digest() {
		return nil
	}
	if err := i.publish(server); err != nil {
		return err
	}
	pool := x509.NewCertPool()
	for _, cert := range devices {
		pool.AddCert(cert)
	}
	i.clients.Store(pool)
	i.trust.Store(&after)
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
