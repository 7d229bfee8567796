package posture_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"troth/attest/attesttest"
	"troth/internal/fleet"
	"troth/internal/posture"
	"troth/policy"
)

func good() attesttest.Image { return attesttest.NewImage(model, "1.0.0") }

func TestUnchangedPostureCostsNoDecision(t *testing.T) {
	r := newRig(t, good())
	a := r.must(fleet.Compliant)
	first := r.stored()
	if first.decisions != 1 || len(first.open) != 0 || !slices.Equal(first.events, []string{"posture.change"}) {
		t.Fatalf("after the first check-in: %+v", first)
	}
	d := first.device
	if d.FirmwareVersion != "1.0.0" || d.FirmwareCounter != 1 || !d.FreshUntil.Equal(start.Add(12*time.Minute)) ||
		!d.NextCheckIn.Equal(start.Add(5*time.Minute)) || d.Clock.ResetCount == 0 || a.Next != 5*time.Minute || a.Install != nil {
		t.Errorf("device %+v, answer %+v", d, a)
	}
	r.clock = start.Add(5 * time.Minute)
	r.must(fleet.Compliant)
	second := r.stored()
	if second.decisions != 1 || len(second.events) != 1 {
		t.Errorf("an unchanged posture wrote %d decisions, events %v", second.decisions-1, second.events)
	}
	if !second.device.VerdictSince.Equal(start) || !second.device.VerdictAt.Equal(r.clock) || !second.device.LastSeen.Equal(r.clock) {
		t.Errorf("since %s, reached %s, seen %s", second.device.VerdictSince, second.device.VerdictAt, second.device.LastSeen)
	}
	// The nonce of the answer opens the next check-in.
	if _, err := r.nonces.Check(a.Nonce, first.device, r.clock); err != nil {
		t.Errorf("the nonce of the answer: %v", err)
	}
	// What decided can be read again, by the digests that the decision names.
	decisions, err := r.store.Decisions(t.Context(), r.device, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, digest := range []string{decisions[0].Input, decisions[0].Evidence} {
		if _, err := r.store.Blob(t.Context(), digest); err != nil {
			t.Errorf("blob %s of the decision: %v", digest, err)
		}
	}
}

// What a posture names as its grounds is always there to be read, without every
// check-in being kept for ever: they stay while nothing changes, for a day.
func TestGroundsAreKept(t *testing.T) {
	r := newRig(t, good())
	grounds := func(after time.Duration) (decision, evidence string) {
		t.Helper()
		r.clock = start.Add(after)
		r.must(fleet.Compliant)
		p, err := r.store.Posture(t.Context(), r.device)
		if err != nil {
			t.Fatal(err)
		}
		d, err := r.store.Decision(t.Context(), p.Decision)
		if err != nil || d.Evidence != p.Evidence || !p.At.Equal(r.clock) {
			t.Fatalf("posture of %s names decision %s of evidence %s, %v", p.At, p.Decision, d.Evidence, err)
		}
		if _, err := r.store.Blob(t.Context(), p.Evidence); err != nil {
			t.Fatalf("evidence %s: %v", p.Evidence, err)
		}
		return p.Decision, p.Evidence
	}
	firstDecision, firstEvidence := grounds(0)
	if d, e := grounds(23 * time.Hour); d != firstDecision || e != firstEvidence {
		t.Error("an unchanged posture was kept again within the day")
	}
	if d, e := grounds(25 * time.Hour); d == firstDecision || e == firstEvidence {
		t.Error("after a day the grounds were not kept anew")
	}
}

// An altered boot loader is caught, told once, and locked out; mended, the alert
// ends and a person decides the rest.
func TestAlteredBootLoader(t *testing.T) {
	image := good()
	image.BootLoader = append([]byte("bootkit"), image.BootLoader...)
	r := newRig(t, image)
	r.must(fleet.Noncompliant)
	s := r.stored()
	if s.device.Lifecycle != fleet.Quarantined || s.device.FirmwareVersion != "" || s.decisions != 2 {
		t.Fatalf("caught: %+v", s)
	}
	if !slices.Equal(s.open, []string{"control:firmware-known"}) {
		t.Fatalf("alerts %v, want one", s.open)
	}
	r.clock = r.clock.Add(5 * time.Minute)
	r.must(fleet.Noncompliant)
	if again := r.stored(); again.decisions != 2 || !slices.Equal(again.open, s.open) || !again.device.LifecycleAt.Equal(start) {
		t.Errorf("it stays as it is, and that costs: %+v", again)
	}
	alerts, err := r.store.Alerts(t.Context(), fleet.AlertFilter{Open: true})
	if err != nil || alerts[0].Count != 1 || alerts[0].Device != r.device {
		t.Errorf("alert %+v, %v", alerts, err)
	}
	r.logs = boot(t, good())
	r.clock = r.clock.Add(5 * time.Minute)
	r.must(fleet.Compliant)
	if s := r.stored(); len(s.open) != 0 || s.device.Lifecycle != fleet.Quarantined {
		t.Errorf("mended: %+v", s)
	}
}

// A service that cannot read what was published blames nobody for it.
func TestAttack_S9_FirmwareUnavailable(t *testing.T) {
	loaded := true
	r := newRig(t, good(), func(c *posture.Config) { c.Loaded = func() bool { return loaded } })
	r.must(fleet.Compliant)
	before := r.stored()
	list := r.catalog.list
	r.catalog.list, loaded = nil, false
	if _, err := r.checkIn(); fleet.CodeOf(err) != "firmware_unavailable" {
		t.Errorf("got %v", err)
	}
	if s := r.stored(); s.device.Revision != before.device.Revision || len(s.open) != 0 {
		t.Errorf("%+v", s)
	}
	r.catalog.list, loaded = list, true
	r.must(fleet.Compliant)
}

func TestProposal(t *testing.T) {
	r := newRig(t, good())
	r.publish("2.0.0", 2, true)
	install := &fleet.Rollout{ID: "r"}
	r.rollouts.install = install
	r.report = `{"firmware":{"version":"1.0.0"},"update":{"state":"installing","version":"2.0.0"}}`
	a := r.must(fleet.Compliant) // in grace
	if len(r.rollouts.proposed) != 1 || r.rollouts.proposed[0] != model+" 2.0.0 false" {
		t.Errorf("proposed %v", r.rollouts.proposed)
	}
	if a.Install != install || len(r.rollouts.seen) != 1 || r.rollouts.seen[0].State != fleet.MemberInstalling {
		t.Errorf("installs %v after %v", a.Install, r.rollouts.seen)
	}
	r.clock = start.Add(15 * 24 * time.Hour)
	r.must(fleet.Noncompliant)
	if s := r.stored(); s.device.Lifecycle != fleet.Active || !slices.Equal(s.open, []string{"control:firmware-current"}) {
		t.Errorf("the grace is over: %+v", s)
	}
}

func TestAttack_Q4_SilenceIsUnknown(t *testing.T) {
	r := newRig(t, good())
	r.must(fleet.Compliant)
	sweep := func(want int) stored {
		t.Helper()
		if n, err := r.service.Sweep(t.Context()); err != nil || n != want {
			t.Fatalf("swept %d, %v; want %d", n, err, want)
		}
		return r.stored()
	}
	r.clock = start.Add(12 * time.Minute)
	if s := sweep(0); s.device.Verdict != fleet.Compliant {
		t.Fatalf("at its last instant: %s", s.device.Verdict)
	}
	r.clock = r.clock.Add(time.Second)
	s := sweep(1)
	if s.device.Verdict != fleet.Unknown || !s.device.VerdictSince.Equal(r.clock) || !slices.Equal(s.open, []string{fleet.KeySilent}) {
		t.Fatalf("silent: %+v", s)
	}
	sweep(0)
	r.must(fleet.Compliant)
	if s := r.stored(); len(s.open) != 0 || s.device.Verdict != fleet.Compliant {
		t.Errorf("heard again: %+v", s)
	}
}

// racing lets somebody else change the device just before the service writes.
type racing struct {
	posture.Store
	r     *rig
	times int
}

func (s *racing) Apply(ctx context.Context, c fleet.Change) error {
	if s.times > 0 && len(c.Devices) > 0 {
		s.times--
		d, err := s.Store.Device(ctx, s.r.device)
		if err != nil {
			return err
		}
		d.Labels = map[string]string{"changed": "meanwhile"}
		if err := s.Store.Apply(ctx, fleet.Change{Devices: []fleet.Device{d}}); err != nil {
			return err
		}
	}
	return s.Store.Apply(ctx, c)
}

func TestConflictIsRetried(t *testing.T) {
	race := &racing{}
	r := newRig(t, good(), func(c *posture.Config) { race.Store = c.Store; c.Store = race })
	race.r, race.times = r, 2
	r.must(fleet.Compliant)
	if s := r.stored(); s.device.Labels["changed"] != "meanwhile" || s.decisions != 1 {
		t.Errorf("the other writer's change is lost, or ours is kept twice: %+v", s)
	}
	race.times = 3
	if _, err := r.checkIn(); !fleet.IsKind(err, fleet.Conflict) {
		t.Errorf("changed at every attempt: %v", err)
	}
	race.times = 1
	r.clock = r.clock.Add(time.Hour)
	if n, err := r.service.Sweep(t.Context()); err != nil || n != 0 {
		t.Errorf("a device that moved during the sweep: swept %d, %v", n, err)
	}
}

// A rollout that others are moving takes nothing from a check-in that is written.
func TestRolloutConflictIsNoFailure(t *testing.T) {
	r := newRig(t, good())
	r.rollouts.err = fleet.ErrConflict
	a, err := r.checkIn()
	if err != nil || a.Install != nil || a.Posture.Verdict != fleet.Compliant {
		t.Errorf("%+v, %v", a.Install, err)
	}
}

// brokenPolicy answers what it is told to.
type brokenPolicy struct {
	posture.Policy
	verdict      string
	err          error
	remediateErr error
}

func (p brokenPolicy) Posture(ctx context.Context, in policy.PostureInput) (policy.PostureDecision, error) {
	d, err := p.Policy.Posture(ctx, in)
	if err != nil {
		return d, err
	}
	if p.verdict != "" {
		d.Verdict = p.verdict
	}
	return d, p.err
}

func (p brokenPolicy) Remediate(ctx context.Context, in policy.RemediateInput) (policy.RemediateDecision, error) {
	if p.remediateErr != nil {
		return policy.RemediateDecision{}, p.remediateErr
	}
	return p.Policy.Remediate(ctx, in)
}

func TestAttack_P1_PolicyThatCannotDecide(t *testing.T) {
	tests := []struct {
		name   string
		policy brokenPolicy
		want   fleet.Verdict
		event  bool
	}{
		{"an error beside a pass", brokenPolicy{verdict: "compliant", err: errors.New("deadline")}, fleet.Undecided, true},
		{"a verdict nobody knows", brokenPolicy{verdict: "splendid"}, fleet.Undecided, false},
		{"unknown is not for policies", brokenPolicy{verdict: "unknown"}, fleet.Undecided, false},
		{"remediation cannot decide", brokenPolicy{remediateErr: errors.New("deadline")}, fleet.Compliant, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, good(), func(c *posture.Config) { tt.policy.Policy = c.Policy; c.Policy = tt.policy })
			r.must(tt.want)
			if s := r.stored(); slices.Contains(s.events, "policy.error") != tt.event || s.device.Verdict != tt.want {
				t.Errorf("%+v", s)
			}
		})
	}
}
