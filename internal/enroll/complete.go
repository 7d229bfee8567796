package enroll

import (
	"bytes"
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"troth/attest"
	"troth/attest/ek"
	"troth/ca"
	"troth/internal/evidence"
	"troth/internal/fleet"
	"troth/policy"
)

// Proof answers a challenge.
type Proof struct {
	Secret           []byte
	Evidence         evidence.Submission
	CertifyInfo      []byte // TPMS_ATTEST by the AK over the TLS key
	CertifySignature []byte // TPMT_SIGNATURE
	CSR              []byte // PKCS #10, DER

	// The same by the AK over the manufacturer's key, where one was shown.
	DevIDCertifyInfo, DevIDCertifySignature []byte
}

// Credential is what an enrolled device proves itself with.
type Credential struct {
	Device      fleet.DeviceID
	Certificate ca.Certificate
	TrustBundle []*x509.Certificate
	Nonce       []byte // for the first check-in
}

// Complete verifies a proof and enrols the device. The challenge is burnt
// whatever the outcome: a wrong guess costs a new one.
func (s *Service) Complete(ctx context.Context, id string, p Proof) (Credential, error) {
	e, err := s.Store.Enrollment(ctx, id)
	if fleet.IsKind(err, fleet.NotFound) {
		return Credential{}, errAnswered
	}
	if err != nil {
		return Credential{}, err
	}
	c, err := s.complete(ctx, e, p, s.Now())
	if err != nil {
		if err := s.burn(ctx, id); err != nil {
			return Credential{}, err
		}
	}
	return c, err
}

var errAnswered = fleet.Errorf(fleet.Refused, "challenge_unknown", "the challenge was answered already, has expired or never was: begin again")

// burn forgets a challenge that was answered in vain, even where the caller is
// gone. An answer that got as far as an intent has burnt it already.
func (s *Service) burn(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), burnTime)
	defer cancel()
	if _, err := s.Store.TakeEnrollment(ctx, id); err != nil && !fleet.IsKind(err, fleet.NotFound) {
		return err
	}
	return nil
}

// burnTime bounds the attempt to forget a challenge; it expires soon in any case.
const burnTime = 5 * time.Second

func (s *Service) complete(ctx context.Context, e fleet.Enrollment, p Proof, now time.Time) (Credential, error) {
	tlsKey, err := s.verifyKeys(e, p, now)
	if err != nil {
		return Credential{}, err
	}
	request, err := ca.Request{CSR: p.CSR, PublicKey: tlsKey, URI: s.URI(e.Device)}.Checked()
	if err != nil {
		return Credential{}, coded(err, "csr_refused", "the certificate request is refused")
	}
	spki, err := x509.MarshalPKIXPublicKey(tlsKey)
	if err != nil {
		return Credential{}, fmt.Errorf("encode TLS key: %w", err)
	}
	appraised, err := evidence.Appraise(ctx, s.Store, p.Evidence, evidence.Subject{
		Purpose: "enroll", Device: e.Device, AK: e.AKPublic, ClientKey: spki, Nonce: e.Nonce,
		// The list is whole, and counted under the keys that are enrolled now.
		Progress: fleet.Progress{Device: e.Device, Under: enrolled(fleet.Device{}, e, spki, now).Under()},
	})
	if err != nil {
		return Credential{}, err
	}
	if err := s.onlyOnce(ctx, e); err != nil {
		return Credential{}, err
	}
	device, err := s.existing(ctx, e.Device)
	if err != nil {
		return Credential{}, err
	}
	decision, err := s.decide(ctx, e, device, appraised, now)
	if err != nil {
		return Credential{}, err
	}
	if request.Lifetime, err = s.lifetime(decision.life); err != nil {
		return Credential{}, err
	}
	if e.Name, err = s.freeName(ctx, device, e.Name); err != nil {
		return Credential{}, err
	}
	alerts, err := s.newKeys(ctx, device, e, now)
	if err != nil {
		return Credential{}, err
	}
	rotate, err := s.mustRotate(ctx, device, spki)
	if err != nil {
		return Credential{}, err
	}
	device = enrolled(device, e, spki, now)
	return s.issue(ctx, order{device: device, request: request, rotateKey: rotate, answers: e.ID}, fleet.Change{
		Alerts:    alerts,
		Decisions: []fleet.Decision{decision.Decision},
		Progress:  appraised.Progress,
		Blobs:     slices.Concat(appraised.Logs, appraised.Pieces, []fleet.Blob{appraised.Document, decision.input}),
		Events:    []fleet.Event{fleet.NewEvent(now, "device:"+string(e.Device), "device.enroll", string(e.Device), decision.reason)},
		// The keys of an earlier enrolment end here.
		RevokeOthers: &fleet.Certificate{Device: e.Device, EndedAt: now, Reason: "superseded by a new enrolment"},
	}, now)
}

// mustRotate reports whether the key that a device enrols with is to be replaced:
// after the enrolment as before.
func (s *Service) mustRotate(ctx context.Context, before fleet.Device, spki []byte) (bool, error) {
	if before.EnrolledAt.IsZero() {
		return false, nil // it has no certificate
	}
	certificates, err := s.Store.Certificates(ctx, before.ID)
	return fleet.MustRotate(certificates, keyHash(spki)), err
}

// verifyKeys proves that the activation reached the TPM of the endorsement key
// and that the TLS key lives in it, as does the manufacturer's key.
func (s *Service) verifyKeys(e fleet.Enrollment, p Proof, now time.Time) (crypto.PublicKey, error) {
	if now.After(e.ExpiresAt) {
		return nil, fleet.Errorf(fleet.Refused, "challenge_expired", "the challenge was to be answered within %s: begin again", s.ChallengeLife)
	}
	sum := sha256.Sum256(p.Secret)
	if subtle.ConstantTimeCompare(sum[:], e.SecretSHA256) != 1 {
		return nil, fleet.Errorf(fleet.Refused, "activation_failed", "the credential was not activated by the TPM of this endorsement key: begin again")
	}
	binding := attest.Binding{Purpose: "certify", Nonce: e.Nonce, DeviceID: string(e.Device)}
	key, err := attest.CheckCertify(e.AKPublic, e.TLSPublic, p.CertifyInfo, p.CertifySignature, binding.QualifyingData())
	if err != nil {
		return nil, coded(err, "certification_failed", "the TLS key is not certified by the attestation key")
	}
	return key, verifyDevID(e, p)
}

type decided struct {
	fleet.Decision
	input  fleet.Blob
	reason string
	life   int64 // seconds; zero: the service's own choice
	rotate bool  // only with a new key
}

func (s *Service) decide(ctx context.Context, e fleet.Enrollment, d fleet.Device, a evidence.Appraised, now time.Time) (decided, error) {
	name, model := d.Name, d.Model
	if model == "" {
		model = e.Model
	}
	in := policy.EnrollInput{
		Now: now, Evidence: a.Document.Digest,
		Device: policy.DeviceInput{ID: string(e.Device), Name: name, Model: model, Labels: d.Labels, Lifecycle: string(d.Lifecycle)},
		EK:     policy.EKInput{Certificate: len(e.EKCertificate) > 0, Verified: e.Manufacturer != "", Manufacturer: e.Manufacturer, Problem: e.EKProblem},
		IDevID: policy.IDevIDInput{
			Given: e.DevID.Given(), Verified: e.DevID.Manufacturer != "", Kind: e.DevID.Kind, Manufacturer: e.DevID.Manufacturer,
			Serial: e.DevID.Serial, Model: e.DevID.Model, Problem: e.DevID.Problem,
		},
		Registered: !d.RegisteredAt.IsZero(), RequireRegistration: s.RequireRegistration,
		Attestation: evidence.Attestation(a.Result),
	}
	answer, err := s.Policy.Enroll(ctx, in)
	if errors.Is(err, policy.ErrTimeout) {
		return decided{}, fleet.Because(err, fleet.Unavailable, "policy_timeout", "the enrolment policy did not answer in time: begin again")
	}
	if err != nil {
		return decided{}, fleet.Because(err, fleet.Internal, "policy_error", "the enrolment policy could not decide, so the answer is no")
	}
	if !answer.Allow {
		return decided{}, fleet.Errorf(fleet.Refused, answer.Code, "%s", answer.Reason)
	}
	// No policy brings a retired device back.
	if d.Lifecycle == fleet.Retired {
		return decided{}, retired(d)
	}
	decision, input, err := evidence.Record("enroll", e.Device, in, answer)
	return decided{Decision: decision, input: input, reason: answer.Reason, life: answer.Lifetime}, err
}

// newKeys tells people of a TPM that comes back with another attestation key: an
// agent that lost its state, a device that was taken apart, or somebody who has
// the TPM. An enrolment that is only tried again shows the same keys.
func (s *Service) newKeys(ctx context.Context, d fleet.Device, e fleet.Enrollment, now time.Time) ([]fleet.Alert, error) {
	if d.EnrolledAt.IsZero() || bytes.Equal(d.AKPublic, e.AKPublic) {
		return nil, nil
	}
	open, err := s.Store.Alerts(ctx, fleet.AlertFilter{Subject: string(d.ID), Open: true})
	if err != nil {
		return nil, err
	}
	return []fleet.Alert{fleet.Raise(open, fleet.Alert{
		Subject: string(d.ID), Key: fleet.KeyNewKeys, Device: d.ID, Severity: fleet.Medium,
		Title:  "Device enrolled again with new keys",
		Reason: "the keys of its enrolment at " + d.EnrolledAt.UTC().Format(time.RFC3339) + " are replaced and its certificates revoked; if nobody reset the device, find out why",
	}, now)}, nil
}

// freeName is the name that a device claims, unless another device has it: a
// claim takes no name away, and a taken one is no reason to refuse.
func (s *Service) freeName(ctx context.Context, d fleet.Device, claimed string) (string, error) {
	if d.Name != "" || claimed == "" {
		return "", nil
	}
	holders, err := s.Store.Devices(ctx, fleet.DeviceFilter{Name: claimed})
	if err != nil {
		return "", err
	}
	for _, h := range holders {
		if h.ID != d.ID && h.Lifecycle != fleet.Retired {
			return "", nil
		}
	}
	return claimed, nil
}

// enrolled is the device as it stands after its enrolment. What an operator
// registered wins over what the device claims, and a quarantine outlives it.
func enrolled(d fleet.Device, e fleet.Enrollment, spki []byte, now time.Time) fleet.Device {
	if d.Name == "" {
		d.Name = e.Name
	}
	if d.Model == "" {
		d.Model = e.Model
	}
	if d.Lifecycle != fleet.Active && d.Lifecycle != fleet.Quarantined {
		d.Lifecycle, d.LifecycleAt, d.LifecycleReason = fleet.Active, now, "enrolled"
	}
	d.EnrolledAt, d.Manufacturer, d.DevID = now, e.Manufacturer, e.DevID
	d.EKPublic, d.EKCertificate, d.AKPublic, d.TLSPublic = e.EKPublic, e.EKCertificate, e.AKPublic, spki
	d.EKKey, _ = ek.KeyID(e.EKPublic) // onlyOnce has read it
	// Another key's clock cannot be compared with the last one's.
	d.Clock, d.Verdict, d.VerdictSince, d.FreshUntil = fleet.Clock{}, fleet.Unknown, now, time.Time{}
	return d
}
