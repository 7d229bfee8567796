package osv

import (
	"bytes"
	"cmp"
	"io/fs"
	"slices"
	"strings"
)

// Finding is a vulnerability of a component, by one record or by several that are
// aliases of each other.
type Finding struct {
	ID        string   `json:"id"`              // the CVE, where a name of it is one
	Names     []string `json:"names,omitempty"` // all others, sorted
	Severity  Severity `json:"severity"`
	Component string   `json:"component"` // package URL
	Version   string   `json:"version"`
	Fixed     string   `json:"fixed,omitempty"` // first version of the component without it; empty: none is known
	// Undecided says why it is not known whether the component has it; empty: it has.
	Undecided string `json:"undecided,omitempty"`
	Summary   string `json:"summary,omitempty"` // hostile text

	same []string // names of this very vulnerability
}

// Scan is what a feed says of a bill of materials.
type Scan struct {
	Findings   []Finding `json:"findings"` // the gravest first
	Components int       `json:"components"`
	Nameless   int       `json:"nameless"` // components that no record can be compared with
	Records    int       `json:"records"`  // read
	Refused    int       `json:"refused"`  // records that cannot be used: what they say is not known
}

// ScanSBOM compares a CycloneDX document with a feed (a file or a directory; see
// Feed.ReadFeed), without any service: what whoever publishes a release asks
// before it is signed. Memory is that of the document and of what is found.
func ScanSBOM(sbom []byte, fsys fs.FS, feed string) (Scan, error) {
	bom, err := ParseSBOM(bytes.NewReader(sbom))
	if err != nil {
		return Scan{}, err
	}
	byKey := map[string][]Component{}
	for _, c := range bom.Components {
		for _, key := range c.keys {
			byKey[key] = append(byKey[key], c)
		}
	}
	s := Scan{Components: len(bom.Components), Nameless: bom.Nameless}
	var found Findings
	err = Feed{
		Refuse: func(string, error) error { s.Refused++; return nil },
		Record: func(r Record) error {
			s.Records++
			if strings.HasPrefix(r.ID, "CVE-") && r.Withdrawn.IsZero() { // what others are aliases of
				found.Rate(r)
			}
			seen := map[string]bool{}
			for _, a := range r.Affected {
				for _, key := range a.Keys() {
					for _, c := range byKey[key] {
						if !seen[c.PURL] {
							seen[c.PURL] = true
							found.Add(r, c)
						}
					}
				}
			}
			return nil
		},
	}.ReadFeed(fsys, feed)
	s.Findings = found.List()
	return s, err
}

// Findings gathers what records say of the components of one bill of materials.
// The zero value is empty.
type Findings struct {
	list []Finding
	// rated are severities by record, for records that have none and are aliases.
	rated map[string]Severity
}

// Add adds what the record says of the component, if that is not NotAffected.
func (f *Findings) Add(r Record, c Component) {
	answer := r.Judge(c)
	if answer.Outcome == NotAffected {
		return
	}
	f.list = append(f.list, Finding{
		ID: r.ID, Names: r.Names(), Severity: answer.Severity, Component: c.PURL, Version: c.Version,
		Fixed: answer.Fixed, Undecided: answer.Reason, Summary: r.Summary, same: r.same(),
	})
}

// same are the names of this very vulnerability. An advisory of a distribution is
// upstream of several, and none of them.
func (r Record) same() []string {
	names := append([]string{r.ID}, r.Aliases...)
	if len(r.Upstream) == 1 {
		names = append(names, r.Upstream[0])
	}
	return names
}

// Rate lends the record's severity to findings that are aliases of it and have none
// of their own.
func (f *Findings) Rate(r Record) {
	rated := r.Rating()
	if rated == Unrated {
		return
	}
	if f.rated == nil {
		f.rated = map[string]Severity{}
	}
	for _, name := range r.same() {
		f.rated[name] = rated.Graver(f.ratedBy(name))
	}
}

func (f *Findings) ratedBy(name string) Severity {
	if s, ok := f.rated[name]; ok {
		return s
	}
	return Unrated
}

// Unrated are the names of what was found and has no severity, for which a
// severity may be found elsewhere; see Rate.
func (f *Findings) Unrated() []string {
	var names []string
	for _, found := range f.list {
		if found.Severity == Unrated {
			names = append(names, found.same...)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// List is what was found, the gravest first. Records of one component that share a
// name are one finding, with the graver severity; a chain of aliases ends where it
// comes back.
func (f *Findings) List() []Finding {
	byComponent := map[string][]Finding{}
	for _, found := range f.list {
		if found.Severity == Unrated {
			for _, name := range found.same {
				found.Severity = found.Severity.Graver(f.ratedBy(name))
			}
		}
		byComponent[found.Component] = append(byComponent[found.Component], found)
	}
	list := []Finding{}
	for _, of := range byComponent {
		list = append(list, merge(of)...)
	}
	slices.SortFunc(list, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Severity.Rank(), b.Severity.Rank()), cmp.Compare(a.ID, b.ID), cmp.Compare(a.Component, b.Component))
	})
	return list
}

// merge joins findings of one component that share a name (union-find).
func merge(list []Finding) []Finding {
	parent := make([]int, len(list))
	root := func(i int) int {
		for parent[i] != i {
			parent[i] = parent[parent[i]]
			i = parent[i]
		}
		return i
	}
	first := map[string]int{}
	for i, found := range list {
		parent[i] = i
		for _, name := range found.same {
			if j, ok := first[name]; ok {
				parent[root(i)] = root(j)
			} else {
				first[name] = i
			}
		}
	}
	groups := map[int][]Finding{}
	for i, found := range list {
		groups[root(i)] = append(groups[root(i)], found)
	}
	var merged []Finding
	for _, group := range groups {
		merged = append(merged, one(group))
	}
	return merged
}

func one(group []Finding) Finding {
	slices.SortFunc(group, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(len(a.Undecided), len(b.Undecided)), cmp.Compare(a.ID, b.ID)) // what is decided first
	})
	found := group[0]
	var names, same []string
	for _, other := range group {
		names, same = append(names, other.Names...), append(same, other.same...)
		found.Severity = found.Severity.Graver(other.Severity)
		found.Fixed = or(found.Fixed, other.Fixed)
		found.Summary = or(found.Summary, other.Summary)
	}
	slices.Sort(names)
	slices.Sort(same)
	names = slices.Compact(names)
	for _, name := range same {
		if strings.HasPrefix(name, "CVE-") {
			found.ID = name
			break
		}
	}
	found.Names = slices.DeleteFunc(names, func(name string) bool { return name == found.ID })
	return found
}
