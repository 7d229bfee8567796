package policy_test

import (
	"errors"
	"sync"
	"testing"

	"troth/policies"
	"troth/policy"
)

// Without a bundle nothing is decided, and nothing is granted.
func TestAttack_P4_NoBundleDecidesNothing(t *testing.T) {
	for name, c := range map[string]*policy.Current{"zero": {}, "nil": policy.NewCurrent(nil)} {
		if d, err := c.Posture(t.Context(), healthy()); !errors.Is(err, policy.ErrNoBundle) || d.Verdict != policy.Undecided {
			t.Errorf("%s: posture: %+v, %v", name, d, err)
		}
		if d, err := c.Enroll(t.Context(), newcomer()); !errors.Is(err, policy.ErrNoBundle) || d.Allow {
			t.Errorf("%s: enroll: %+v, %v", name, d, err)
		}
		if d, err := c.Renew(t.Context(), renewer()); !errors.Is(err, policy.ErrNoBundle) || d.Allow {
			t.Errorf("%s: renew: %+v, %v", name, d, err)
		}
		if d, err := c.Access(t.Context(), visitor()); !errors.Is(err, policy.ErrNoBundle) || d.Allow {
			t.Errorf("%s: access: %+v, %v", name, d, err)
		}
		if d, err := c.Operator(t.Context(), policy.OperatorInput{Operator: "ada", Role: "admin", Action: "device.list"}); !errors.Is(err, policy.ErrNoBundle) || d.Allow {
			t.Errorf("%s: operator: %+v, %v", name, d, err)
		}
		if d, err := c.Remediate(t.Context(), policy.RemediateInput{Now: now}); !errors.Is(err, policy.ErrNoBundle) || len(d.Actions) != 0 {
			t.Errorf("%s: remediate: %+v, %v", name, d, err)
		}
		if c.Digest() != "" {
			t.Errorf("%s: digest %q", name, c.Digest())
		}
		for _, kind := range policy.Kinds() {
			if d, err := c.Load().Replay(t.Context(), kind, []byte(`{"now": "2026-03-01T12:00:00Z"}`)); !errors.Is(err, policy.ErrNoBundle) || d.Answer() == "allow" {
				t.Errorf("%s: replay %s: %+v, %v", name, kind, d, err)
			}
		}
	}
}

// A swap is whole: each decision is one bundle's, and names it.
func TestCurrentSwapsAtOnce(t *testing.T) {
	yes := engine(t, policies.FS)
	no := engine(t, tiny(map[string]string{"access": "package troth.access\ndecision := {\"allow\": false, \"code\": \"closed\", \"reason\": \"No.\"}\n"}))
	c := policy.NewCurrent(yes)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 50 {
				d, err := c.Access(t.Context(), visitor())
				if err != nil || d.Allow != (d.Policy == yes.Digest()) || !d.Allow && (d.Code != "closed" || d.Policy != no.Digest()) {
					t.Errorf("%+v, %v", d, err)
				}
			}
		})
	}
	for range 20 {
		if c.Swap(no) != yes || c.Swap(yes) != no {
			t.Error("another engine was there")
		}
	}
	wg.Wait()
	if c.Load() != yes || c.Digest() != yes.Digest() {
		t.Error("the last one set is not the current one")
	}
}
