// Package ca is what Troth asks of a certificate authority: a short-lived TLS
// client certificate for a device whose key an attestation certified.
//
// The subject of a device certificate is its one URI subject alternative name,
// the SPIFFE ID spiffe://TRUST-DOMAIN/device/ID (SPIFFE-ID and X509-SVID
// specifications). The request is a PKCS #10 CSR (RFC 2986), the certificate
// an RFC 5280 one, with key usage digitalSignature and the only extended key
// usage clientAuth.
//
// The package holds the contract (Issuer) and the two checks that do not trust
// an issuer's own: CheckRequest before anything is signed, CheckIssued on what
// came back. The issuers themselves are in ca/local and ca/vault.
package ca

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"time"
)

const (
	// DefaultLifetime is how long a device certificate is valid when the
	// request does not say.
	DefaultLifetime = 24 * time.Hour

	// MaxBackdate is how far before the moment of signing a certificate may
	// begin. Some backdating is needed for devices whose clock lags; more
	// would let a certificate speak for a time before the attestation.
	MaxBackdate = 5 * time.Minute
)

// Errors that an Issuer's errors match by errors.Is. They say what a caller may
// conclude and do next; the message around them says what happened.
var (
	// ErrUnavailable: nothing was signed, and the request was not judged. The
	// issuer is unreachable, sealed, overloaded, or does not accept this
	// service's own credentials. The same request may succeed later.
	ErrUnavailable = errors.New("certificate authority is unavailable")

	// ErrRefused: nothing was signed, and asking again will not help.
	ErrRefused = errors.New("certificate authority refused the request")

	// ErrAmbiguous: the request may have reached the issuer and the answer was
	// lost, so a certificate that nobody here has seen may exist. It is never
	// retried by an Issuer; the caller records it before asking again.
	ErrAmbiguous = errors.New("certificate may have been signed, but the answer was lost")

	// ErrMisissued: the issuer answered with a certificate that is not what
	// was asked. It is not handed out, and the Issuer has asked for its
	// revocation.
	ErrMisissued = errors.New("certificate authority issued something else than was asked")
)

// Request asks for one device certificate.
type Request struct {
	// CSR is a DER PKCS #10 request. Its only content that counts is the key
	// and the proof of its possession; see CheckRequest for what else it may
	// and may not contain.
	CSR []byte

	// PublicKey is the TLS key that the attestation certified; the CSR must
	// carry exactly this one (SECURITY K6).
	PublicKey crypto.PublicKey

	// URI is the subject: spiffe://TRUST-DOMAIN/device/ID, where ID is 64
	// lower-case hexadecimal digits.
	URI string

	// Lifetime is the validity wanted from now on; zero means
	// DefaultLifetime. An issuer may give less, never more.
	Lifetime time.Duration

	checked *mark // of what CheckRequest has passed; nil: nothing yet
}

// Certificate is what an Issuer issued.
type Certificate struct {
	// DER is the device's certificate.
	DER []byte

	// Chain holds the DER certificates from the one that issued DER upwards,
	// without a self-signed root; empty when the root itself issued DER.
	// DER and Chain together are what a TLS client presents.
	Chain [][]byte

	// Serial is the serial number in lower-case hexadecimal, no separators, an
	// even number of digits.
	Serial string

	// NotBefore and NotAfter bound the validity, both inclusive, in UTC.
	NotBefore, NotAfter time.Time

	// Roots is the bundle that the certificate was verified with, where the
	// issuer had it at hand. nil: ask Issuer.Bundle.
	Roots []*x509.Certificate
}

// Issuer signs device certificates. Implementations are safe for concurrent
// use and pass catest.TestIssuer.
type Issuer interface {
	// Issue checks the request (CheckRequest), has it signed and checks what
	// came back (CheckIssued). Its error matches ErrUnavailable, ErrRefused,
	// ErrAmbiguous or ErrMisissued; a request that CheckRequest refuses is a
	// *CSRError, which also matches ErrRefused.
	Issue(ctx context.Context, r Request) (Certificate, error)

	// Revoke makes a certificate of this issuer invalid before its time. It is
	// idempotent, and safe to repeat after any error. A certificate of someone
	// else is ErrRefused.
	Revoke(ctx context.Context, der []byte) error

	// Bundle returns the roots that verify this issuer's certificates. While
	// a CA is being replaced, that is more than one.
	Bundle(ctx context.Context) ([]*x509.Certificate, error)

	// Check says whether Issue could succeed now, without signing anything.
	Check(ctx context.Context) error
}

// NewCertificate describes the DER certificate der with the chain of its
// issuers. Self-signed members of chain are left out.
func NewCertificate(der []byte, chain [][]byte) (Certificate, error) {
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return Certificate{}, fmt.Errorf("parse issued certificate: %w", err)
	}
	c := Certificate{
		DER:       der,
		Serial:    hex.EncodeToString(leaf.SerialNumber.Bytes()),
		NotBefore: leaf.NotBefore.UTC(),
		NotAfter:  leaf.NotAfter.UTC(),
	}
	for _, link := range chain {
		issuer, err := x509.ParseCertificate(link)
		if err != nil {
			return Certificate{}, fmt.Errorf("parse issuer's certificate: %w", err)
		}
		if !SelfSigned(issuer) {
			c.Chain = append(c.Chain, link)
		}
	}
	return c, nil
}

// SelfSigned reports whether cert is signed by its own key, as a root is.
func SelfSigned(cert *x509.Certificate) bool {
	return cert.CheckSignatureFrom(cert) == nil
}
