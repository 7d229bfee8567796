package rollout_test

import (
	"context"
	"errors"
	"testing"

	"troth/internal/fleet"
	"troth/policy"
)

// gatekeeper is a policy that remembers what it was asked.
type gatekeeper struct {
	answer policy.RolloutDecision
	err    error
	asked  []policy.RolloutInput
}

func (g *gatekeeper) Rollout(_ context.Context, in policy.RolloutInput) (policy.RolloutDecision, error) {
	g.asked = append(g.asked, in)
	return g.answer, g.err
}

func TestPolicyHoldsARolloutBack(t *testing.T) {
	for name, c := range map[string]struct {
		gate gatekeeper
		code string
	}{
		"denied":    {gatekeeper{answer: policy.RolloutDecision{Code: "rollouts_on_hold", Reason: "On hold."}}, "rollout_gated"},
		"undecided": {gatekeeper{answer: policy.RolloutDecision{Allow: true}, err: errors.New("broken")}, "rollout_undecided"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, 4)
			r.Policy = &c.gate
			o := r.create()
			if _, err := r.Start(t.Context(), o.ID, "ada", plan); fleet.CodeOf(err) != c.code {
				t.Errorf("%v, want %s", err, c.code)
			}
			if o, states := r.states(o); o.State != fleet.RolloutProposed || len(states) != 0 {
				t.Errorf("%s with %v", o.State, states)
			}
			// What policy itself would start waits for a person.
			if err := r.Propose(t.Context(), "edge", "1.0", "outdated", true); err != nil {
				t.Error(err)
			}
			c.gate.answer, c.gate.err = policy.RolloutDecision{Allow: true}, nil
			if o, err := r.Start(t.Context(), o.ID, "ada", plan); err != nil || o.State != fleet.RolloutRunning {
				t.Errorf("%s, %v", o.State, err)
			}
			in := c.gate.asked[len(c.gate.asked)-1]
			if in.Step != policy.RolloutStart || in.By != "ada" || in.Devices.Total != 4 || in.Rollout.Version != "2.0" ||
				len(in.Rollout.Percent) != 2 || in.Rollout.Percent[0] != 50 || in.Rollout.Soak != 600 || !in.Now.Equal(r.clock) {
				t.Errorf("asked with %+v", in)
			}
		})
	}
}
