package vuln

import (
	"cmp"
	"context"
	"slices"

	"troth/internal/fleet"
	"troth/osv"
)

// Bounds of answers.
const (
	maxAffected = 1000 // rows
	maxDevices  = 1000 // devices of a row
	maxRecords  = 100  // of one name
)

// Affected is a vulnerability of a release.
type Affected struct {
	Release fleet.Release
	Finding osv.Finding
	FixedBy string // first later release of the model without it; empty: none is published
	Running int    // devices whose last quote proved the release
	Devices []fleet.Running
}

// Compared says how a release was compared.
type Compared struct {
	Release    fleet.Release
	Problem    string // why nothing is known of it; empty: it was compared
	Components int
	Nameless   int // components that no record can be compared with
}

// Overview is what the last comparison found.
type Overview struct {
	Feed     fleet.Feed
	Releases []Compared
	Affected []Affected // the gravest first
	More     int        // that were left out
}

// Query selects what of the last comparison is told. Empty fields select everything.
type Query struct {
	Name     string // an ID or another name of a vulnerability; with it come the devices
	Severity string // critical, high, medium, low, unrated: this or graver
}

// Overview says which vulnerabilities affect which releases, how many devices run
// these, by their last proof, and which release is the first without.
func (s *Service) Overview(ctx context.Context, q Query) (Overview, error) {
	c := s.current.Load()
	if c == nil {
		return Overview{}, fleet.Errorf(fleet.Unavailable, "not_compared", "the releases are not compared with the records yet: try again")
	}
	o := Overview{Feed: c.feed}
	for _, r := range c.catalog {
		a := c.releases[named(r)]
		o.Releases = append(o.Releases, Compared{Release: r, Problem: a.problem, Components: a.components, Nameless: a.nameless})
		for _, f := range a.findings {
			if q.Name != "" && !slices.Contains(namesOf(f), q.Name) || q.Severity != "" && f.Severity.Rank() > osv.Severity(q.Severity).Rank() {
				continue
			}
			o.Affected = append(o.Affected, Affected{Release: r, Finding: f})
		}
	}
	slices.SortFunc(o.Affected, func(a, b Affected) int {
		return cmp.Or(cmp.Compare(a.Finding.Severity.Rank(), b.Finding.Severity.Rank()), cmp.Compare(a.Finding.ID, b.Finding.ID),
			cmp.Compare(a.Release.Model, b.Release.Model), cmp.Compare(a.Release.Counter, b.Release.Counter), cmp.Compare(a.Finding.Component, b.Finding.Component))
	})
	if len(o.Affected) > maxAffected {
		o.More = len(o.Affected) - maxAffected
		o.Affected = o.Affected[:maxAffected]
	}
	return o, s.running(ctx, c, o.Affected, q.Name != "")
}

// running fills in the devices and the release that each row's devices could go to.
func (s *Service) running(ctx context.Context, c *comparison, rows []Affected, devices bool) error {
	running := map[string]map[release][]fleet.Running{}
	later := map[release][]*assessment{}
	for i := range rows {
		row := &rows[i]
		id := named(row.Release)
		if running[id.model] == nil {
			list, err := s.Store.Running(ctx, id.model)
			if err != nil {
				return err
			}
			running[id.model] = byRelease(id.model, list)
		}
		if _, known := later[id]; !known {
			later[id] = c.later(row.Release)
		}
		on := running[id.model][id]
		row.Running, row.FixedBy = len(on), versionOf(firstWithout(later[id], namesOf(row.Finding)))
		if devices {
			row.Devices = on[:min(len(on), maxDevices)]
		}
	}
	return nil
}

func byRelease(model string, list []fleet.Running) map[release][]fleet.Running {
	by := map[release][]fleet.Running{}
	for _, d := range list {
		id := release{model, d.Version, d.Counter}
		by[id] = append(by[id], d)
	}
	return by
}

// List is a page of imported records, in the order of their IDs.
func (s *Service) List(ctx context.Context, f fleet.VulnerabilityFilter) ([]fleet.Vulnerability, fleet.Feed, error) {
	feed, err := s.Store.Feed(ctx)
	if err != nil {
		return nil, feed, err
	}
	list, err := s.Store.Vulnerabilities(ctx, f)
	return list, feed, err
}

// Show is every imported record with the name, and what they affect.
func (s *Service) Show(ctx context.Context, name string) ([]fleet.Vulnerability, Overview, error) {
	list, err := s.Store.Vulnerabilities(ctx, fleet.VulnerabilityFilter{Name: name, Limit: maxRecords})
	if err != nil {
		return nil, Overview{}, err
	}
	if len(list) == 0 {
		return nil, Overview{}, fleet.Errorf(fleet.NotFound, "vulnerability_not_found", "no imported record has the name %.128q", name)
	}
	o, err := s.Overview(ctx, Query{Name: name})
	return list, o, err
}
