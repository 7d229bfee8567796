package ca

import (
	"context"
	"crypto/x509"
	"encoding/hex"
	"errors"
)

// Role is the part that an authority plays while one is replaced by another.
type Role string

// The roles, in the order in which an authority has them.
const (
	// Next is announced: it is in the bundle, and signs nothing yet.
	Next Role = "next"
	// Signing signs. There is always exactly one.
	Signing Role = "signing"
	// Retiring signs no longer; what it signed is still believed.
	Retiring Role = "retiring"
)

// Authority is one signing key with its certificate.
type Authority struct {
	// ID is the subject key identifier in lower-case hexadecimal: what the
	// authority key identifier of a certificate that it signed says (RFC 5280,
	// sections 4.2.1.1 and 4.2.1.2).
	ID   string
	Role Role
	// Certificate verifies what the authority signs.
	Certificate *x509.Certificate
	// Bridged reports whether those who trust only its predecessor can verify
	// this authority too, by a certificate that the predecessor signed for it.
	Bridged bool
}

// ErrNoRotation says that there is no authority in the role that the step needs.
var ErrNoRotation = errors.New("no such step of a CA change is due")

// Rotator replaces an issuer's authority in three steps that may lie weeks
// apart, so that at no time a certificate is in use which its verifiers do not
// know (RFC 4210, section 4.4 describes the same for root keys):
//
//	Begin     the new authority is in Bundle
//	Activate  the new authority signs
//	Retire    the old authority leaves Bundle
//
// Each step is one atomic change that every process sees, and may be repeated
// after any error. When to take a step is the caller's to know. Implementations
// pass catest.TestRotator.
type Rotator interface {
	// Authorities lists those that are in the bundle, the oldest first.
	Authorities(ctx context.Context) ([]Authority, error)

	// Begin makes the next authority, or returns the one that was made already.
	// While an authority is retiring it is ErrRefused.
	Begin(ctx context.Context) (Authority, error)

	// Activate has the next authority sign from now on, and the one that signed
	// retire. Where that was done already it returns the one that signs; without
	// either it is ErrNoRotation.
	Activate(ctx context.Context) (Authority, error)

	// Retire takes the retiring authority out of the bundle, for good. Without
	// one it is ErrNoRotation.
	Retire(ctx context.Context) (Authority, error)
}

// AuthorityID is the Authority.ID of the one that signed the certificate; empty
// where the certificate does not say.
func AuthorityID(certificate *x509.Certificate) string {
	return hex.EncodeToString(certificate.AuthorityKeyId)
}
