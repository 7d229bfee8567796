// Package local is a certificate authority in a directory: one self-signed
// ECDSA P-256 root (RFC 5280) that signs device certificates, the service's own
// TLS certificates, and the list of what it revoked. It is the default of a
// single-machine Troth; ca/vault takes its place where keys must not lie in
// files.
//
// The directory holds root.key (PKCS #8), root.pem, revoked.json and lock. Every
// file has mode 0600 and is replaced whole, so a crash at any moment leaves
// either the old or the new one. Several processes may open one directory.
package local

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"troth/ca"
)

const (
	keyFile  = "root.key"
	certFile = "root.pem"

	// DefaultMaxLifetime is the longest device certificate that a CA gives when
	// Options do not say.
	DefaultMaxLifetime = 7 * 24 * time.Hour

	// rootLifetime is ten years: the root outlives every device certificate by
	// far, and replacing it is an operator's decision, not an accident.
	rootLifetime = 10 * 365 * 24 * time.Hour
)

// Options configure Open.
type Options struct {
	// TrustDomain is the SPIFFE trust domain whose devices get certificates,
	// such as "example.org". It is fixed when the root is created.
	TrustDomain string

	// Now is the clock. Required.
	Now func() time.Time

	// Lifetime is given to requests that do not ask for one; zero means
	// ca.DefaultLifetime. MaxLifetime bounds what a request may get; zero means
	// DefaultMaxLifetime.
	Lifetime, MaxLifetime time.Duration
}

// CA is an opened certificate authority. It implements ca.Issuer and is safe
// for concurrent use.
type CA struct {
	dir     string
	options Options
	key     *ecdsa.PrivateKey
	root    *x509.Certificate

	mu  sync.Mutex // guards crl
	crl signedList
}

var _ ca.Issuer = (*CA)(nil)

// Open loads the CA in dir, or creates one there. What an earlier Open left
// half-made by a crash, it completes; what it cannot complete without losing
// something (a root certificate without its key, files that do not belong
// together or that others can read), it names in its error and leaves alone.
func Open(dir string, o Options) (*CA, error) {
	if err := o.complete(); err != nil {
		return nil, fmt.Errorf("open local CA: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("create CA directory: %w", err)
	}
	unlock, err := lock(dir)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := removeLeftovers(dir); err != nil {
		return nil, err
	}
	c := &CA{dir: dir, options: o}
	if err := c.loadKey(); err != nil {
		return nil, err
	}
	if err := c.loadRoot(); err != nil {
		return nil, err
	}
	if _, err := loadRevocations(dir); err != nil {
		return nil, err
	}
	return c, nil
}

func (o *Options) complete() error {
	if o.Now == nil {
		return errors.New("option Now is missing")
	}
	domain, err := spiffeid.TrustDomainFromString(o.TrustDomain)
	if err != nil {
		return fmt.Errorf("trust domain %q: %w", o.TrustDomain, err)
	}
	if domain.Name() != o.TrustDomain {
		return fmt.Errorf("trust domain %q: want a bare name such as %q", o.TrustDomain, domain.Name())
	}
	if o.MaxLifetime == 0 {
		o.MaxLifetime = DefaultMaxLifetime
	}
	if o.Lifetime == 0 {
		o.Lifetime = min(ca.DefaultLifetime, o.MaxLifetime)
	}
	if o.Lifetime < 0 || o.MaxLifetime < o.Lifetime {
		return fmt.Errorf("lifetime %v and maximum %v are not usable", o.Lifetime, o.MaxLifetime)
	}
	return nil
}

// loadKey reads the root's key, or makes it. The key is written before the
// certificate: a key alone can be completed, a certificate alone cannot.
func (c *CA) loadKey() error {
	data, err := readPrivate(c.dir, keyFile)
	if errors.Is(err, os.ErrNotExist) {
		return c.createKey()
	}
	if err != nil {
		return err
	}
	der, err := decodePEM(data, "PRIVATE KEY")
	if err != nil {
		return fmt.Errorf("read %s: %w", keyFile, err)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return fmt.Errorf("read %s: %w", keyFile, err)
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || key.Curve != elliptic.P256() {
		return fmt.Errorf("read %s: not an ECDSA P-256 key", keyFile)
	}
	c.key = key
	return nil
}

func (c *CA) createKey() error {
	for _, name := range []string{certFile, revokedFile} {
		if _, err := os.Lstat(filepath.Join(c.dir, name)); err == nil {
			return fmt.Errorf("open local CA: %s is there but %s is missing: restore it from a backup, or remove the directory to start a new CA", name, keyFile)
		} else if !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("open local CA: %w", err)
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("generate root key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("encode root key: %w", err)
	}
	c.key = key
	return writeFile(c.dir, keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// loadRoot reads the root certificate, or signs it with the key.
func (c *CA) loadRoot() error {
	data, err := readPrivate(c.dir, certFile)
	if errors.Is(err, os.ErrNotExist) {
		return c.createRoot()
	}
	if err != nil {
		return err
	}
	der, err := decodePEM(data, "CERTIFICATE")
	if err != nil {
		return fmt.Errorf("read %s: %w", certFile, err)
	}
	root, err := x509.ParseCertificate(der)
	if err != nil {
		return fmt.Errorf("read %s: %w", certFile, err)
	}
	if !c.key.PublicKey.Equal(root.PublicKey) || !ca.SelfSigned(root) {
		return fmt.Errorf("open local CA: %s and %s do not belong together", keyFile, certFile)
	}
	want := "spiffe://" + c.options.TrustDomain
	if len(root.URIs) != 1 || root.URIs[0].String() != want {
		return fmt.Errorf("open local CA: the root is of trust domain %v, not %s", root.URIs, want)
	}
	c.root = root
	return nil
}

func (c *CA) createRoot() error {
	spki, err := x509.MarshalPKIXPublicKey(&c.key.PublicKey)
	if err != nil {
		return fmt.Errorf("encode root key: %w", err)
	}
	// Part of the key's digest is in the name: two roots of one trust domain,
	// old and new, are told apart wherever only names are shown.
	digest := sha256.Sum256(spki)
	serial, err := newSerial()
	if err != nil {
		return err
	}
	now := c.options.Now()
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject: pkix.Name{
			Organization: []string{"Troth"},
			CommonName:   "Troth local CA " + hex.EncodeToString(digest[:4]),
		},
		URIs:                  []*url.URL{{Scheme: "spiffe", Host: c.options.TrustDomain}},
		NotBefore:             now.Add(-ca.MaxBackdate),
		NotAfter:              now.Add(rootLifetime),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &c.key.PublicKey, c.key)
	if err != nil {
		return fmt.Errorf("sign root certificate: %w", err)
	}
	if c.root, err = x509.ParseCertificate(der); err != nil {
		return fmt.Errorf("parse root certificate: %w", err)
	}
	return writeFile(c.dir, certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// Bundle returns the root.
func (c *CA) Bundle(context.Context) ([]*x509.Certificate, error) {
	return []*x509.Certificate{c.root}, nil
}

// Check says whether a certificate could be signed and a revocation recorded
// now.
func (c *CA) Check(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("check local CA: %w: %w", ca.ErrUnavailable, err)
	}
	now := c.options.Now()
	if now.Before(c.root.NotBefore) || !now.Before(c.root.NotAfter) {
		return fmt.Errorf("check local CA: %w: root is valid from %v to %v only", ca.ErrUnavailable, c.root.NotBefore, c.root.NotAfter)
	}
	unlock, err := lock(c.dir)
	if err != nil {
		return fmt.Errorf("check local CA: %w: %w", ca.ErrUnavailable, err)
	}
	defer unlock()
	if _, err := loadRevocations(c.dir); err != nil {
		return fmt.Errorf("check local CA: %w: %w", ca.ErrUnavailable, err)
	}
	return nil
}

// newSerial returns a random positive serial number of 127 bits (RFC 5280,
// section 4.1.2.2 allows 20 octets).
func newSerial() (*big.Int, error) {
	var raw [16]byte
	if _, err := rand.Read(raw[:]); err != nil {
		return nil, fmt.Errorf("generate serial number: %w", err)
	}
	raw[0] &= 0x7f
	raw[0] |= 0x40 // never short, never zero
	return new(big.Int).SetBytes(raw[:]), nil
}
