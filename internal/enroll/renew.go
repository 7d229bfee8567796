package enroll

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"troth/attest"
	"troth/ca"
	"troth/internal/evidence"
	"troth/internal/fleet"
	"troth/policy"
)

// Renewal asks for a new certificate for the one that the device shows.
type Renewal struct {
	Certificate fleet.Certificate // the record of the one shown
	CSR         []byte            // PKCS #10, DER, by the key that the new one is for
	NewKey      *NewKey           // nil: the key of the one shown
}

// NewKey is a TLS key that the device made in its TPM to replace the one in
// force, and the proof that it is there.
type NewKey struct {
	Nonce            []byte // of the service, fresh; used up with the renewal
	Public           []byte // TPMT_PUBLIC
	CertifyInfo      []byte // TPMS_ATTEST by the AK over the key
	CertifySignature []byte // TPMT_SIGNATURE
}

// Renew signs a new certificate, if policy allows it, for the key of the one that
// the device shows, or for a new one that its AK certifies. The certificate shown
// lives on, because the answer may be lost: beside one of the same key until its
// own end, beside one of a new key until that is first used (Used).
func (s *Service) Renew(ctx context.Context, r Renewal) (Credential, error) {
	now := s.Now()
	d, err := s.Store.Device(ctx, r.Certificate.Device)
	if err != nil {
		return Credential{}, err
	}
	certificates, err := s.Store.Certificates(ctx, d.ID)
	if err != nil {
		return Credential{}, err
	}
	decision, err := s.decideRenewal(ctx, d, r, certificates, now)
	if err != nil {
		return Credential{}, err
	}
	o := order{device: d, request: ca.Request{CSR: r.CSR, URI: s.URI(d.ID)}}
	if o.request.Lifetime, err = s.lifetime(decision.life); err != nil {
		return Credential{}, err
	}
	event := fleet.NewEvent(now, "device:"+string(d.ID), "certificate.renew", string(d.ID), "")
	if r.NewKey == nil {
		o.request.PublicKey, err = oldKey(d, r, decision.rotate)
	} else {
		event.Action, o.succeeds = "key.rotate", true
		o.request.PublicKey, err = s.newKey(&o.device, r, certificates, now)
	}
	if err != nil {
		return Credential{}, err
	}
	if o.request, err = o.request.Checked(); err != nil {
		return Credential{}, coded(err, "csr_refused", "the certificate request is refused")
	}
	// What was restricted in quarantine is of no use any more.
	o.succeeds = o.succeeds || r.Certificate.State == fleet.CertificateRestricted
	return s.issue(ctx, o, fleet.Change{
		Decisions: []fleet.Decision{decision.Decision}, Blobs: []fleet.Blob{decision.input}, Events: []fleet.Event{event},
	}, now)
}

// oldKey is the key of the certificate that is shown, unless it has to go.
func oldKey(d fleet.Device, r Renewal, rotate bool) (crypto.PublicKey, error) {
	if rotate {
		return nil, fleet.Errorf(fleet.Refused, "key_rotation_required", "the TLS key is to be replaced: renew with a new one that the attestation key certifies")
	}
	if !bytes.Equal(keyHash(d.TLSPublic), r.Certificate.Key) {
		return nil, fleet.Errorf(fleet.Refused, "key_superseded", "a newer TLS key is on record: renew with that one, or with another new one")
	}
	key, err := x509.ParsePKIXPublicKey(d.TLSPublic)
	if err != nil {
		return nil, fleet.Because(err, fleet.Internal, "stored_key_unusable", "the device's stored key cannot be read")
	}
	return key, nil
}

// newKey proves that a new key lives in the TPM of the attestation key, and makes
// it the device's. The nonce is used up when the certificate is recorded.
func (s *Service) newKey(d *fleet.Device, r Renewal, certificates []fleet.Certificate, now time.Time) (crypto.PublicKey, error) {
	at, err := s.Nonces.Check(r.NewKey.Nonce, *d, now)
	if err != nil {
		return nil, err
	}
	binding := attest.Binding{Purpose: "certify", Nonce: r.NewKey.Nonce, DeviceID: string(d.ID)}
	key, err := attest.CheckCertify(d.AKPublic, r.NewKey.Public, r.NewKey.CertifyInfo, r.NewKey.CertifySignature, binding.QualifyingData())
	if err != nil {
		return nil, coded(err, "certification_failed", "the new TLS key is not certified by the attestation key")
	}
	spki, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode TLS key: %w", err)
	}
	hash := keyHash(spki)
	if bytes.Equal(hash, r.Certificate.Key) || fleet.MustRotate(certificates, hash) {
		return nil, fleet.Errorf(fleet.Refused, "key_not_new", "the key is the one that is to be replaced: make another one")
	}
	d.TLSPublic, d.LastNonce = spki, at
	return key, nil
}

// decideRenewal asks policy. What no policy may allow is refused first; and an
// operator's wish for a new key holds whatever policy says of it.
func (s *Service) decideRenewal(ctx context.Context, d fleet.Device, r Renewal, certificates []fleet.Certificate, now time.Time) (decided, error) {
	switch {
	case d.Lifecycle == fleet.Retired:
		return decided{}, retired(d)
	case d.EnrolledAt.IsZero() || !r.Certificate.Opens():
		return decided{}, fleet.Errorf(fleet.Refused, "renewal_refused", "there is no certificate in force to renew: enrol")
	}
	posture, err := s.Store.Posture(ctx, d.ID)
	if err != nil && !fleet.IsKind(err, fleet.NotFound) {
		return decided{}, err
	}
	wanted := fleet.MustRotate(certificates, r.Certificate.Key)
	in := policy.RenewInput{
		Now: now, Evidence: posture.Evidence, NewKey: r.NewKey != nil,
		Device:  policy.DeviceInput{ID: string(d.ID), Name: d.Name, Model: d.Model, Labels: d.Labels, Lifecycle: string(d.Lifecycle), Firmware: d.FirmwareVersion},
		Verdict: string(d.Believed(now)), VerdictAge: now.Sub(d.VerdictAt).Seconds(), Failing: failing(posture),
		Certificate: policy.RenewedCertificate{
			NotBefore: r.Certificate.NotBefore, NotAfter: r.Certificate.NotAfter, Restricted: r.Certificate.State == fleet.CertificateRestricted,
			KeyAge: now.Sub(fleet.KeySince(certificates, r.Certificate.Key)).Seconds(), RotateKey: wanted,
		},
	}
	answer, err := s.Policy.Renew(ctx, in)
	switch {
	case errors.Is(err, policy.ErrTimeout):
		return decided{}, fleet.Because(err, fleet.Unavailable, "policy_timeout", "the renewal policy did not answer in time: try again")
	case err != nil:
		return decided{}, fleet.Because(err, fleet.Refused, "policy_error", "the renewal policy could not decide, so the answer is no")
	case !answer.Allow:
		return decided{}, fleet.Errorf(fleet.Refused, answer.Code, "%s", answer.Reason)
	}
	decision, input, err := evidence.Record("renew", d.ID, in, answer)
	return decided{Decision: decision, input: input, life: answer.Lifetime, rotate: answer.RotateKey || wanted}, err
}

func failing(p fleet.Posture) []string {
	var ids []string
	for _, c := range p.Controls {
		if c.Failing() {
			ids = append(ids, c.ID)
		}
	}
	slices.Sort(ids)
	return ids
}

// Wish is what the service would have a device do about the certificate that it
// shows, beside renewing it in time.
type Wish string

// The wishes.
const (
	WishNothing   Wish = ""
	WishRenew     Wish = "renew"      // now: the one shown is restricted, and the quarantine is over
	WishRotateKey Wish = "rotate_key" // now, with a new key
)

// WishOf says what the device is to do.
func WishOf(d fleet.Device, shown fleet.Certificate) Wish {
	switch {
	case d.Lifecycle != fleet.Active:
		return WishNothing
	case shown.RotateKey || !bytes.Equal(shown.Key, keyHash(d.TLSPublic)):
		return WishRotateKey
	case shown.State == fleet.CertificateRestricted:
		return WishRenew
	default:
		return WishNothing
	}
}
