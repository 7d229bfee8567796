package rollout

import (
	"context"

	"troth/internal/fleet"
	"troth/policy"
)

// Policy decides whether a wave may begin.
type Policy interface {
	Rollout(ctx context.Context, in policy.RolloutInput) (policy.RolloutDecision, error)
}

// gate asks policy whether the rollout's first wave may begin for so many devices.
// A policy that cannot decide keeps it closed.
func (s *Service) gate(ctx context.Context, r fleet.Rollout, by string, devices int) error {
	if s.Policy == nil {
		return nil
	}
	percent := make([]int, len(r.Plan.Waves))
	for i, w := range r.Plan.Waves {
		percent[i] = w.Percent
	}
	d, err := s.Policy.Rollout(ctx, policy.RolloutInput{
		Now: s.Now(), Step: policy.RolloutStart, By: by,
		Rollout: policy.RolloutFacts{
			ID: r.ID, Model: r.Model, Version: r.Version, Counter: r.Counter, Reason: r.Reason, CreatedBy: r.CreatedBy,
			Percent: percent, MaxFailurePercent: r.Plan.MaxFailurePercent,
			Soak: r.Plan.Soak.Seconds(), DeviceTimeout: r.Plan.DeviceTimeout.Seconds(),
		},
		Devices: policy.RolloutCount{Total: devices},
	})
	switch {
	case err != nil:
		return fleet.Because(err, fleet.Conflict, "rollout_undecided", "the rollout policy could not decide, so nothing begins")
	case !d.Allow:
		return fleet.Errorf(fleet.Conflict, "rollout_gated", "policy holds the rollout back (%s): %s", d.Code, d.Reason)
	}
	return nil
}
