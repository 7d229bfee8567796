package vuln

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"troth/internal/fleet"
	"troth/osv"
)

// MaxRecords is how many records one call of Import takes.
const MaxRecords = 1000

// Summary is what became of imported records.
type Summary struct {
	Added     int
	Updated   int
	Unchanged int
	Older     int // what is kept was modified later, and stays
	Withdrawn int // of those added and updated: they no longer count
	Refused   []Refusal
}

// Refusal is a record that was not taken.
type Refusal struct {
	Index  int // in the call
	Reason string
}

// Import takes records in the OSV format: each whole, or not at all. Those that can
// be used are kept, at once, although others are refused.
func (s *Service) Import(ctx context.Context, records []json.RawMessage, by string) (Summary, error) {
	if len(records) == 0 || len(records) > MaxRecords {
		return Summary{}, fleet.Errorf(fleet.Invalid, "invalid_import", "1 to %d records are imported at once, not %d", MaxRecords, len(records))
	}
	var sum Summary
	var ids []string
	offered := map[string]fleet.Vulnerability{}
	for i, text := range records {
		v, err := vulnerability(text)
		if err != nil {
			sum.Refused = append(sum.Refused, Refusal{Index: i, Reason: err.Error()})
			continue
		}
		if other, twice := offered[v.ID]; twice && other.Modified.After(v.Modified) {
			sum.Older++
			continue
		} else if twice {
			sum.Older++
		} else {
			ids = append(ids, v.ID)
		}
		offered[v.ID] = v
	}
	known, err := s.Store.VulnerabilitiesWithID(ctx, ids)
	if err != nil {
		return Summary{}, err
	}
	now := s.Now()
	change := fleet.Import{At: now}
	for _, id := range ids {
		if v := offered[id]; sum.news(known[id], v) {
			change.Records = append(change.Records, v)
		}
	}
	if len(change.Records) == 0 {
		return sum, nil
	}
	return sum, s.Store.Apply(ctx, fleet.Change{
		Import: &change,
		Events: []fleet.Event{fleet.NewEvent(now, by, "vuln.import", "vulnerabilities",
			fmt.Sprintf("%d records added, %d updated, %d of these withdrawn", sum.Added, sum.Updated, sum.Withdrawn))},
	})
}

// news counts a record, and reports whether it is to be kept.
func (s *Summary) news(known, v fleet.Vulnerability) bool {
	switch {
	case known.ID == "":
		s.Added++
	case known.Modified.After(v.Modified):
		s.Older++
		return false
	case bytes.Equal(known.Record, v.Record):
		s.Unchanged++
		return false
	default:
		s.Updated++
	}
	if !v.Withdrawn.IsZero() {
		s.Withdrawn++
	}
	return true
}

// vulnerability reads a record, and says by what it is found.
func vulnerability(text []byte) (fleet.Vulnerability, error) {
	r, err := osv.Parse(text)
	if err != nil {
		return fleet.Vulnerability{}, err
	}
	record, err := json.Marshal(r)
	if err != nil {
		return fleet.Vulnerability{}, fmt.Errorf("encode record: %w", err)
	}
	v := fleet.Vulnerability{
		ID: r.ID, Modified: r.Modified, Withdrawn: r.Withdrawn, Severity: string(r.Rating()), Names: r.Names(), Record: record,
	}
	for _, a := range r.Affected {
		v.Packages = append(v.Packages, a.Keys()...)
	}
	slices.Sort(v.Packages)
	v.Packages = slices.Compact(v.Packages)
	return v, nil
}
