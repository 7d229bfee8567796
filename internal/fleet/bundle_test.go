package fleet_test

import (
	"testing"
	"time"

	"troth/internal/fleet"
)

func bundle(counter uint64, state fleet.BundleState) fleet.Bundle {
	b := fleet.NewBundle(fleet.SignedBundle{Counter: counter, Version: "v", Target: "policies/v", Archive: "aa"}, "ada", t0)
	b.State = state
	return b
}

var t0 = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

// Every state refuses what does not follow it, and changes nothing then.
func TestBundleTransitions(t *testing.T) {
	states := []fleet.BundleState{fleet.BundleCandidate, fleet.BundleRefused, fleet.BundleVerified, fleet.BundleApproved, fleet.BundleActive, fleet.BundleSuperseded}
	active := bundle(1, fleet.BundleActive)
	for _, move := range []struct {
		name string
		from []fleet.BundleState
		to   fleet.BundleState
		do   func(fleet.Bundle) (fleet.Bundle, error)
	}{
		{"verify", states[:1], fleet.BundleVerified, func(b fleet.Bundle) (fleet.Bundle, error) { return b.Verify("d", fleet.BundleChecks{Tests: 1}) }},
		{"refuse", states[:1], fleet.BundleRefused, func(b fleet.Bundle) (fleet.Bundle, error) { return b.Refuse("no") }},
		{"again", states[1:2], fleet.BundleCandidate, func(b fleet.Bundle) (fleet.Bundle, error) { return b.Again("ada", t0) }},
		{"approve", states[2:3], fleet.BundleApproved, func(b fleet.Bundle) (fleet.Bundle, error) { return b.Approve("bob", t0) }},
		{"reject", states[2:4], fleet.BundleRefused, func(b fleet.Bundle) (fleet.Bundle, error) { return b.Reject("bob", "no") }},
		{"propose", states[5:], fleet.BundleVerified, func(b fleet.Bundle) (fleet.Bundle, error) { return b.Propose("ada", "back", t0) }},
		{"activate", states[3:4], fleet.BundleActive, func(b fleet.Bundle) (fleet.Bundle, error) {
			b.ApprovedAt = t0
			next, ended, err := b.Activate(active, "bob", t0.Add(time.Hour))
			if err == nil && (ended.State != fleet.BundleSuperseded || !ended.EndedAt.Equal(t0.Add(time.Hour))) {
				t.Errorf("the active bundle is %s, ended %s", ended.State, ended.EndedAt)
			}
			return next, err
		}},
	} {
		for _, state := range states {
			allowed := false
			for _, from := range move.from {
				allowed = allowed || from == state
			}
			next, err := move.do(bundle(7, state))
			switch {
			case allowed && (err != nil || next.State != move.to):
				t.Errorf("%s from %s: %s, %v", move.name, state, next.State, err)
			case !allowed && (fleet.CodeOf(err) != "policy_state" || next.State != state):
				t.Errorf("%s from %s: %s, %v", move.name, state, next.State, err)
			}
		}
	}
}

func TestBundleNeedsASecondPerson(t *testing.T) {
	b := bundle(7, fleet.BundleVerified)
	for _, by := range []string{"ada", "ADA", "Ada"} {
		if _, err := b.Approve(by, t0); fleet.CodeOf(err) != "second_person_needed" {
			t.Errorf("%s: %v", by, err)
		}
	}
	// Whoever wants a bundle back is the one who may not approve that, and the first
	// approval is void.
	b.State, b.ApprovedBy, b.ApprovedAt, b.EndedAt = fleet.BundleSuperseded, "bob", t0, t0
	b, err := b.Propose("bob", "back", t0)
	if err != nil || b.ApprovedBy != "" || !b.ApprovedAt.IsZero() {
		t.Fatalf("%+v, %v", b, err)
	}
	if _, err := b.Approve("bob", t0); fleet.CodeOf(err) != "second_person_needed" {
		t.Errorf("the proposer approves: %v", err)
	}
	if _, err := b.Approve("ada", t0); err != nil {
		t.Errorf("the first pusher may approve going back: %v", err)
	}
	if b, err = b.Reject("eve", "no"); err != nil || b.State != fleet.BundleSuperseded {
		t.Errorf("a rejected way back is %s, %v", b.State, err)
	}
}

// An approval is of one change: it does not survive another activation.
func TestBundleApprovalIsOfOneChange(t *testing.T) {
	active := bundle(8, fleet.BundleActive)
	active.ActivatedAt = t0.Add(time.Minute)
	b := bundle(7, fleet.BundleApproved)
	b.ApprovedAt = t0
	if _, _, err := b.Activate(active, "bob", t0.Add(time.Hour)); fleet.CodeOf(err) != "approval_stale" {
		t.Error(err)
	}
	b.ApprovedAt = active.ActivatedAt
	if _, _, err := b.Activate(active, "bob", t0.Add(time.Hour)); err != nil {
		t.Error(err)
	}
}

func TestAttack_P3_OlderBundleIsRefused(t *testing.T) {
	all := []fleet.Bundle{{ID: fleet.BaseBundle, State: fleet.BundleActive}, bundle(7, fleet.BundleSuperseded), bundle(9, fleet.BundleRefused)}
	for counter, code := range map[uint64]string{6: "policy_older", 7: "policy_known", 8: "", 9: "", 10: ""} {
		err := fleet.SignedBundle{Counter: counter, Archive: "aa"}.Supersedes(all)
		if code == "" && err != nil || code != "" && fleet.CodeOf(err) != code {
			t.Errorf("%d: %v, want %q", counter, err, code)
		}
	}
	if err := (fleet.SignedBundle{Counter: 9, Archive: "bb"}).Supersedes(all); fleet.CodeOf(err) != "policy_known" {
		t.Errorf("other content under the counter of a refused bundle: %v", err)
	}
}

func TestBundleShadow(t *testing.T) {
	b, err := bundle(7, fleet.BundleVerified).Shadow("ada", t0)
	if err != nil || b.ShadowBy != "ada" {
		t.Fatal(err)
	}
	if b = b.Unshadow(); b.ShadowBy != "" || !b.ShadowAt.IsZero() {
		t.Error("it still decides in the shadow")
	}
	if _, err := bundle(7, fleet.BundleRefused).Shadow("ada", t0); fleet.CodeOf(err) != "policy_state" {
		t.Error(err)
	}
	if _, err := (fleet.Bundle{ID: fleet.BaseBundle, State: fleet.BundleSuperseded}).Shadow("ada", t0); fleet.CodeOf(err) != "policy_base" {
		t.Error(err)
	}
}

func TestCompareControls(t *testing.T) {
	c := func(id string, o fleet.Outcome, reason string) fleet.Control {
		return fleet.Control{ID: id, Outcome: o, Reason: reason}
	}
	before := []fleet.Control{c("a", fleet.Pass, "x"), c("b", fleet.Fail, "x"), c("c", fleet.Pass, "x"), c("gone", fleet.Fail, "x"), c("quiet", fleet.Pass, "x")}
	after := []fleet.Control{c("a", fleet.Pass, "x"), c("b", fleet.Fail, "y"), c("c", fleet.Errored, "x"), c("new", fleet.Fail, "z"), c("silent", fleet.NotApplicable, "")}
	got := fleet.CompareControls(before, after)
	want := []fleet.ControlChange{
		{"b", fleet.Fail, fleet.Fail, "x", "y"}, {"c", fleet.Pass, fleet.Errored, "x", "x"},
		{ID: "gone", Before: fleet.Fail, BeforeReason: "x"}, {ID: "new", After: fleet.Fail, AfterReason: "z"},
	}
	if len(got) != len(want) {
		t.Fatalf("%+v", got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("%+v, want %+v", got[i], want[i])
		}
	}
}
