package fleet

import (
	"slices"
	"strings"
	"time"
)

// AlertState is where an alert stands.
type AlertState string

// The states of an alert.
const (
	AlertOpen         AlertState = "open"
	AlertAcknowledged AlertState = "acknowledged"
	AlertResolved     AlertState = "resolved"
)

// Alert is something a person should see. There is at most one that is not
// resolved for each subject and key.
type Alert struct {
	ID             string
	Subject        string // device id, rollout:<id>, release:<model>/<version>, policy, or policy:<id>
	Key            string // control:<id>, or one of those below
	Device         DeviceID
	Title          string
	Severity       Severity
	State          AlertState
	Reason         string
	Count          int // how often the cause was seen since it was opened
	OpenedAt       time.Time
	LastAt         time.Time
	AcknowledgedBy string
	AcknowledgedAt time.Time
	ResolvedAt     time.Time
	Revision       int64
}

// Raise opens an alert, or counts one more occurrence of the open one.
func Raise(open []Alert, a Alert, now time.Time) Alert {
	for _, o := range open {
		if o.Subject == a.Subject && o.Key == a.Key && o.State != AlertResolved {
			o.Count++
			o.LastAt, o.Reason, o.Severity = now, a.Reason, a.Severity
			return o
		}
	}
	a.ID, a.State, a.Count, a.OpenedAt, a.LastAt = NewID(), AlertOpen, 1, now, now
	return a
}

// Resolve ends an alert whose cause is gone.
func (a Alert) Resolve(now time.Time) Alert {
	a.State, a.ResolvedAt = AlertResolved, now
	return a
}

// Acknowledge records that a person has seen the alert. One about something that
// happened once, and has no end of its own, is over with that.
func (a Alert) Acknowledge(by string, now time.Time) (Alert, error) {
	switch a.State {
	case AlertOpen:
		a.State, a.AcknowledgedBy, a.AcknowledgedAt = AlertAcknowledged, by, now
		if a.Key == KeyNewKeys || a.Key == KeyPolicyRefused {
			a = a.Resolve(now)
		}
		return a, nil
	case AlertAcknowledged:
		return a, nil
	default:
		return a, Errorf(Conflict, "alert_resolved", "alert %s is already resolved", a.ID)
	}
}

// ControlKey is the alert key of a control.
func ControlKey(control string) string { return "control:" + control }

// ReconcileControls compares a device's open alerts with its posture and
// returns the alerts that are new or changed: one opened for each control that
// newly fails and counts, one resolved for each that passes again. A control
// that keeps failing raises nothing, so an unchanged posture costs no write.
// Where a control fails, those that could not be decided raise nothing of their
// own: they lack what the failing one denies, and a person needs one alert.
// Where nothing could be decided at all, the controls' alerts stay as they are,
// and one alert says so.
func ReconcileControls(open []Alert, d Device, p Posture, now time.Time) []Alert {
	if p.NothingDecided() {
		return reconcileUndecided(open, d, now)
	}
	var changed []Alert
	failing := map[string]bool{}
	decided := slices.ContainsFunc(p.Controls, func(c Control) bool { return c.Outcome == Fail && c.Enforced(now) })
	for _, c := range p.Controls {
		if !c.Enforced(now) {
			continue
		}
		key := ControlKey(c.ID)
		failing[key] = true // what cannot be decided has not passed
		if decided && c.Outcome == Errored {
			continue
		}
		if !hasOpen(open, string(d.ID), key) {
			changed = append(changed, Raise(open, Alert{
				Subject: string(d.ID), Key: key, Device: d.ID,
				Title: c.Title, Severity: c.Severity, Reason: c.Reason,
			}, now))
		}
	}
	for _, a := range open {
		isControl := strings.HasPrefix(a.Key, ControlKey(""))
		stale := isControl && !failing[a.Key]
		if a.State != AlertResolved && (stale || heard(a) || a.Key == KeyUndecided) {
			changed = append(changed, a.Resolve(now))
		}
	}
	return changed
}

func reconcileUndecided(open []Alert, d Device, now time.Time) []Alert {
	var changed []Alert
	if !hasOpen(open, string(d.ID), KeyUndecided) {
		changed = append(changed, Raise(open, Alert{
			Subject: string(d.ID), Key: KeyUndecided, Device: d.ID, Severity: High,
			Title: "Posture could not be decided", Reason: "the evidence verified, and policy gave no answer on it",
		}, now))
	}
	for _, a := range open {
		if a.State != AlertResolved && heard(a) {
			changed = append(changed, a.Resolve(now))
		}
	}
	return changed
}

// heard reports whether an accepted check-in ends the alert.
func heard(a Alert) bool { return a.Key == KeySilent || a.Key == KeyEvidenceRefused }

// Keys of alerts that no control raises.
const (
	KeySilent          = "silent"           // the device has no fresh posture
	KeyEvidenceRefused = "evidence_refused" // the device sent evidence that does not hold
	KeyUndecided       = "undecided"        // policy gave no answer on the device
	KeyNewKeys         = "new_keys"         // a known TPM enrolled with other keys than before
	KeyRevocation      = "revocation"       // the CA does not know of a certificate that ended
	KeyRolloutHalted   = "rollout_halted"
	KeyFileRules       = "file_rules"     // which files may run with a release cannot be read
	KeyPolicyRefused   = "policy_refused" // a policy bundle was pushed and did not pass
	KeyPolicyDiffers   = "policy_differs" // replicas decide by different bundles
)

func hasOpen(open []Alert, subject, key string) bool {
	for _, a := range open {
		if a.Subject == subject && a.Key == key && a.State != AlertResolved {
			return true
		}
	}
	return false
}
