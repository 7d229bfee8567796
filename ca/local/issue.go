package local

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"troth/ca"
)

// DefaultServerLifetime is how long the service's own TLS certificate is valid
// when ServerCertificate is not told.
const DefaultServerLifetime = 30 * 24 * time.Hour

// Issue signs a device certificate: key usage digitalSignature, extended key
// usage clientAuth, the URI as the only subject alternative name, CN=ID as the
// subject. It takes nothing from the CSR but the key. A lifetime above the
// CA's maximum, or beyond the end of the root, is shortened.
func (c *CA) Issue(ctx context.Context, r ca.Request) (ca.Certificate, error) {
	if err := ca.CheckRequest(r); err != nil {
		return ca.Certificate{}, err
	}
	domain, id, err := ca.SplitDeviceURI(r.URI)
	if err != nil {
		return ca.Certificate{}, fmt.Errorf("issue certificate: %w: %w", ca.ErrRefused, err)
	}
	if domain != c.options.TrustDomain {
		return ca.Certificate{}, fmt.Errorf("issue certificate: %w: trust domain %s is not %s", ca.ErrRefused, domain, c.options.TrustDomain)
	}
	if r.Lifetime == 0 {
		r.Lifetime = c.options.Lifetime
	}
	if err := ctx.Err(); err != nil {
		return ca.Certificate{}, fmt.Errorf("issue certificate: %w: %w", ca.ErrUnavailable, err)
	}
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: id},
		URIs:        []*url.URL{{Scheme: "spiffe", Host: domain, Path: "/device/" + id}},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	ring, err := c.current()
	if err != nil {
		return ca.Certificate{}, fmt.Errorf("issue certificate: %w: %w", ca.ErrUnavailable, err)
	}
	by := ring.in(ca.Signing)
	der, err := c.sign(by, template, r.PublicKey, min(r.Lifetime, c.options.MaxLifetime))
	if err != nil {
		return ca.Certificate{}, fmt.Errorf("issue certificate: %w: %w", ca.ErrUnavailable, err)
	}
	certificate, err := ca.NewCertificate(der, nil)
	if err != nil {
		return ca.Certificate{}, fmt.Errorf("issue certificate: %w: %w", ca.ErrMisissued, err)
	}
	if err := ca.CheckIssued(r, certificate, []*x509.Certificate{by.root}, c.options.Now()); err != nil {
		return ca.Certificate{}, err
	}
	return certificate, nil
}

// ServerCertificate makes a new key and a certificate for the service's own TLS:
// extended key usage serverAuth, and the DNS names and IP addresses in names.
// The key is only in memory. A lifetime of zero means DefaultServerLifetime;
// the caller asks again before Leaf.NotAfter. The root is part of the chain, so
// that a client that pins the root's digest can find it; before it stands, where
// there is one, the certificate by which a client that slept through a change of
// the CA verifies the new root from the old.
func (c *CA) ServerCertificate(names []string, lifetime time.Duration) (tls.Certificate, error) {
	if lifetime == 0 {
		lifetime = DefaultServerLifetime
	}
	template := &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
			continue
		}
		if err := checkHostname(name); err != nil {
			return tls.Certificate{}, fmt.Errorf("issue server certificate: name %q: %w", name, err)
		}
		template.DNSNames = append(template.DNSNames, name)
	}
	if len(names) == 0 {
		return tls.Certificate{}, errors.New("issue server certificate: no names")
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("generate server key: %w", err)
	}
	ring, err := c.current()
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("issue server certificate: %w", err)
	}
	by := ring.in(ca.Signing)
	der, err := c.sign(by, template, &key.PublicKey, lifetime)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("issue server certificate: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("parse server certificate: %w", err)
	}
	chain := [][]byte{der}
	if by.cross != nil && c.options.Now().Before(by.cross.NotAfter) {
		chain = append(chain, by.cross.Raw)
	}
	return tls.Certificate{Certificate: append(chain, by.root.Raw), PrivateKey: key, Leaf: leaf}, nil
}

// sign fills in what all of this CA's certificates share, within the validity
// of the root.
func (c *CA) sign(by *member, template *x509.Certificate, key any, lifetime time.Duration) ([]byte, error) {
	now := c.options.Now()
	if lifetime <= 0 {
		return nil, fmt.Errorf("lifetime %v is not positive", lifetime)
	}
	if now.Before(by.root.NotBefore) || !now.Before(by.root.NotAfter) {
		return nil, fmt.Errorf("root is valid from %v to %v only", by.root.NotBefore, by.root.NotAfter)
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	template.SerialNumber = serial
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.NotBefore = latest(now.Add(-ca.MaxBackdate), by.root.NotBefore)
	template.NotAfter = earliest(now.Add(lifetime), by.root.NotAfter)
	if c.options.Addresses != nil {
		at := c.options.Addresses(by.ID)
		template.CRLDistributionPoints = given(at.CRL)
		template.IssuingCertificateURL, template.OCSPServer = given(at.Issuer), given(at.OCSP)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by.root, key, by.key)
	if err != nil {
		return nil, fmt.Errorf("sign certificate: %w", err)
	}
	return der, nil
}

// checkHostname accepts a DNS name in preferred syntax (RFC 1034, section 3.5),
// with digits first allowed (RFC 1123): no wildcard, no final dot.
func checkHostname(name string) error {
	if len(name) == 0 || len(name) > 253 {
		return errors.New("not 1 to 253 characters")
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return errors.New("not a host name or IP address")
		}
		for _, r := range label {
			if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' {
				return errors.New("not a host name or IP address")
			}
		}
	}
	return nil
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earliest(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func given(address string) []string {
	if address == "" {
		return nil
	}
	return []string{address}
}
