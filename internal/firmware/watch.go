package firmware

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"troth/internal/fleet"
	"troth/tuf"
)

// AlertStore keeps alerts.
type AlertStore interface {
	Alerts(ctx context.Context, f fleet.AlertFilter) ([]fleet.Alert, error)
	Apply(ctx context.Context, c fleet.Change) error
}

// AlertSubject is what the alerts of this package are about.
const AlertSubject = "firmware-repository"

// Keys of these alerts.
const (
	keyResign  = "tuf_resign"  // snapshot and timestamp could not be signed anew
	keyExpires = "tuf_expiry:" // and the role: less than a quarter of its signature's life is left
)

const watchEvery = time.Minute

// due says that a signature ends soon: three quarters of its life are over, or all
// of it. Snapshot and timestamp are signed anew at half of theirs.
func due(now, expires time.Time, life time.Duration) bool { return expires.Sub(now) < life/4 }

// watch raises an alert for each role whose signature is about to expire, and one
// where re-signing fails, and ends those whose cause is gone.
func (r *Repository) watch(ctx context.Context, signErr error) error {
	now := r.Now()
	if r.Alerts == nil || signErr == nil && now.Sub(r.watched) < watchEvery && !now.Before(r.watched) {
		return nil
	}
	causes, err := r.causes(now, signErr)
	if err != nil {
		return err
	}
	open, err := r.Alerts.Alerts(ctx, fleet.AlertFilter{Subject: AlertSubject, Open: true})
	if err != nil {
		return fmt.Errorf("read alerts of the firmware repository: %w", err)
	}
	changed := reconcile(open, causes, now)
	if len(changed) > 0 {
		err = r.Alerts.Apply(ctx, fleet.Change{Alerts: changed})
		if err != nil && !fleet.IsKind(err, fleet.Conflict) { // another replica was faster
			return fmt.Errorf("raise alert of the firmware repository: %w", err)
		}
	}
	r.watched = now
	return nil
}

// causes are the alerts that there should be.
func (r *Repository) causes(now time.Time, signErr error) ([]fleet.Alert, error) {
	var causes []fleet.Alert
	if signErr != nil {
		causes = append(causes, fleet.Alert{
			Key: keyResign, Severity: fleet.High, Title: "Firmware repository could not be signed anew", Reason: signErr.Error(),
		})
	}
	repository, err := tuf.Open(r.Dir, "")
	if err != nil {
		return nil, fmt.Errorf("open repository to look at its expiry: %w", err)
	}
	roles, err := repository.Roles()
	if err != nil {
		return nil, fmt.Errorf("look at the repository's expiry: %w", err)
	}
	if expiries := r.expiries.Load(); expiries != nil {
		for _, e := range *expiries {
			known := slices.ContainsFunc(roles, func(s tuf.RoleStatus) bool { return s.Role == e.Role })
			if !known { // the hash bin that expires first
				roles = append(roles, tuf.RoleStatus{Role: "bins", Version: 1, Expires: e.Expires, Lifetime: tuf.DefaultBinLifetime})
			}
		}
	}
	for _, s := range roles {
		if s.Version > 0 && due(now, s.Expires, s.Lifetime) {
			causes = append(causes, expiring(s, now))
		}
	}
	return causes, nil
}

func expiring(s tuf.RoleStatus, now time.Time) fleet.Alert {
	a := fleet.Alert{
		Key: keyExpires + s.Role, Severity: fleet.High, Title: "Firmware signatures of " + s.Role + " are about to expire",
		Reason: fmt.Sprintf("they are valid until %s; after that devices take no update that %s signs", s.Expires.UTC().Format(time.RFC3339), s.Role),
	}
	switch s.Role {
	case "root", "targets", "snapshot", "timestamp":
		a.Severity = fleet.Critical
		a.Reason = fmt.Sprintf("they are valid until %s; after that devices take no update at all", s.Expires.UTC().Format(time.RFC3339))
	}
	if now.After(s.Expires) {
		a.Title = "Firmware signatures of " + s.Role + " have expired"
	}
	if s.Role != "snapshot" && s.Role != "timestamp" {
		a.Reason += fmt.Sprintf(". Its key holders renew them: troth tuf stage --renew %s", s.Role)
	}
	return a
}

// reconcile gives the alerts that are new, say something else than before, or have
// ended.
func reconcile(open, causes []fleet.Alert, now time.Time) []fleet.Alert {
	var changed []fleet.Alert
	for _, cause := range causes {
		cause.Subject = AlertSubject
		i := slices.IndexFunc(open, func(a fleet.Alert) bool { return a.Key == cause.Key && a.State != fleet.AlertResolved })
		if i < 0 || open[i].Severity != cause.Severity {
			changed = append(changed, fleet.Raise(open, cause, now))
		}
	}
	for _, a := range open {
		ours := a.Key == keyResign || strings.HasPrefix(a.Key, keyExpires)
		still := slices.ContainsFunc(causes, func(c fleet.Alert) bool { return c.Key == a.Key })
		if ours && !still && a.State != fleet.AlertResolved {
			changed = append(changed, a.Resolve(now))
		}
	}
	return changed
}
