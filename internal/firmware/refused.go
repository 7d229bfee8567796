package firmware

import (
	"context"
	"fmt"
	"slices"
	"time"

	"troth/internal/fleet"
)

// tellRefused raises an alert for each release that is refused, and ends those of
// releases that are not any more. It may run in several replicas at once.
func (r *Repository) tellRefused(ctx context.Context) error {
	if r.Alerts == nil || r.Policy == nil || !r.Loaded() {
		return nil
	}
	now, refused := r.Now(), r.Refused()
	if len(refused) == r.told && now.Sub(r.toldAt) < watchEvery && !now.Before(r.toldAt) {
		return nil
	}
	open, err := r.Alerts.Alerts(ctx, fleet.AlertFilter{Key: fleet.KeyReleaseRefused, Open: true})
	if err != nil {
		return fmt.Errorf("read alerts of refused releases: %w", err)
	}
	change := refusals(open, refused, now)
	if len(change.Alerts) > 0 {
		if err := r.Alerts.Apply(ctx, change); err != nil && !fleet.IsKind(err, fleet.Conflict) { // another replica was faster
			return fmt.Errorf("raise alert of a refused release: %w", err)
		}
	}
	r.told, r.toldAt = len(refused), now
	return nil
}

// refusals are the alerts that are new, give another reason than before, or have
// ended.
func refusals(open []fleet.Alert, refused []fleet.RefusedRelease, now time.Time) fleet.Change {
	var change fleet.Change
	still := map[string]bool{}
	for _, release := range refused {
		subject := release.Subject()
		still[subject] = true
		reason := release.Reason + " (" + release.Code + ")"
		i := slices.IndexFunc(open, func(a fleet.Alert) bool { return a.Subject == subject && a.State != fleet.AlertResolved })
		if i >= 0 && open[i].Reason == reason {
			continue
		}
		change.Alerts = append(change.Alerts, fleet.Raise(open, fleet.Alert{
			Subject: subject, Key: fleet.KeyReleaseRefused, Severity: fleet.High,
			Title: "A published release is not taken in", Reason: reason,
		}, now))
		change.Events = append(change.Events, fleet.NewEvent(now, "policy", "release.refused", subject, reason))
	}
	for _, a := range open {
		if !still[a.Subject] && a.State != fleet.AlertResolved {
			change.Alerts = append(change.Alerts, a.Resolve(now))
			change.Events = append(change.Events, fleet.NewEvent(now, "policy", "release.taken", a.Subject, "it is not refused any more, or not published"))
		}
	}
	return change
}
