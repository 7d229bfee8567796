package posture

import (
	"context"
	"errors"
	"slices"
	"time"

	"troth/internal/fleet"
)

// codeFileRules: which files may run with a release cannot be read.
const codeFileRules = "file_rules_unavailable"

// unreadable tells people that the release's devices cannot be judged, once: all
// of them are refused at every check-in, and the alert is not written each time.
// It returns the cause.
func (s *Service) unreadable(ctx context.Context, release fleet.Release, cause error) error {
	var why *fleet.Error
	if !errors.As(cause, &why) || why.Code != codeFileRules {
		return cause
	}
	open, err := s.Store.Alerts(ctx, fleet.AlertFilter{Subject: release.Subject(), Key: fleet.KeyFileRules, Open: true})
	if err != nil {
		return errors.Join(cause, err)
	}
	if len(open) > 0 {
		return cause
	}
	now := s.Now()
	alert := fleet.Raise(nil, fleet.Alert{
		Subject: release.Subject(), Key: fleet.KeyFileRules, Severity: fleet.High,
		Title: "Files of a release cannot be judged", Reason: why.Message,
	}, now)
	err = s.Store.Apply(ctx, fleet.Change{
		Alerts: []fleet.Alert{alert},
		Events: []fleet.Event{fleet.NewEvent(now, "system", "release.unreadable", alert.Subject, alert.Reason)},
	})
	if err != nil && !fleet.IsKind(err, fleet.Conflict) { // conflict: another check-in told them
		return errors.Join(cause, err)
	}
	return cause
}

// RecheckFiles ends the alerts about releases whose file rules can be read again,
// or that no longer have any: a device that was refused may never come back to
// show it. It may run in several replicas at once.
func (s *Service) RecheckFiles(ctx context.Context) error {
	// A catalogue that is not read yet names no release.
	if s.Files == nil || s.Loaded != nil && !s.Loaded() {
		return nil
	}
	open, err := s.Store.Alerts(ctx, fleet.AlertFilter{Key: fleet.KeyFileRules, Open: true})
	if err != nil {
		return err
	}
	now := s.Now()
	for _, alert := range open {
		readable, err := s.readable(ctx, alert.Subject)
		if err != nil {
			return err
		}
		if !readable {
			continue
		}
		if err := s.resolveFileRules(ctx, alert, now); err != nil {
			return err
		}
	}
	return nil
}

// readable reports whether nothing of the release keeps its devices from being
// judged: its rules load, or it has none, or nobody publishes it any more.
func (s *Service) readable(ctx context.Context, subject string) (bool, error) {
	catalog := s.Releases.Catalog()
	i := slices.IndexFunc(catalog, func(r fleet.Release) bool { return r.Subject() == subject })
	if i < 0 {
		return true, nil
	}
	_, err := s.Files.IMAFiles(ctx, catalog[i])
	if fleet.CodeOf(err) == codeFileRules {
		return false, nil // the alert says so already
	}
	return err == nil, err
}

func (s *Service) resolveFileRules(ctx context.Context, alert fleet.Alert, now time.Time) error {
	err := s.Store.Apply(ctx, fleet.Change{
		Alerts: []fleet.Alert{alert.Resolve(now)},
		Events: []fleet.Event{fleet.NewEvent(now, "system", "release.readable", alert.Subject, "its devices can be judged again")},
	})
	if fleet.IsKind(err, fleet.Conflict) {
		return nil // another replica was faster, or a person acknowledged it: the next run sees
	}
	return err
}
