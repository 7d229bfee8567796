package rollout

import (
	"context"
	"fmt"

	"troth/internal/fleet"
)

// attempts against concurrent check-ins of other members.
const attempts = 5

// Observe takes what a check-in showed of a device and answers with the rollout
// whose release it is to install, nil for none. Only an active device is told
// to install anything.
func (s *Service) Observe(ctx context.Context, d fleet.Device, report fleet.UpdateReport) (*fleet.Rollout, error) {
	var err error
	for range attempts {
		var r *fleet.Rollout
		if r, err = s.observe(ctx, d, report); !fleet.IsKind(err, fleet.Conflict) {
			return r, err
		}
	}
	return nil, err
}

func (s *Service) observe(ctx context.Context, d fleet.Device, report fleet.UpdateReport) (*fleet.Rollout, error) {
	r, m, err := s.Store.Membership(ctx, d.ID)
	if fleet.IsKind(err, fleet.NotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	release, published := s.Releases.Catalog().Find(r.Model, r.Version)
	published = published && release.Target == r.Target
	m, changed := s.member(r, release, m, d, report)
	if changed {
		if r, err = s.step(ctx, r, &m); err != nil {
			return nil, err
		}
	}
	// What was withdrawn, or is refused, is offered to nobody.
	if !r.Offers(m) || d.Lifecycle != fleet.Active || !published {
		return nil, nil
	}
	return &r, nil
}

// member moves a member on. A device that may no longer be touched, or is past
// the release already, or below what it can be installed over, leaves the rollout
// without counting against it.
func (s *Service) member(r fleet.Rollout, release fleet.Release, m fleet.Member, d fleet.Device, report fleet.UpdateReport) (fleet.Member, bool) {
	why := ""
	switch {
	case d.Lifecycle != fleet.Active:
		why = "the device is " + string(d.Lifecycle)
	case d.FirmwareCounter > r.Counter && !release.Replaces(d.FirmwareCounter):
		why = "the device proved a later release, " + d.FirmwareVersion
	case m.State == fleet.MemberPending && d.FirmwareCounter < release.Minimum:
		why = fmt.Sprintf("release_minimum: the release is for devices that run counter %d or later, and this one proved %d", release.Minimum, d.FirmwareCounter)
	}
	if why != "" && !m.State.Ended() {
		m.State, m.Reason, m.ChangedAt = fleet.MemberSkipped, why, s.Now()
		return m, true
	}
	return r.Observe(m, report, d.FirmwareVersion, s.Now())
}

// Tick steps every running rollout: silence and time-outs count, and a wave
// that has soaked makes way for the next. It may run in several replicas.
func (s *Service) Tick(ctx context.Context) error {
	running, err := s.Store.Rollouts(ctx, fleet.RolloutFilter{States: []fleet.RolloutState{fleet.RolloutRunning}})
	if err != nil {
		return err
	}
	for _, r := range running {
		if _, err := s.step(ctx, r, nil); err != nil && !fleet.IsKind(err, fleet.Conflict) {
			return err
		}
	}
	return nil
}

// step lets the planner move the rollout, with one member as just observed (and
// then as the planner left it), and writes what came of it. A rollout that did not move is not written.
func (s *Service) step(ctx context.Context, r fleet.Rollout, observed *fleet.Member) (fleet.Rollout, error) {
	members, err := s.Store.Members(ctx, r.ID)
	if err != nil {
		return r, err
	}
	now := s.Now()
	change := fleet.Change{}
	if observed != nil {
		for i := range members {
			if members[i].Device == observed.Device {
				members[i] = *observed
			}
		}
		change.Members = append(change.Members, *observed)
	}
	next, changed := r.Step(members, now)
	change.Members = append(change.Members, changed...)
	for _, m := range changed {
		if observed != nil && m.Device == observed.Device {
			*observed = m // its time was over
		}
	}
	if len(change.Members) == 0 && next.State == r.State && next.Wave == r.Wave && next.WaveDone.Equal(r.WaveDone) {
		return r, nil
	}
	change.Rollout = &next
	if next.State != r.State {
		change.Events = append(change.Events, fleet.NewEvent(now, "system", "rollout."+string(next.State), next.Subject(), next.Reason))
	}
	if next.State == fleet.RolloutHalted {
		open, err := s.Store.Alerts(ctx, fleet.AlertFilter{Subject: r.Subject(), Open: true})
		if err != nil {
			return r, err
		}
		change.Alerts = append(change.Alerts, fleet.Raise(open, fleet.Alert{
			Subject: r.Subject(), Key: fleet.KeyRolloutHalted, Severity: fleet.High,
			Title: "Rollout of " + r.Model + " to " + r.Version + " stopped", Reason: next.Reason,
		}, now))
	}
	if err := s.Store.Apply(ctx, change); err != nil {
		return r, err
	}
	next.Revision++
	return next, nil
}

// Get is a rollout with its members.
func (s *Service) Get(ctx context.Context, id string) (fleet.Rollout, []fleet.Member, error) {
	r, err := s.Store.Rollout(ctx, id)
	if err != nil {
		return r, nil, err
	}
	members, err := s.Store.Members(ctx, id)
	return r, members, err
}

// List is every rollout, newest first.
func (s *Service) List(ctx context.Context) ([]fleet.Rollout, error) {
	return s.Store.Rollouts(ctx, fleet.RolloutFilter{})
}
