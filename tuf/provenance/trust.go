package provenance

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore/pkg/signature"
)

// Bounds.
const (
	MaxRoot   = 4 << 20 // bytes of a trusted root
	MaxBundle = 4 << 20 // bytes of a bundle
	MaxKeys   = 64
	minRSA    = 2048 // bits
)

// Reasons for which nothing is verified. Test with errors.Is.
var (
	// ErrMalformed: a bundle, trusted root or key that cannot be read.
	ErrMalformed = errors.New("malformed")
	// ErrUntrusted: nothing here can vouch for whoever signed.
	ErrUntrusted = errors.New("nobody here vouches for the signer")
	// ErrUnverified: the signature, its certificate, its time or its entry in the
	// log does not hold, or it is about something else.
	ErrUnverified = errors.New("it does not verify")
)

// Trust is whom to believe. The zero value believes nobody. It never changes, and
// is safe for concurrent use.
type Trust struct {
	root *root.TrustedRoot // nil: none
	keys []trustedKey
}

type trustedKey struct {
	id     string
	public crypto.PublicKey
}

// NewTrust makes a Trust of a trusted root (a trusted_root.json as sigstore's tools
// write it: certificate authorities, transparency logs, timestamping authorities),
// nil for none, and of public keys for bundles that are signed with plain keys.
// Errors wrap ErrMalformed.
func NewTrust(trustedRoot []byte, keys ...crypto.PublicKey) (t *Trust, err error) {
	defer recovered(&err)
	t = &Trust{}
	if trustedRoot != nil {
		if t.root, err = parseRoot(trustedRoot); err != nil {
			return nil, err
		}
	}
	if len(keys) > MaxKeys {
		return nil, fmt.Errorf("trust keys: %w: more than %d", ErrMalformed, MaxKeys)
	}
	for _, key := range keys {
		id, err := KeyID(key)
		if err != nil {
			return nil, fmt.Errorf("trust key: %w", err)
		}
		t.keys = append(t.keys, trustedKey{id, key})
	}
	return t, nil
}

func parseRoot(text []byte) (*root.TrustedRoot, error) {
	if len(text) > MaxRoot {
		return nil, fmt.Errorf("read trusted root: %w: more than %d bytes", ErrMalformed, MaxRoot)
	}
	r, err := root.NewTrustedRootFromJSON(text)
	if err != nil {
		return nil, fmt.Errorf("read trusted root: %w: %w", ErrMalformed, err)
	}
	if len(r.FulcioCertificateAuthorities()) == 0 {
		return nil, fmt.Errorf("read trusted root: %w: it has no certificate authority", ErrMalformed)
	}
	if len(r.RekorLogs())+len(r.TimestampingAuthorities()) == 0 {
		return nil, fmt.Errorf("read trusted root: %w: it has neither a transparency log nor a timestamping authority, so nothing could say when something was signed", ErrMalformed)
	}
	return r, nil
}

// KeyID names a public key: the SHA-256 of its PKIX form in DER (RFC 5280, section
// 4.1), hexadecimal. ECDSA, Ed25519 and RSA from 2048 bits on are accepted. Errors
// wrap ErrMalformed.
func KeyID(key crypto.PublicKey) (string, error) {
	switch k := key.(type) {
	case *ecdsa.PublicKey, ed25519.PublicKey:
	case *rsa.PublicKey:
		if k.N.BitLen() < minRSA {
			return "", fmt.Errorf("%w: an RSA key of %d bits, at least %d are wanted", ErrMalformed, k.N.BitLen(), minRSA)
		}
	default:
		return "", fmt.Errorf("%w: a key is ECDSA, Ed25519 or RSA, not %T", ErrMalformed, key)
	}
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:]), nil
}

// material trusts the key for bundles that are signed with it, whatever hint they
// give: a hint is not signed.
func (k trustedKey) material() (root.TrustedMaterial, error) {
	verifier, err := signature.LoadDefaultVerifier(k.public)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return root.NewTrustedPublicKeyMaterial(func(string) (root.TimeConstrainedVerifier, error) {
		return root.NewExpiringKey(verifier, time.Time{}, time.Time{}), nil
	}), nil
}

// recovered makes an error of a panic over foreign bytes.
func recovered(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("%w: %v", ErrMalformed, p)
	}
}
