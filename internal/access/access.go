// Package access answers one question for any proxy or application: may device
// D do action A on resource R, now?
package access

import (
	"context"
	"slices"
	"time"

	"troth/internal/fleet"
	"troth/policy"
)

// Store is what the answer depends on.
type Store interface {
	Device(ctx context.Context, id fleet.DeviceID) (fleet.Device, error)
	Posture(ctx context.Context, id fleet.DeviceID) (fleet.Posture, error)
	Certificates(ctx context.Context, id fleet.DeviceID) ([]fleet.Certificate, error)
	CertificateBySerial(ctx context.Context, serial string) (fleet.Certificate, error)
}

// Policy decides.
type Policy interface {
	Access(ctx context.Context, in policy.AccessInput) (policy.AccessDecision, error)
}

// Log records what is answered.
type Log interface {
	Record(ctx context.Context, a fleet.Ruling) error
}

// Service is the use case.
type Service struct {
	Store  Store
	Policy Policy
	Log    Log
	Now    func() time.Time
}

// Answer is a decision with the state that it was reached under.
type Answer struct {
	policy.AccessDecision
	Verdict  fleet.Verdict
	Evidence string
}

// Decide asks policy under the device's posture of this moment. A device that
// nobody knows, and a policy that cannot decide, are denied. So is what cannot be
// recorded.
func (s *Service) Decide(ctx context.Context, id fleet.DeviceID, action, resource string) (Answer, error) {
	a, err := s.decide(ctx, id, action, resource)
	return s.record(ctx, id, action, resource, a, err)
}

// record hands on an answer once it is recorded: an allowance, or a denial by
// policy or before policy is asked. A failure is no answer.
func (s *Service) record(ctx context.Context, id fleet.DeviceID, action, resource string, a Answer, err error) (Answer, error) {
	code := a.Code
	switch {
	case fleet.IsKind(err, fleet.NotFound):
		code = "device_unknown"
	case fleet.IsKind(err, fleet.Refused):
		code = fleet.CodeOf(err)
	case err != nil:
		return a, err
	}
	failed := s.Log.Record(ctx, fleet.Ruling{
		Kind: string(policy.KindAccess), Device: id, Action: action, Resource: resource, Allow: err == nil && a.Allow, Code: code,
		At: s.Now(), Policy: a.Policy, Input: a.Input, Evidence: a.Evidence,
	})
	if failed != nil {
		return Answer{}, failed
	}
	return a, err
}

func (s *Service) decide(ctx context.Context, id fleet.DeviceID, action, resource string) (Answer, error) {
	now := s.Now()
	d, err := s.Store.Device(ctx, id)
	if err != nil {
		return Answer{}, err
	}
	posture, err := s.Store.Posture(ctx, id)
	if err != nil && !fleet.IsKind(err, fleet.NotFound) {
		return Answer{}, err
	}
	certificates, err := s.Store.Certificates(ctx, id)
	if err != nil {
		return Answer{}, err
	}
	// One that is restricted to the device routes opens nothing else, as others who
	// read the CRL see it. In quarantine, that is not the reason.
	issued := func(c fleet.Certificate) bool {
		return c.State == fleet.CertificateIssued || d.Lifecycle == fleet.Quarantined && c.Opens()
	}
	verdict := d.Believed(now)
	decision, err := s.Policy.Access(ctx, policy.AccessInput{
		Now: now, Action: action, Resource: resource,
		Device:   policy.DeviceInput{ID: string(d.ID), Name: d.Name, Model: d.Model, Labels: d.Labels, Lifecycle: string(d.Lifecycle), Firmware: d.FirmwareVersion},
		Presence: string(d.PresenceAt(now)), Verdict: string(verdict), VerdictAge: now.Sub(d.VerdictAt).Seconds(),
		CertificateRevoked: !slices.ContainsFunc(certificates, issued),
	})
	if err != nil {
		return Answer{AccessDecision: policy.AccessDecision{Meta: decision.Meta}}, fleet.Because(err, fleet.Refused, "policy_error", "the access policy could not decide, so the answer is no")
	}
	return Answer{AccessDecision: decision, Verdict: verdict, Evidence: posture.Evidence}, nil
}
