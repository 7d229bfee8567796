// Package enroll gives a device its identity: it proves that the attestation
// key, the endorsement key and the TLS key live in one TPM of a known
// manufacturer (or of a registered device), asks policy, and has the CA sign.
//
// The order is that of DESIGN.md section 4, and a crash between any two steps
// leaves either nothing or a recorded intent without a certificate:
//
//	Begin:    EK, AK checked → challenge stored
//	Complete: activation, certification, CSR, quote, policy → challenge burnt and
//	          intent recorded at once → CA signs → device and certificate recorded
//	          at once; what does not get so far burns the challenge too
package enroll

import (
	"cmp"
	"context"
	"time"

	"troth/attest/ek"
	"troth/ca"
	"troth/internal/fleet"
	"troth/internal/nonce"
	"troth/policy"
)

// Store is what enrolment needs to remember.
type Store interface {
	Device(ctx context.Context, id fleet.DeviceID) (fleet.Device, error)
	Devices(ctx context.Context, f fleet.DeviceFilter) ([]fleet.Device, error)
	Manufacturers(ctx context.Context) ([]fleet.Manufacturer, error)
	// SaveEnrollment keeps a challenge until it is taken or expires.
	SaveEnrollment(ctx context.Context, e fleet.Enrollment) error
	// Enrollment is a challenge; a fleet.Change that answers it forgets it, once.
	Enrollment(ctx context.Context, id string) (fleet.Enrollment, error)
	// TakeEnrollment returns a challenge and forgets it.
	TakeEnrollment(ctx context.Context, id string) (fleet.Enrollment, error)
	Blob(ctx context.Context, digest string) ([]byte, error)
	Alerts(ctx context.Context, f fleet.AlertFilter) ([]fleet.Alert, error)
	// Certificates are all of a device's, in every state.
	Certificates(ctx context.Context, id fleet.DeviceID) ([]fleet.Certificate, error)
	// Intents are certificates that were asked for before the instant and never
	// came to an end.
	Intents(ctx context.Context, before time.Time) ([]fleet.Certificate, error)
	ExpireEnrollments(ctx context.Context, before time.Time) (int, error)
	// Posture is the device's latest, or fleet.ErrNotFound.
	Posture(ctx context.Context, id fleet.DeviceID) (fleet.Posture, error)
	// Succeeding were issued before the instant to succeed others, and not used yet.
	Succeeding(ctx context.Context, before time.Time) ([]fleet.Certificate, error)
	// ToRevoke ended here, and the CA has not confirmed it; LongestToRevoke is the
	// one that has waited longest, or fleet.ErrNotFound.
	ToRevoke(ctx context.Context, now time.Time, limit int) ([]fleet.Certificate, error)
	LongestToRevoke(ctx context.Context, now time.Time) (fleet.Certificate, error)
	Apply(ctx context.Context, c fleet.Change) error
}

// Policy decides who may enrol, who may renew, and for how long.
type Policy interface {
	Enroll(ctx context.Context, in policy.EnrollInput) (policy.EnrollDecision, error)
	Renew(ctx context.Context, in policy.RenewInput) (policy.RenewDecision, error)
}

// Config is what the service is made of.
type Config struct {
	Store               Store
	Issuer              ca.Issuer
	Policy              Policy
	Nonces              *nonce.Issuer
	TrustDomain         string        // of SPIFFE IDs
	RequireRegistration bool          // a known manufacturer alone is not enough
	CertificateLife     time.Duration // of device certificates, unless policy says otherwise
	MaxCertificateLife  time.Duration // that policy may give; zero: CertificateLife
	Signing             int           // at once at the CA; zero: 16
	SigningPatience     time.Duration // how long a request waits for its turn; zero: 2 s
	RotationGrace       time.Duration // how long an old key lives beside a new one that is never used; zero: 1 h
	ChallengeLife       time.Duration // to answer a challenge
	CRLs                *ek.CRLs      // of TPM manufacturers; nil: nothing is looked up
	Revocation          ek.RevocationPolicy
	CRLPatience         time.Duration // how long one enrolment waits for CRLs
	Now                 func() time.Time
}

// Service is the use case.
type Service struct {
	Config
	signing chan struct{} // a place for each request that is at the CA
	known   knownRoots    // of TPM manufacturers
}

// New returns the service.
func New(c Config) *Service {
	c.MaxCertificateLife = cmp.Or(c.MaxCertificateLife, c.CertificateLife)
	c.SigningPatience = cmp.Or(c.SigningPatience, 2*time.Second)
	c.RotationGrace = cmp.Or(c.RotationGrace, time.Hour)
	return &Service{Config: c, signing: make(chan struct{}, cmp.Or(c.Signing, 16))}
}

// URI is the SPIFFE ID of a device.
func (s *Service) URI(id fleet.DeviceID) string {
	return "spiffe://" + s.TrustDomain + "/device/" + string(id)
}

// Sweep forgets challenges that nobody answered and closes intents that a crash
// left open: whether the CA signed for them is not known, and is recorded so. It
// ends the keys whose successors have had their grace.
func (s *Service) Sweep(ctx context.Context) error {
	now := s.Now()
	if _, err := s.Store.ExpireEnrollments(ctx, now); err != nil {
		return err
	}
	intents, err := s.Store.Intents(ctx, now.Add(-10*time.Minute))
	if err != nil {
		return err
	}
	for _, c := range intents {
		c.State, c.EndedAt = fleet.CertificateInDoubt, now
		c.Reason = "the service stopped between asking the CA and recording its answer"
		change := fleet.Change{Certificates: []fleet.Certificate{c}, Events: []fleet.Event{
			fleet.NewEvent(now, "system", "certificate.in_doubt", string(c.Device), c.Reason),
		}}
		if err := s.Store.Apply(ctx, change); err != nil && !fleet.IsKind(err, fleet.Conflict) {
			return err
		}
	}
	return s.sweepSuccessions(ctx, now)
}

func (s *Service) existing(ctx context.Context, id fleet.DeviceID) (fleet.Device, error) {
	d, err := s.Store.Device(ctx, id)
	if fleet.IsKind(err, fleet.NotFound) {
		return fleet.Device{ID: id}, nil
	}
	return d, err
}
