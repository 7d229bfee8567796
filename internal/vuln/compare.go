package vuln

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"troth/internal/fleet"
	"troth/osv"
)

// Problems for which a release was not compared.
const (
	problemRelease = "no_release"       // nobody knows which release it is
	problemSBOM    = "no_sbom"          // it has no bill of materials
	problemFeed    = "no_feed"          // no record was imported
	problemRead    = "sbom_unavailable" // its bill of materials cannot be read
	problemPending = "not_compared"     // it was published a moment ago
)

// maxFindings bounds what is kept of a release. One with more is treated as one
// that cannot be read: its list would be cut, and its counts wrong.
const maxFindings = 50_000

// release names a published release.
type release struct {
	model, version string
	counter        uint64
}

func named(r fleet.Release) release { return release{r.Model, r.Version, r.Counter} }

// comparison is all releases of a catalogue against one revision of the feed. It
// does not change once it is made.
type comparison struct {
	feed     fleet.Feed
	catalog  fleet.Catalog
	releases map[release]*assessment
}

// assessment is what is known to be wrong with a release.
type assessment struct {
	fleet.Release
	problem  string // why nothing is known; empty: it was compared
	findings []osv.Finding
	// has are the names of all vulnerabilities that it has, or may have.
	has                  map[string]bool
	components, nameless int
}

// materials is a bill of materials, read once for all releases that share it.
type materials struct {
	osv.SBOM
	problem  string
	findings *assessment // of the last comparison
}

// Compare brings what is known up to date with the feed and the catalogue; where
// neither changed it costs one read. Several may be called at once, in several
// replicas.
func (s *Service) Compare(ctx context.Context) error {
	s.comparing.Lock()
	defer s.comparing.Unlock()
	feed, err := s.Store.Feed(ctx)
	if err != nil {
		return err
	}
	catalog := s.Releases.Catalog()
	last := s.current.Load()
	if last != nil && !s.unread && feed.Revision == last.feed.Revision && same(catalog, last.catalog) {
		return nil
	}
	next := &comparison{feed: feed, catalog: catalog, releases: make(map[release]*assessment, len(catalog))}
	if err := s.read(ctx, catalog, feed); err != nil {
		return err
	}
	if err := s.judge(ctx, feed); err != nil {
		return err
	}
	for _, r := range catalog {
		next.releases[named(r)] = s.assess(r, feed)
	}
	s.current.Store(next)
	return nil
}

// same reports whether two catalogues have the same releases with the same bills
// of materials. A catalogue is never changed in place.
func same(a, b fleet.Catalog) bool {
	return slices.EqualFunc(a, b, func(r, s fleet.Release) bool {
		return named(r) == named(s) && digest(r) == digest(s)
	})
}

func digest(r fleet.Release) string {
	if r.SBOM == nil {
		return ""
	}
	return r.SBOM.SHA256
}

// read loads the bills of materials that are not loaded, and forgets those that no
// release names any more. One that cannot be read is tried again the next time.
func (s *Service) read(ctx context.Context, catalog fleet.Catalog, feed fleet.Feed) error {
	kept := map[string]*materials{}
	s.unread = false
	for _, r := range catalog {
		id := digest(r)
		if id == "" || kept[id] != nil || feed.Revision == 0 {
			continue
		}
		m := s.materials[id]
		if m == nil || m.problem != "" {
			var err error
			if m, err = s.load(ctx, r); err != nil {
				return err
			}
		}
		s.unread = s.unread || m.problem != ""
		kept[id] = m
	}
	s.materials = kept
	return nil
}

func (s *Service) load(ctx context.Context, r fleet.Release) (*materials, error) {
	text, err := s.Releases.SBOM(ctx, r)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err == nil {
		var bom osv.SBOM
		if bom, err = osv.ParseSBOM(bytes.NewReader(text)); err == nil {
			return &materials{SBOM: bom}, nil
		}
	}
	return &materials{problem: problemRead}, nil
}

// judge compares every component with the records of its package. A component that
// many releases share is judged once.
func (s *Service) judge(ctx context.Context, feed fleet.Feed) error {
	if feed.Revision == 0 {
		return nil
	}
	j := judging{byKey: map[string][]*part{}, parts: map[string]*part{}}
	for _, m := range s.materials {
		j.add(m)
	}
	if err := s.Store.EachVulnerability(ctx, j.keys(), j.record); err != nil {
		return err
	}
	for _, m := range s.materials {
		if m.problem != "" {
			continue
		}
		found, err := s.findings(ctx, m, &j)
		switch {
		case errors.Is(err, errTooMany):
			m.problem, s.unread = problemRead, true
		case err != nil:
			return err
		}
		m.findings = found
	}
	return nil
}

// judging is one pass over the records.
type judging struct {
	parts map[string]*part // by package URL
	byKey map[string][]*part
}

// part is a component with the records that concern it.
type part struct {
	osv.Component
	records map[string]osv.Record // that it has, or may have, by ID
}

func (j *judging) add(m *materials) {
	for _, c := range m.Components {
		if j.parts[c.PURL] != nil {
			continue
		}
		p := &part{Component: c}
		j.parts[c.PURL] = p
		for _, key := range c.Keys() {
			j.byKey[key] = append(j.byKey[key], p)
		}
	}
}

func (j *judging) keys() []string {
	keys := make([]string, 0, len(j.byKey))
	for key := range j.byKey {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// record judges the components of a record's packages, and keeps of it what they
// need.
func (j *judging) record(v fleet.Vulnerability) error {
	r, err := kept(v)
	if err != nil {
		return err
	}
	for _, key := range v.Packages {
		for _, p := range j.byKey[key] {
			if _, known := p.records[r.ID]; known || r.Judge(p.Component).Outcome == osv.NotAffected {
				continue
			}
			if p.records == nil {
				p.records = map[string]osv.Record{}
			}
			p.records[r.ID] = r.About(p.Component)
		}
	}
	return nil
}

// kept is the record as it was imported.
func kept(v fleet.Vulnerability) (r osv.Record, err error) {
	if err = json.Unmarshal(v.Record, &r); err != nil {
		err = fmt.Errorf("read kept record %s: %w", v.ID, err)
	}
	return r, err
}

var errTooMany = errors.New("too many vulnerabilities")

func (s *Service) findings(ctx context.Context, m *materials, j *judging) (*assessment, error) {
	var f osv.Findings
	count := 0
	for _, c := range m.Components {
		for _, r := range j.parts[c.PURL].records {
			if count++; count > maxFindings {
				return nil, errTooMany
			}
			f.Add(r, c)
		}
	}
	err := s.Store.EachVulnerabilityNamed(ctx, f.Unrated(), func(v fleet.Vulnerability) error {
		r, err := kept(v)
		f.Rate(r)
		return err
	})
	if err != nil {
		return nil, err
	}
	a := &assessment{findings: f.List(), has: map[string]bool{}, components: len(m.Components), nameless: m.Nameless}
	for _, found := range a.findings {
		a.has[found.ID] = true
		for _, name := range found.Names {
			a.has[name] = true
		}
	}
	return a, nil
}

// assess is what the comparison says of one release.
func (s *Service) assess(r fleet.Release, feed fleet.Feed) *assessment {
	a := &assessment{Release: r}
	m := s.materials[digest(r)]
	switch {
	case r.SBOM == nil:
		a.problem = problemSBOM
	case feed.Revision == 0:
		a.problem = problemFeed
	case m.problem != "":
		a.problem = m.problem
	default:
		a.findings, a.has, a.components, a.nameless = m.findings.findings, m.findings.has, m.findings.components, m.findings.nameless
	}
	return a
}

// count counts findings by severity, those that are decided or those that are not.
func (a *assessment) count(s osv.Severity, undecided bool) int {
	n := 0
	for _, f := range a.findings {
		if f.Severity == s && (f.Undecided != "") == undecided {
			n++
		}
	}
	return n
}

// gravest is the rank of the gravest finding, decided or not; lower is graver.
func (a *assessment) gravest() int {
	if len(a.findings) == 0 {
		return osv.Unrated.Rank() + 1
	}
	return a.findings[0].Severity.Rank()
}

// later are the model's releases after the one, the first first, that were
// compared.
func (c *comparison) later(of fleet.Release) []*assessment {
	var list []*assessment
	for _, a := range c.releases {
		if a.Model == of.Model && a.Counter > of.Counter && a.problem == "" {
			list = append(list, a)
		}
	}
	slices.SortFunc(list, func(a, b *assessment) int {
		if a.Counter < b.Counter {
			return -1
		}
		return 1
	})
	return list
}

// firstWithout is the first of the releases that is not known to have, and is not
// suspected of having, any of the names.
func firstWithout(list []*assessment, names []string) *assessment {
	i := slices.IndexFunc(list, func(a *assessment) bool {
		return !slices.ContainsFunc(names, func(name string) bool { return a.has[name] })
	})
	if i < 0 {
		return nil
	}
	return list[i]
}

// firstAbove is the first of the releases whose gravest vulnerability is less grave
// than s.
func firstAbove(list []*assessment, s osv.Severity) *assessment {
	i := slices.IndexFunc(list, func(a *assessment) bool { return a.gravest() > s.Rank() })
	if i < 0 {
		return nil
	}
	return list[i]
}
