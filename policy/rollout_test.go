package policy_test

import (
	"errors"
	"testing"
	"time"

	"troth/policies"
	"troth/policy"
)

func wave() policy.RolloutInput {
	return policy.RolloutInput{
		Now: now, Step: policy.RolloutStart, By: "ada",
		Rollout: policy.RolloutFacts{ID: "r", Model: "gw-100", Version: "1.3.0", Counter: 4, Percent: []int{10, 100}},
		Devices: policy.RolloutCount{Total: 40},
	}
}

func TestRollout(t *testing.T) {
	e := engine(t, policies.FS)
	d, err := e.Rollout(t.Context(), wave())
	if err != nil || !d.Allow || d.Answer() != "allow" || d.Policy != e.Digest() {
		t.Errorf("%+v, %v", d, err)
	}
	held := engine(t, library(t, map[string]string{"config/rollout/data.json": `{"hold": true}`}))
	if d, err := held.Rollout(t.Context(), wave()); err != nil || d.Allow || d.Code != "rollouts_on_hold" {
		t.Errorf("%+v, %v", d, err)
	}
	elsewhere := wave()
	elsewhere.Now = now.In(time.FixedZone("east", 3600))
	a, _ := policy.Document(wave())
	b, _ := policy.Document(elsewhere)
	if string(a) != string(b) {
		t.Errorf("the same instant is another document:\n%s\n%s", a, b)
	}
}

// A gate that cannot be decided is closed.
func TestAttack_P1_RolloutFailsClosed(t *testing.T) {
	const head = "package troth.rollout\ndecision := "
	for name, module := range map[string]string{
		"undefined":     head + `{"allow": true, "code": "", "reason": "Yes."} if input.step == "never"`,
		"boolean":       head + `true`,
		"contradiction": head + `{"allow": true, "code": "x", "reason": "Yes."}`,
		"unknown key":   head + `{"allow": true, "code": "", "reason": "Yes.", "for_ever": true}`,
		"error":         head + `{"allow": true, "code": "", "reason": "Yes."} if not to_number(input.by)`,
	} {
		d, err := engine(t, tiny(map[string]string{"rollout": module})).Rollout(t.Context(), wave())
		if err == nil || d.Allow || d.Code != policy.CodePolicy {
			t.Errorf("%s: %+v, %v", name, d, err)
		}
	}
	if d, err := engine(t, tiny(nil)).Rollout(t.Context(), policy.RolloutInput{}); !errors.Is(err, policy.ErrInput) || d.Allow {
		t.Errorf("without a time: %+v, %v", d, err)
	}
	if d, err := new(policy.Current).Rollout(t.Context(), wave()); !errors.Is(err, policy.ErrNoBundle) || d.Allow {
		t.Errorf("without a bundle: %+v, %v", d, err)
	}
}
