package access_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"troth/internal/access"
	"troth/internal/fleet"
	"troth/policies"
	"troth/policy"
)

var now = time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)

// fake is a store of one device.
type fake struct {
	certificates []fleet.Certificate
	device       fleet.Device
	posture      fleet.Posture
	deviceErr    error
	postureErr   error
}

func (f fake) Device(context.Context, fleet.DeviceID) (fleet.Device, error) {
	return f.device, f.deviceErr
}

func (f fake) Certificates(context.Context, fleet.DeviceID) ([]fleet.Certificate, error) {
	return f.certificates, nil
}

func (f fake) CertificateBySerial(_ context.Context, serial string) (fleet.Certificate, error) {
	for _, c := range f.certificates {
		if c.Serial == serial {
			return c, nil
		}
	}
	return fleet.Certificate{}, fleet.Errorf(fleet.NotFound, "certificate_not_found", "none")
}

func (f fake) Posture(context.Context, fleet.DeviceID) (fleet.Posture, error) {
	return f.posture, f.postureErr
}

// trail keeps what is recorded, or refuses to.
type trail struct {
	kept []fleet.Ruling
	err  error
}

func (l *trail) Record(_ context.Context, a fleet.Ruling) error {
	l.kept = append(l.kept, a)
	return l.err
}

func good() fake {
	return fake{
		device: fleet.Device{
			ID: "aa", Lifecycle: fleet.Active, Verdict: fleet.Compliant, VerdictAt: now.Add(-time.Minute), FreshUntil: now.Add(time.Minute),
			LastSeen: now.Add(-time.Minute), NextCheckIn: now.Add(4 * time.Minute),
		},
		posture:      fleet.Posture{Evidence: "digest"},
		certificates: []fleet.Certificate{{State: fleet.CertificateIssued}},
	}
}

func TestDecide(t *testing.T) {
	engine, err := policy.New(t.Context(), policies.FS, policy.Options{Deadline: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name   string
		change func(*fake)
		code   string // empty: allowed
	}{
		{"active and compliant", func(*fake) {}, ""},
		{"its certificate revoked", func(f *fake) { f.certificates[0].State = fleet.CertificateRevoked }, "certificate_revoked"},
		{"without a certificate", func(f *fake) { f.certificates = nil }, "certificate_revoked"},
		{"quarantined", func(f *fake) { f.device.Lifecycle = fleet.Quarantined }, "device_quarantined"},
		{"pending", func(f *fake) { f.device.Lifecycle = fleet.Pending }, "device_not_active"},
		{"retired", func(f *fake) { f.device.Lifecycle = fleet.Retired }, "device_not_active"},
		{"noncompliant", func(f *fake) { f.device.Verdict = fleet.Noncompliant }, "device_noncompliant"},
		{"undecided", func(f *fake) { f.device.Verdict = fleet.Undecided }, "verdict_unknown"},
		{"stale before any sweep", func(f *fake) { f.device.FreshUntil = now.Add(-1) }, "verdict_unknown"},
		{"never checked in", func(f *fake) {
			*f = fake{certificates: f.certificates, device: fleet.Device{Lifecycle: fleet.Active}, postureErr: fleet.ErrNotFound}
		}, "verdict_unknown"},
		{"offline", func(f *fake) {
			f.device.LastSeen, f.device.NextCheckIn = now.Add(-12*time.Minute), now.Add(-7*time.Minute)
		}, "device_offline"},
	}
	for _, tt := range tests {
		f := good()
		tt.change(&f)
		s := &access.Service{Store: f, Policy: engine, Log: new(trail), Now: func() time.Time { return now }}
		a, err := s.Decide(t.Context(), "aa", "read", "/x")
		if err != nil || a.Allow != (tt.code == "") || a.Code != tt.code || a.Reason == "" {
			t.Errorf("%s: %+v, %v; want %q", tt.name, a.AccessDecision, err, tt.code)
		}
		if a.Policy == "" || a.Input == "" || a.Evidence != f.posture.Evidence {
			t.Errorf("%s: the answer does not say what it rests on: %+v", tt.name, a)
		}
	}
}

type broken struct{}

func (broken) Access(context.Context, policy.AccessInput) (policy.AccessDecision, error) {
	return policy.AccessDecision{Allow: true}, errors.New("deadline")
}

func TestAttack_P1_AccessFailsClosed(t *testing.T) {
	away := errors.New("away")
	for name, tt := range map[string]struct {
		store fake
		code  string
	}{
		"a policy that says yes and fails": {good(), "policy_error"},
		"an unknown device":                {fake{deviceErr: fleet.ErrNotFound}, "not_found"},
		"a store that is away":             {fake{deviceErr: away}, "internal"},
		"a posture that cannot be read":    {fake{device: good().device, postureErr: away}, "internal"},
	} {
		s := &access.Service{Store: tt.store, Policy: broken{}, Log: new(trail), Now: func() time.Time { return now }}
		if a, err := s.Decide(t.Context(), "aa", "read", "/x"); fleet.CodeOf(err) != tt.code || err == nil || a.Allow {
			t.Errorf("%s: %+v, %v", name, a.AccessDecision, err)
		}
	}
}

// TestRecorded: every answer is recorded before it is given, and one that cannot
// be recorded is no.
func TestRecorded(t *testing.T) {
	engine, err := policy.New(t.Context(), policies.FS, policy.Options{Deadline: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	noncompliant := good()
	noncompliant.device.Verdict = fleet.Noncompliant
	away := fleet.Errorf(fleet.Unavailable, "store_unavailable", "away")
	full := fleet.Errorf(fleet.Refused, "decision_unrecorded", "full")
	for _, tt := range []struct {
		name   string
		store  fake
		policy access.Policy
		full   error
		allow  bool
		code   string // recorded
		fails  string // code of the error
		asked  bool   // policy was
	}{
		{name: "allowed", store: good(), policy: engine, allow: true, asked: true},
		{name: "denied", store: noncompliant, policy: engine, code: "device_noncompliant", asked: true},
		{name: "unknown", store: fake{deviceErr: fleet.ErrNotFound}, policy: engine, code: "device_unknown", fails: "not_found"},
		{name: "undecided", store: good(), policy: broken{}, code: "policy_error", fails: "policy_error"},
		{name: "unrecorded", store: good(), policy: engine, full: full, allow: true, fails: "decision_unrecorded", asked: true},
	} {
		log := &trail{err: tt.full}
		s := &access.Service{Store: tt.store, Policy: tt.policy, Log: log, Now: func() time.Time { return now }}
		a, err := s.Decide(t.Context(), "aa", "get", "/x")
		if (tt.fails != "") != (err != nil) || err != nil && (fleet.CodeOf(err) != tt.fails || a.Allow) {
			t.Errorf("%s: %+v, %v", tt.name, a, err)
		}
		if len(log.kept) != 1 {
			t.Errorf("%s: recorded %+v", tt.name, log.kept)
			continue
		}
		got := log.kept[0]
		if got.Kind != "access" || got.Device != "aa" || got.Action != "get" || got.Resource != "/x" || !got.At.Equal(now) ||
			got.Allow != tt.allow || got.Code != tt.code || (got.Policy != "" && got.Input != "" && got.Evidence != "") != tt.asked {
			t.Errorf("%s: recorded %+v", tt.name, got)
		}
	}

	log := &trail{}
	s := &access.Service{Store: fake{deviceErr: away}, Policy: engine, Log: log, Now: func() time.Time { return now }}
	if _, err := s.Decide(t.Context(), "aa", "get", "/x"); fleet.CodeOf(err) != "store_unavailable" || len(log.kept) != 0 {
		t.Errorf("a failure: %v, recorded %+v", err, log.kept)
	}
	if _, _, err := s.DecideShown(t.Context(), []byte("none"), "get", "/x"); fleet.CodeOf(err) != "certificate_malformed" || len(log.kept) != 0 {
		t.Errorf("a malformed request: %v, recorded %+v", err, log.kept)
	}
}
