package enroll

import (
	"context"
	"crypto/sha256"
	"errors"
	"time"

	"troth/ca"
	"troth/internal/fleet"
)

// order is one certificate to be issued.
type order struct {
	device    fleet.Device
	request   ca.Request
	rotateKey bool   // the key is to be replaced all the same
	succeeds  bool   // the device's other certificates end when this one is first used
	answers   string // id of the challenge that is burnt with the intent; empty: none
}

// issue has the CA sign for a device and records both at once with whatever
// else the change holds. The intent is written first, so that nothing can be
// signed that is not on record. What a quarantined device is given opens the
// device routes alone, and is revoked for everybody else.
func (s *Service) issue(ctx context.Context, o order, change fleet.Change, now time.Time) (Credential, error) {
	leave, err := s.enter(ctx)
	if err != nil {
		return Credential{}, err
	}
	defer leave()
	d := o.device
	intent := fleet.Certificate{
		ID: fleet.NewID(), Device: d.ID, State: fleet.CertificateIntended, Key: keyHash(d.TLSPublic), CreatedAt: now,
		RotateKey: o.rotateKey, Succeeds: o.succeeds,
	}
	err = s.Store.Apply(ctx, fleet.Change{Answers: o.answers, Certificates: []fleet.Certificate{intent}})
	switch {
	case o.answers != "" && fleet.IsKind(err, fleet.Conflict):
		return Credential{}, errAnswered // somebody was faster
	case err != nil:
		return Credential{}, err
	}
	cert, err := s.Issuer.Issue(ctx, o.request)
	if err != nil {
		return Credential{}, s.fail(ctx, intent, err)
	}
	issued := signed(intent, cert)
	issued.State = fleet.CertificateIssued
	if d.Lifecycle == fleet.Quarantined {
		issued.State, issued.Reason, issued.EndedAt = fleet.CertificateRestricted, d.LifecycleReason, now
	}
	if change.RevokeOthers != nil {
		change.RevokeOthers.ID = issued.ID
	}
	change.Devices = append(change.Devices, d)
	change.Certificates = append(change.Certificates, issued)
	if err := s.Store.Apply(ctx, change); err != nil {
		return Credential{}, s.abandon(ctx, intent, cert, err)
	}
	bundle := cert.Roots
	if bundle == nil {
		if bundle, err = s.Issuer.Bundle(ctx); err != nil {
			return Credential{}, unavailable(err)
		}
	}
	d.Revision++
	return Credential{Device: d.ID, Certificate: cert, TrustBundle: bundle, Nonce: s.Nonces.Issue(d, s.Now())}, nil
}

// enter waits for a place at the CA. A fleet that comes at once is told to come
// back before anything is recorded of it.
func (s *Service) enter(ctx context.Context) (leave func(), err error) {
	timer := time.NewTimer(s.SigningPatience)
	defer timer.Stop()
	select {
	case s.signing <- struct{}{}:
		return func() { <-s.signing }, nil
	case <-timer.C:
		return nil, fleet.Errorf(fleet.Unavailable, "ca_busy", "the certificate authority signs for as many devices as it may at once: try again")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// lifetime is that of a certificate for which policy wants so many seconds.
func (s *Service) lifetime(wanted int64) (time.Duration, error) {
	if wanted == 0 {
		return s.CertificateLife, nil
	}
	if wanted > int64(s.MaxCertificateLife/time.Second) {
		return 0, fleet.Errorf(fleet.Refused, "lifetime_refused",
			"policy wants a certificate for %d s, and the service's configuration allows %s: an operator sets certificates.max_lifetime or the policy right", wanted, s.MaxCertificateLife)
	}
	return time.Duration(wanted) * time.Second, nil
}

func keyHash(spki []byte) []byte {
	sum := sha256.Sum256(spki)
	return sum[:]
}

// signed is the record of an intent that the CA has signed for.
func signed(c fleet.Certificate, cert ca.Certificate) fleet.Certificate {
	c.Serial, c.DER, c.NotBefore, c.NotAfter = cert.Serial, cert.DER, cert.NotBefore, cert.NotAfter
	return c
}

func retired(d fleet.Device) error {
	return fleet.Errorf(fleet.Refused, "device_retired", "the device was retired: %s", d.LifecycleReason)
}

// fail closes an intent that the CA did not fulfil.
func (s *Service) fail(ctx context.Context, intent fleet.Certificate, cause error) error {
	intent.State, intent.Reason, intent.EndedAt = fleet.CertificateFailed, "the CA did not sign", s.Now()
	switch {
	case errors.Is(cause, ca.ErrAmbiguous):
		intent.State, intent.Reason = fleet.CertificateInDoubt, "the CA's answer was lost: it may have signed"
	case errors.Is(cause, ca.ErrMisissued):
		intent.State, intent.Reason = fleet.CertificateInDoubt, "the CA signed something else than was asked for; its revocation was requested"
	}
	// Where this write fails too, Sweep closes the intent later.
	_ = s.Store.Apply(context.WithoutCancel(ctx), fleet.Change{Certificates: []fleet.Certificate{intent}})
	switch {
	case errors.Is(cause, ca.ErrMisissued):
		return fleet.Because(cause, fleet.Internal, "ca_misissued", "the certificate authority signed something else than was asked for, which is handed to nobody: somebody has changed its role (troth ca doctor)")
	case errors.Is(cause, ca.ErrRefused):
		return fleet.Because(cause, fleet.Internal, "ca_refused", "the certificate authority refused to sign: its role does not fit this service (troth ca doctor)")
	}
	return unavailable(cause)
}

// abandon ends a certificate that was signed but could not be recorded with its
// device; the device never receives it. Where the CA cannot be told now, it is
// later: the record has what that takes.
func (s *Service) abandon(ctx context.Context, intent fleet.Certificate, cert ca.Certificate, cause error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	c := signed(intent, cert)
	c.State, c.EndedAt, c.Reason = fleet.CertificateInDoubt, s.Now(), "signed, and never delivered"
	err := s.Issuer.Revoke(ctx, cert.DER)
	if err == nil {
		c.State, c.Reason = fleet.CertificateFailed, "signed, never delivered, revoked at the CA"
	}
	if applied := s.Store.Apply(ctx, fleet.Change{Certificates: []fleet.Certificate{c}}); fleet.IsKind(applied, fleet.Conflict) {
		// It is on record as issued: the answer of the database was lost, not the write.
		c.State, c.Reason = fleet.CertificateRevoked, "never delivered"
		_ = s.Store.Apply(ctx, fleet.Change{Certificates: []fleet.Certificate{c}})
	}
	return cause
}

func unavailable(cause error) error {
	return fleet.Because(cause, fleet.Unavailable, "ca_unavailable", "the certificate authority does not answer: try again")
}
