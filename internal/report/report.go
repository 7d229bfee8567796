// Package report writes what an auditor reads: every control on every device,
// with the digest of the evidence behind each line, and what could not be
// checked said as plainly as what could.
package report

import (
	"context"
	"sort"
	"time"

	"troth/internal/fleet"
)

// Store is what a report is made from.
type Store interface {
	Devices(ctx context.Context, f fleet.DeviceFilter) ([]fleet.Device, error)
	Postures(ctx context.Context, ids []fleet.DeviceID) (map[fleet.DeviceID]fleet.Posture, error)
}

// Service is the use case.
type Service struct {
	Store  Store
	Policy func() string // digest of the bundle in force
	Now    func() time.Time
}

// Compliance is a compliance report over the fleet at one instant.
type Compliance struct {
	GeneratedAt time.Time  `json:"generated_at"`
	Policy      string     `json:"policy"` // digest of the bundle in force
	Population  Population `json:"population"`
	Controls    []Summary  `json:"controls"`
	Lines       []Line     `json:"lines"`
}

// Population counts the devices, so that nobody is missing without a word.
type Population struct {
	Registered   int `json:"registered"` // never enrolled
	Enrolled     int `json:"enrolled"`   // active and quarantined
	Quarantined  int `json:"quarantined"`
	Retired      int `json:"retired"`
	Evaluated    int `json:"evaluated"` // with a fresh verdict
	Compliant    int `json:"compliant"`
	Noncompliant int `json:"noncompliant"`
	Undecided    int `json:"error"`
	Stale        int `json:"stale"`      // enrolled, and the verdict is no longer fresh
	NeverSeen    int `json:"never_seen"` // enrolled, and never checked in
}

// Summary is one control over all devices.
type Summary struct {
	ID            string              `json:"id"`
	Title         string              `json:"title"`
	Severity      string              `json:"severity"`
	Reported      bool                `json:"reported,omitempty"` // it rests on the devices' own words
	Frameworks    map[string][]string `json:"frameworks,omitempty"`
	Pass          int                 `json:"pass"`
	Fail          int                 `json:"fail"`
	InGrace       int                 `json:"in_grace"` // failing, not enforced yet
	Advisory      int                 `json:"advisory"` // failing or not decided, and counting for no verdict
	Error         int                 `json:"error"`
	NotApplicable int                 `json:"not_applicable"`
	Unknown       int                 `json:"unknown"` // stale devices
}

// Outcomes of a line that no policy says: they are facts of the report.
const (
	unknown   = "unknown"
	inGrace   = "fail_in_grace"
	advised   = "fail_advisory"
	unadvised = "error_advisory" // an advisory control that could not be decided
)

// Line is one control on one device.
type Line struct {
	Device    string     `json:"device"`
	Name      string     `json:"name,omitempty"`
	Model     string     `json:"model"`
	Lifecycle string     `json:"lifecycle"`
	Verdict   string     `json:"verdict"`
	Control   string     `json:"control"`
	Outcome   string     `json:"outcome"` // pass, fail, fail_in_grace, fail_advisory, error, error_advisory, not_applicable, unknown
	Reason    string     `json:"reason"`
	Since     *time.Time `json:"since,omitempty"`
	Evaluated time.Time  `json:"evaluated"`
	Evidence  string     `json:"evidence"` // SHA-256 of the evidence
	Decision  string     `json:"decision"`
}

// page bounds how many postures are held at a time.
const page = 500

// Compliance builds the report over every device.
func (s *Service) Compliance(ctx context.Context) (Compliance, error) {
	r := Compliance{GeneratedAt: s.Now().UTC(), Policy: s.Policy(), Controls: []Summary{}, Lines: []Line{}}
	summaries := map[string]*Summary{}
	after := fleet.DeviceID("")
	for {
		devices, err := s.Store.Devices(ctx, fleet.DeviceFilter{After: after, Limit: page})
		if err != nil {
			return r, err
		}
		if len(devices) == 0 {
			break
		}
		after = devices[len(devices)-1].ID
		ids := make([]fleet.DeviceID, len(devices))
		for i, d := range devices {
			ids[i] = d.ID
		}
		postures, err := s.Store.Postures(ctx, ids)
		if err != nil {
			return r, err
		}
		for _, d := range devices {
			posture, seen := postures[d.ID]
			r.Population.count(d, seen, r.GeneratedAt)
			if seen && d.Lifecycle != fleet.Retired {
				r.add(d, posture, summaries)
			}
		}
	}
	for _, summary := range summaries {
		r.Controls = append(r.Controls, *summary)
	}
	sort.Slice(r.Controls, func(i, j int) bool { return r.Controls[i].ID < r.Controls[j].ID })
	sort.SliceStable(r.Lines, func(i, j int) bool { return r.Lines[i].Name < r.Lines[j].Name })
	return r, nil
}

func (p *Population) count(d fleet.Device, seen bool, now time.Time) {
	switch d.Lifecycle {
	case fleet.Pending:
		p.Registered++
		return
	case fleet.Retired:
		p.Retired++
		return
	case fleet.Quarantined:
		p.Quarantined++
	}
	p.Enrolled++
	if !seen {
		p.NeverSeen++
		return
	}
	switch d.Believed(now) {
	case fleet.Compliant:
		p.Compliant++
	case fleet.Noncompliant:
		p.Noncompliant++
	case fleet.Undecided:
		p.Undecided++
	default:
		p.Stale++
		return
	}
	p.Evaluated++
}

func (r *Compliance) add(d fleet.Device, p fleet.Posture, summaries map[string]*Summary) {
	verdict := d.Believed(r.GeneratedAt)
	for _, c := range p.Controls {
		s, ok := summaries[c.ID]
		if !ok {
			s = &Summary{ID: c.ID, Title: c.Title, Severity: string(c.Severity), Reported: c.Reported, Frameworks: c.Frameworks}
			summaries[c.ID] = s
		}
		outcome := outcomeOf(c, verdict, r.GeneratedAt)
		s.count(outcome)
		reason := c.Reason
		if outcome == unknown {
			reason = "Not known: the device has sent no fresh evidence since " + p.At.UTC().Format(time.RFC3339) + "."
		}
		r.Lines = append(r.Lines, Line{
			Device: string(d.ID), Name: d.Name, Model: d.Model, Lifecycle: string(d.Lifecycle), Verdict: string(verdict),
			Control: c.ID, Outcome: outcome, Reason: reason, Since: c.Since,
			Evaluated: p.At, Evidence: p.Evidence, Decision: p.Decision,
		})
	}
}

// outcomeOf never lets an old pass stand as one: where the verdict is stale,
// every control is unknown.
func outcomeOf(c fleet.Control, verdict fleet.Verdict, now time.Time) string {
	switch {
	case verdict == fleet.Unknown:
		return unknown
	case c.Advisory && c.Outcome == fleet.Fail:
		return advised
	case c.Advisory && c.Failing():
		return unadvised
	case c.Outcome == fleet.Fail && !c.Enforced(now):
		return inGrace
	default:
		return string(c.Outcome)
	}
}

func (s *Summary) count(outcome string) {
	switch outcome {
	case string(fleet.Pass):
		s.Pass++
	case string(fleet.Fail):
		s.Fail++
	case inGrace:
		s.InGrace++
	case advised, unadvised:
		s.Advisory++
	case string(fleet.NotApplicable):
		s.NotApplicable++
	case unknown:
		s.Unknown++
	default:
		s.Error++
	}
}
