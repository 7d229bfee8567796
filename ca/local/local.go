// Package local is a certificate authority in a directory: one self-signed
// ECDSA P-256 root (RFC 5280) that signs device certificates, the service's own
// TLS certificates, and the list of what it revoked. It is the default of a
// single-machine Troth; ca/vault takes its place where keys must not lie in
// files.
//
// The directory holds root.key (PKCS #8), root.pem, revoked.json and lock, and,
// once the root was replaced, issuers.json with the files that it names. Every
// file has mode 0600 and is replaced whole, so a crash at any moment leaves
// either the old or the new one. Several processes may open one directory.
//
// What it is not: the key is in this process's memory, and in a file that is
// encrypted only where a passphrase is configured; whoever has both has the CA.
// There is no hardware, no second pair of eyes and no copy but your backups, and
// revocation reaches only those who read its CRL, its OCSP answers, or the
// service's own record.
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
	"io/fs"
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

	// Passphrase returns what the keys are encrypted with, at least
	// MinPassphrase bytes; an end of line at its end does not count. It is asked
	// when a key is read or made. Keys that are not encrypted yet are encrypted
	// by Open. nil: keys are files that only their owner can read, and no more.
	Passphrase func() ([]byte, error)

	// Addresses are those that certificates of the authority with this
	// ca.Authority.ID bear, for others to find out more; nil: none.
	Addresses func(id string) Addresses
}

// Addresses are URLs in certificates; empty: left out.
type Addresses struct {
	CRL    string // of the DER revocation list (RFC 5280, section 4.2.1.13)
	Issuer string // of the DER root (section 4.2.2.1)
	OCSP   string // of the responder
}

// CA is an opened certificate authority. It implements ca.Issuer and is safe
// for concurrent use.
type CA struct {
	dir     string
	options Options
	sealing Sealing

	mu   sync.Mutex // guards ring
	ring *ring

	crls sync.Mutex            // guards crl
	crl  map[string]signedList // by Authority.ID

	responding sync.Mutex // guards responders
	responders map[string]responder
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
	c := &CA{dir: dir, options: o, crl: map[string]signedList{}, responders: map[string]responder{}}
	if err := c.create(); err != nil {
		return nil, err
	}
	r, err := c.reload()
	if err != nil {
		return nil, err
	}
	if err := removeUnnamed(dir, r); err != nil {
		return nil, err
	}
	if err := c.sealPlain(r); err != nil {
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

// create makes the first authority, or completes one. The key is written before
// the certificate: a key alone can be completed, a certificate alone cannot.
func (c *CA) create() error {
	if stamp, err := stampOf(c.dir); err != nil || stamp != nil {
		return err
	}
	data, err := readPrivate(c.dir, keyFile)
	if errors.Is(err, os.ErrNotExist) {
		if err := c.createKey(); err != nil {
			return err
		}
		data, err = readPrivate(c.dir, keyFile)
	}
	if err != nil {
		return err
	}
	if _, err := os.Lstat(filepath.Join(c.dir, certFile)); !errors.Is(err, os.ErrNotExist) {
		return nil
	}
	key, _, err := decodeKey(keyFile, data, c.options.passphrase)
	if err != nil {
		return err
	}
	root, err := c.newRoot(key)
	if err != nil {
		return err
	}
	return writeFile(c.dir, certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.Raw}))
}

func (c *CA) createKey() error {
	for _, name := range []string{certFile, revokedFile} {
		if _, err := os.Lstat(filepath.Join(c.dir, name)); err == nil {
			return fmt.Errorf("open local CA: %s is there but %s is missing: restore it from a backup, or remove the directory to start a new CA", name, keyFile)
		} else if !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("open local CA: %w", err)
		}
	}
	if keys, err := filepath.Glob(filepath.Join(c.dir, "root-*.key")); err != nil || len(keys) > 0 {
		return fmt.Errorf("open local CA: %s is missing: restore it from a backup (%w)", issuersFile, errors.Join(err, fs.ErrNotExist))
	}
	passphrase, err := c.options.passphrase()
	if err != nil {
		return err
	}
	key, err := newKey()
	if err != nil {
		return err
	}
	data, err := encodeKey(key, passphrase)
	if err != nil {
		return err
	}
	return writeFile(c.dir, keyFile, data)
}

func newKey() (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generate root key: %w", err)
	}
	return key, nil
}

// newRoot is a self-signed root. It allows one CA below it: its successor, which
// it vouches for when it is replaced.
func (c *CA) newRoot(key *ecdsa.PrivateKey) (*x509.Certificate, error) {
	spki, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return nil, fmt.Errorf("encode root key: %w", err)
	}
	// Part of the key's digest is in the name: two roots of one trust domain,
	// old and new, are told apart wherever only names are shown.
	digest := sha256.Sum256(spki)
	serial, err := newSerial()
	if err != nil {
		return nil, err
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
		MaxPathLen:            1,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("sign root certificate: %w", err)
	}
	root, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("parse root certificate: %w", err)
	}
	return root, nil
}

// Bundle returns the root; two roots while one replaces the other.
func (c *CA) Bundle(context.Context) ([]*x509.Certificate, error) {
	r, err := c.current()
	if err != nil {
		return nil, fmt.Errorf("read bundle: %w: %w", ca.ErrUnavailable, err)
	}
	return r.roots(), nil
}

// Check says whether a certificate could be signed and a revocation recorded
// now.
func (c *CA) Check(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("check local CA: %w: %w", ca.ErrUnavailable, err)
	}
	r, err := c.current()
	if err != nil {
		return fmt.Errorf("check local CA: %w: %w", ca.ErrUnavailable, err)
	}
	now, root := c.options.Now(), r.in(ca.Signing).root
	if now.Before(root.NotBefore) || !now.Before(root.NotAfter) {
		return fmt.Errorf("check local CA: %w: root is valid from %v to %v only", ca.ErrUnavailable, root.NotBefore, root.NotAfter)
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
