package bundle

import (
	"context"
	"errors"
	"fmt"
	"time"

	"troth/internal/fleet"
)

// SyncEvery is how often a replica looks which bundle is active.
const SyncEvery = 2 * time.Second

const (
	sayEvery  = 10 * time.Second // how often a replica says what it decides by
	settled   = 15 * time.Second // how long replicas may differ after an activation
	listening = 25 * time.Second // a replica that said nothing for so long has gone
)

// Start has this replica decide by the active bundle. It fails where that cannot be
// loaded: a service that starts with another policy than the one in force would be
// worse than one that does not start.
func (s *Service) Start(ctx context.Context) error {
	if err := s.Sync(ctx); err != nil {
		return fmt.Errorf("load the active policy bundle: %w", err)
	}
	return nil
}

// Sync has this replica decide by what is active now. Where that cannot be loaded
// it goes on with what it has, says so to people, and returns the error.
func (s *Service) Sync(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	active, err := s.Store.ActiveBundle(ctx)
	if err != nil {
		return err
	}
	loadErr := s.load(ctx, active)
	shadowErr := s.follow(ctx)
	sayErr := s.say(ctx, active, loadErr)
	return errors.Join(loadErr, shadowErr, sayErr)
}

func (s *Service) load(ctx context.Context, active fleet.Bundle) error {
	if active.ID == s.loaded.ID && active.Archive == s.loaded.Archive {
		return nil
	}
	engine, err := s.Engine(ctx, active)
	if err != nil {
		return err
	}
	s.Current.Swap(engine)
	s.loaded = active
	return nil
}

// say writes what this replica decides by, when that changed or it has said nothing
// for a while, and compares it with what others say.
func (s *Service) say(ctx context.Context, active fleet.Bundle, problem error) error {
	now := s.Now()
	r := fleet.Replica{ID: s.replica, Bundle: s.loaded.ID, Policy: s.Current.Digest(), At: now}
	if problem != nil {
		r.Problem = problem.Error()
	}
	same := r.Bundle == s.said.Bundle && r.Policy == s.said.Policy && r.Problem == s.said.Problem
	if same && now.Sub(s.said.At) < sayEvery {
		return nil
	}
	if err := s.Store.Apply(ctx, fleet.Change{Replica: &r}); err != nil {
		return err
	}
	s.said = r
	return s.compare(ctx, active, now)
}

// differs is the subject of the alert about replicas.
const differs = "policy"

// compare raises an alert where replicas decide by different policies although they
// had the time to change over, and ends it when they agree.
func (s *Service) compare(ctx context.Context, active fleet.Bundle, now time.Time) error {
	replicas, err := s.Store.Replicas(ctx, now.Add(-listening))
	if err != nil {
		return err
	}
	open, err := s.Store.Alerts(ctx, fleet.AlertFilter{Subject: differs, Key: fleet.KeyPolicyDiffers, Open: true})
	if err != nil {
		return err
	}
	reason := disagreement(replicas, active, now)
	change := fleet.Change{}
	switch {
	case reason != "" && len(open) == 0:
		alert := fleet.Raise(nil, fleet.Alert{
			Subject: differs, Key: fleet.KeyPolicyDiffers, Severity: fleet.High, Title: "Replicas decide by different policies", Reason: reason,
		}, now)
		change.Alerts = []fleet.Alert{alert}
		change.Events = []fleet.Event{fleet.NewEvent(now, "system", "policy.differ", differs, reason)}
	case reason == "" && len(open) > 0 && now.Sub(open[0].OpenedAt) >= listening:
		change.Alerts = []fleet.Alert{open[0].Resolve(now)}
		change.Events = []fleet.Event{fleet.NewEvent(now, "system", "policy.agree", differs, "all replicas decide by the same policy again")}
	default:
		return nil
	}
	if err := s.Store.Apply(ctx, change); err != nil && !fleet.IsKind(err, fleet.Conflict) { // conflict: another replica said it
		return err
	}
	return nil
}

// disagreement says how replicas differ; empty: they do not, or had no time yet to
// agree.
func disagreement(replicas []fleet.Replica, active fleet.Bundle, now time.Time) string {
	for _, r := range replicas {
		if r.Problem != "" {
			return fmt.Sprintf("replica %s decides by bundle %s: %s", short(r.ID), r.Bundle, r.Problem)
		}
	}
	if now.Sub(active.ActivatedAt) < settled {
		return ""
	}
	for _, r := range replicas {
		if r.At.Sub(active.ActivatedAt) < settled {
			continue
		}
		if first := replicas[0]; r.Policy != first.Policy && first.At.Sub(active.ActivatedAt) >= settled {
			return fmt.Sprintf("replica %s decides by bundle %s (policy %s), replica %s by bundle %s (policy %s)",
				short(first.ID), first.Bundle, short(first.Policy), short(r.ID), r.Bundle, short(r.Policy))
		}
	}
	return ""
}

func short(id string) string { return id[:min(len(id), 12)] }

// UseBase has the base bundle decide, whatever is active: the way out where the
// active bundle cannot be loaded and the service does not start. Whoever may call
// it has the service's own rights.
func UseBase(ctx context.Context, store Store, now time.Time) (before string, err error) {
	active, err := store.ActiveBundle(ctx)
	if err != nil || active.ID == fleet.BaseBundle {
		return active.ID, err
	}
	base, err := store.Bundle(ctx, fleet.BaseBundle)
	if err != nil {
		return active.ID, err
	}
	base.State, base.ApprovedAt = fleet.BundleApproved, now
	base.ProposedBy, base.ApprovedBy = "system", "system"
	next, ended, err := base.Activate(active, "system", now)
	if err != nil {
		return active.ID, err
	}
	return active.ID, store.Apply(ctx, fleet.Change{
		Bundles: []fleet.Bundle{next, ended},
		Events:  []fleet.Event{fleet.NewEvent(now, "system", "policy.base", next.Subject(), "on the service's machine, instead of bundle "+active.ID)},
	})
}
