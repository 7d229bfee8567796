// Package rollout moves firmware through a fleet: it keeps the state of
// rollouts, feeds the planner of package fleet with what check-ins show, and
// tells each device what to install.
package rollout

import (
	"context"
	"time"

	"troth/internal/fleet"
)

// Store is what rollouts need to remember.
type Store interface {
	Devices(ctx context.Context, f fleet.DeviceFilter) ([]fleet.Device, error)
	Rollout(ctx context.Context, id string) (fleet.Rollout, error)
	Rollouts(ctx context.Context, f fleet.RolloutFilter) ([]fleet.Rollout, error)
	Members(ctx context.Context, rollout string) ([]fleet.Member, error)
	// Membership is the device's place in a rollout that still holds its model,
	// or fleet.ErrNotFound.
	Membership(ctx context.Context, id fleet.DeviceID) (fleet.Rollout, fleet.Member, error)
	Alerts(ctx context.Context, f fleet.AlertFilter) ([]fleet.Alert, error)
	Apply(ctx context.Context, c fleet.Change) error
}

// Releases is the catalogue of published firmware.
type Releases interface {
	Catalog() fleet.Catalog
}

// Config is what the service is made of.
type Config struct {
	Store    Store
	Releases Releases
	Policy   Policy     // nil: every wave may begin
	Plan     fleet.Plan // for rollouts that are proposed without one
	Now      func() time.Time
}

// Service is the use case.
type Service struct{ Config }

// New returns the service.
func New(c Config) *Service { return &Service{c} }

// Create makes a rollout to a published release, for a person to start.
func (s *Service) Create(ctx context.Context, model, version, reason, by string, plan fleet.Plan) (fleet.Rollout, error) {
	if err := plan.Validate(); err != nil {
		return fleet.Rollout{}, err
	}
	release, ok := s.Releases.Catalog().Find(model, version)
	if !ok {
		return fleet.Rollout{}, fleet.Errorf(fleet.NotFound, "release_not_found", "no release %s is published for model %s", version, model)
	}
	now := s.Now()
	r := fleet.Rollout{
		ID: fleet.NewID(), Model: model, Version: version, Counter: release.Counter, Target: release.Target,
		State: fleet.RolloutProposed, Reason: reason, Plan: plan, CreatedBy: by, CreatedAt: now,
	}
	err := s.Store.Apply(ctx, fleet.Change{Rollout: &r, Events: []fleet.Event{fleet.NewEvent(now, by, "rollout.create", r.Subject(), reason)}})
	if fleet.IsKind(err, fleet.Conflict) {
		return fleet.Rollout{}, fleet.Errorf(fleet.Conflict, "rollout_exists", "a rollout of model %s to release %s is open already", model, version)
	}
	r.Revision++
	return r, err
}

// Propose makes a rollout known, once for each release: what became of an
// earlier one was decided by people, and is not asked again.
func (s *Service) Propose(ctx context.Context, model, version, reason string, start bool) error {
	known, err := s.Store.Rollouts(ctx, fleet.RolloutFilter{Model: model, Version: version})
	if err != nil || len(known) > 0 {
		return err
	}
	r, err := s.Create(ctx, model, version, reason, "policy", s.Plan)
	if fleet.IsKind(err, fleet.Conflict) {
		return nil // another check-in was faster
	}
	if err != nil || !start {
		return err
	}
	_, err = s.Start(ctx, r.ID, "policy", r.Plan)
	if fleet.IsKind(err, fleet.Conflict) {
		return nil // it stays proposed, for a person
	}
	return err
}

// Start begins a proposed rollout with the plan. Members are the active devices
// of the model that have not proven this release or a later one.
func (s *Service) Start(ctx context.Context, id, by string, plan fleet.Plan) (fleet.Rollout, error) {
	r, err := s.Store.Rollout(ctx, id)
	if err != nil {
		return r, err
	}
	busy, err := s.Store.Rollouts(ctx, fleet.RolloutFilter{
		Model: r.Model, States: []fleet.RolloutState{fleet.RolloutRunning, fleet.RolloutPaused, fleet.RolloutHalted},
	})
	if err != nil {
		return r, err
	}
	if len(busy) > 0 {
		return r, fleet.Errorf(fleet.Conflict, "model_busy", "rollout %s of model %s is %s: let it end or abort it first", busy[0].ID, r.Model, busy[0].State)
	}
	devices, err := s.Store.Devices(ctx, fleet.DeviceFilter{Model: r.Model, Lifecycle: fleet.Active})
	if err != nil {
		return r, err
	}
	candidates, err := s.candidates(r, devices)
	if err != nil {
		return r, err
	}
	r.Plan = plan
	if err := s.gate(ctx, r, by, len(candidates)); err != nil {
		return r, err
	}
	now := s.Now()
	r, members, err := r.Start(candidates, by, now)
	if err != nil {
		return r, err
	}
	return s.save(ctx, r, members, fleet.NewEvent(now, by, "rollout.start", r.Subject(), ""))
}

// candidates are the devices that can install the release: those that have not
// proven it or a later one, where it does not take the place of that one, and are not
// below its minimum.
func (s *Service) candidates(r fleet.Rollout, devices []fleet.Device) ([]fleet.DeviceID, error) {
	release, ok := s.Releases.Catalog().Find(r.Model, r.Version)
	if !ok || release.Target != r.Target {
		return nil, fleet.Errorf(fleet.NotFound, "release_not_found", "no release %s is published for model %s", r.Version, r.Model)
	}
	var candidates []fleet.DeviceID
	below := 0
	for _, d := range devices {
		switch {
		case release.InstallableBy(d.FirmwareCounter):
			candidates = append(candidates, d.ID)
		case release.Replaces(d.FirmwareCounter):
			below++
		}
	}
	if len(candidates) == 0 && below > 0 {
		return nil, fleet.Errorf(fleet.Conflict, "release_minimum",
			"release %s of %s is for devices that run counter %d or later, and none of %d does: roll one out in between first", r.Version, r.Model, release.Minimum, below)
	}
	return candidates, nil
}

// Pause offers the release to nobody new.
func (s *Service) Pause(ctx context.Context, id, by string) (fleet.Rollout, error) {
	return s.act(ctx, id, by, "rollout.pause", func(r fleet.Rollout) (fleet.Rollout, []fleet.Member, error) {
		r, err := r.Pause(by)
		return r, nil, err
	})
}

// Resume continues a paused rollout.
func (s *Service) Resume(ctx context.Context, id, by string) (fleet.Rollout, error) {
	members, err := s.Store.Members(ctx, id)
	if err != nil {
		return fleet.Rollout{}, err
	}
	return s.act(ctx, id, by, "rollout.resume", func(r fleet.Rollout) (fleet.Rollout, []fleet.Member, error) {
		return r.Resume(members, by, s.Now())
	})
}

// Abort ends a rollout for good.
func (s *Service) Abort(ctx context.Context, id, by string) (fleet.Rollout, error) {
	return s.act(ctx, id, by, "rollout.abort", func(r fleet.Rollout) (fleet.Rollout, []fleet.Member, error) {
		r, err := r.Abort(by, s.Now())
		return r, nil, err
	})
}

func (s *Service) act(ctx context.Context, id, by, action string, move func(fleet.Rollout) (fleet.Rollout, []fleet.Member, error)) (fleet.Rollout, error) {
	r, err := s.Store.Rollout(ctx, id)
	if err != nil {
		return r, err
	}
	r, changed, err := move(r)
	if err != nil {
		return r, err
	}
	return s.save(ctx, r, changed, fleet.NewEvent(s.Now(), by, action, r.Subject(), ""))
}

func (s *Service) save(ctx context.Context, r fleet.Rollout, members []fleet.Member, e fleet.Event) (fleet.Rollout, error) {
	err := s.Store.Apply(ctx, fleet.Change{Rollout: &r, Members: members, Events: []fleet.Event{e}})
	r.Revision++
	return r, err
}
