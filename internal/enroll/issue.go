package enroll

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"time"

	"troth/ca"
	"troth/internal/fleet"
)

// issue has the CA sign for a device and records both at once with whatever
// else the change holds. The intent is written first, so that nothing can be
// signed that is not on record.
func (s *Service) issue(ctx context.Context, d fleet.Device, r ca.Request, change fleet.Change, now time.Time) (Credential, error) {
	key := sha256.Sum256(d.TLSPublic)
	intent := fleet.Certificate{ID: fleet.NewID(), Device: d.ID, State: fleet.CertificateIntended, Key: key[:], CreatedAt: now}
	if err := s.Store.Apply(ctx, fleet.Change{Certificates: []fleet.Certificate{intent}}); err != nil {
		return Credential{}, err
	}
	cert, err := s.Issuer.Issue(ctx, r)
	if err != nil {
		return Credential{}, s.fail(ctx, intent, err)
	}
	issued := intent
	issued.State, issued.Serial, issued.DER = fleet.CertificateIssued, cert.Serial, cert.DER
	issued.NotBefore, issued.NotAfter = cert.NotBefore, cert.NotAfter
	if change.RevokeOthers != nil {
		change.RevokeOthers.ID = issued.ID
	}
	change.Devices = append(change.Devices, d)
	change.Certificates = append(change.Certificates, issued)
	if err := s.Store.Apply(ctx, change); err != nil {
		return Credential{}, s.abandon(ctx, intent, cert, err)
	}
	bundle, err := s.Issuer.Bundle(ctx)
	if err != nil {
		return Credential{}, unavailable(err)
	}
	d.Revision++
	return Credential{Device: d.ID, Certificate: cert, TrustBundle: bundle, Nonce: s.Nonces.Issue(d, s.Now())}, nil
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
	if errors.Is(cause, ca.ErrRefused) {
		return fleet.Because(cause, fleet.Internal, "ca_refused", "the certificate authority refused to sign: its role does not fit this service")
	}
	return unavailable(cause)
}

// abandon revokes a certificate that was signed but could not be recorded with
// its device; the device never receives it.
func (s *Service) abandon(ctx context.Context, intent fleet.Certificate, cert ca.Certificate, cause error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	intent.State, intent.EndedAt = fleet.CertificateInDoubt, s.Now()
	intent.Reason = "signed with serial " + cert.Serial + " and never delivered"
	if err := s.Issuer.Revoke(ctx, cert.DER); err == nil {
		intent.State, intent.Reason = fleet.CertificateFailed, "signed, never delivered, revoked at the CA"
	}
	_ = s.Store.Apply(ctx, fleet.Change{Certificates: []fleet.Certificate{intent}})
	return cause
}

func unavailable(cause error) error {
	return fleet.Because(cause, fleet.Unavailable, "ca_unavailable", "the certificate authority does not answer: try again")
}

// Renew signs a new certificate for the key that the device holds in its TPM.
// Only a device that is active and whose verdict is compliant and fresh gets
// one; the others re-attest first.
func (s *Service) Renew(ctx context.Context, id fleet.DeviceID, csr []byte) (Credential, error) {
	now := s.Now()
	d, err := s.Store.Device(ctx, id)
	if err != nil {
		return Credential{}, err
	}
	if d.Lifecycle != fleet.Active {
		return Credential{}, fleet.Errorf(fleet.Refused, "renewal_refused", "the device is %s: %s", d.Lifecycle, d.LifecycleReason)
	}
	if v := d.Believed(now); v != fleet.Compliant {
		return Credential{}, fleet.Errorf(fleet.Refused, "renewal_refused", "the device's verdict is %s: check in with a compliant posture first", v)
	}
	key, err := x509.ParsePKIXPublicKey(d.TLSPublic)
	if err != nil {
		return Credential{}, fleet.Because(err, fleet.Internal, "stored_key_unusable", "the device's stored key cannot be read")
	}
	request := ca.Request{CSR: csr, PublicKey: key, URI: s.URI(id), Lifetime: s.CertificateLife}
	if err := ca.CheckRequest(request); err != nil {
		return Credential{}, coded(err, "csr_refused", "the certificate request is refused")
	}
	return s.issue(ctx, d, request, fleet.Change{
		Events: []fleet.Event{fleet.NewEvent(now, "device:"+string(id), "certificate.renew", string(id), "")},
	}, now)
}
