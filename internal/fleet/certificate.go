package fleet

import (
	"bytes"
	"time"
)

// CertificateState says what is known of a certificate.
type CertificateState string

// The states of a certificate. An intent is written before the CA is asked, so
// that nothing can be issued that is not recorded.
const (
	CertificateIntended   CertificateState = "intended"
	CertificateIssued     CertificateState = "issued"
	CertificateRestricted CertificateState = "restricted" // of a quarantined device: good for the device routes alone, revoked for everybody else
	CertificateRevoked    CertificateState = "revoked"
	CertificateFailed     CertificateState = "failed"    // the CA refused, or was away
	CertificateInDoubt    CertificateState = "ambiguous" // the CA may have signed; the answer was lost
)

// Certificate is a device credential, from the intent to its end.
type Certificate struct {
	ID        string
	Device    DeviceID
	State     CertificateState
	Reason    string
	Serial    string // lower-case hexadecimal; empty until issued
	DER       []byte
	Key       []byte // SHA-256 of the SPKI
	CreatedAt time.Time
	NotBefore time.Time
	NotAfter  time.Time
	EndedAt   time.Time // restricted, revoked or failed
	RotateKey bool      // its key is to be replaced: a renewal brings another one
	Succeeds  bool      // when it is first used, the device's other certificates end
	Authority Revocation
}

// Opens reports whether the certificate opens the device routes: it is issued,
// or restricted to them.
func (c Certificate) Opens() bool {
	return c.State == CertificateIssued || c.State == CertificateRestricted
}

// Revocation is how far the CA knows that a certificate has ended.
type Revocation struct {
	ConfirmedAt time.Time // zero: not yet
	Attempts    int       // that failed
	NextAt      time.Time // of the next attempt
	Problem     string    // of the last attempt; empty: none
}

// Waiting between two attempts to tell the CA of a revocation.
const (
	firstRevocationRetry = 10 * time.Second
	lastRevocationRetry  = 10 * time.Minute
)

// Failed is the revocation after an attempt that failed: the next one waits
// longer, up to ten minutes.
func (r Revocation) Failed(problem string, now time.Time) Revocation {
	wait := lastRevocationRetry
	if r.Attempts < 6 {
		wait = min(wait, firstRevocationRetry<<r.Attempts)
	}
	r.Attempts, r.Problem, r.NextAt = r.Attempts+1, problem, now.Add(wait)
	return r
}

// Confirmed is the revocation that the CA has acknowledged.
func (r Revocation) Confirmed(now time.Time) Revocation {
	r.ConfirmedAt, r.Problem = now, ""
	return r
}

// KeySince is when the first of the certificates was asked for that has the key:
// how old the key is to the service. Zero: none has it.
func KeySince(certificates []Certificate, key []byte) (since time.Time) {
	for _, c := range certificates {
		if bytes.Equal(c.Key, key) && (since.IsZero() || c.CreatedAt.Before(since)) {
			since = c.CreatedAt
		}
	}
	return since
}

// MustRotate reports whether the key is to be replaced: a certificate of it says
// so, in whatever state it is.
func MustRotate(certificates []Certificate, key []byte) bool {
	for _, c := range certificates {
		if c.RotateKey && bytes.Equal(c.Key, key) {
			return true
		}
	}
	return false
}
