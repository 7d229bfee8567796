package vuln_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"troth/internal/fleet"
	"troth/internal/store"
	"troth/internal/vuln"
	"troth/osv"
)

// rig is the service over a real store, with releases of which the bills of
// materials are text.
type rig struct {
	*vuln.Service
	t       testing.TB
	store   *store.Store
	catalog fleet.Catalog
	boms    map[string]string // by digest
	reads   int
	broken  error
}

func (r *rig) Catalog() fleet.Catalog { return r.catalog }

func (r *rig) SBOM(_ context.Context, release fleet.Release) ([]byte, error) {
	r.reads++
	if r.broken != nil {
		return nil, r.broken
	}
	return []byte(r.boms[release.SBOM.SHA256]), nil
}

var now = time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)

func newRig(t testing.TB) *rig {
	t.Helper()
	s, err := store.Open(context.Background(), "sqlite:"+filepath.Join(t.TempDir(), "troth.db")+"?synchronous=normal")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	r := &rig{t: t, store: s, boms: map[string]string{}}
	r.Service = vuln.New(vuln.Config{Store: s, Releases: r, Now: func() time.Time { return now }})
	return r
}

// publish adds a release of the model edge; without package URLs it has no bill of
// materials.
func (r *rig) publish(version string, counter uint64, purls ...string) fleet.Release {
	release := fleet.Release{Model: "edge", Version: version, Counter: counter}
	if len(purls) > 0 {
		var parts []string
		for _, p := range purls {
			parts = append(parts, fmt.Sprintf(`{"type":"library","name":"x","purl":%q}`, p))
		}
		text := `{"bomFormat":"CycloneDX","components":[` + strings.Join(parts, ",") + `]}`
		release.SBOM = &fleet.SBOM{Target: version, SHA256: text}
		r.boms[text] = text
	}
	r.catalog = append(slices.Clone(r.catalog), release)
	return release
}

func (r *rig) load(records ...string) vuln.Summary {
	r.t.Helper()
	var list []json.RawMessage
	for _, text := range records {
		list = append(list, json.RawMessage(text))
	}
	sum, err := r.Import(context.Background(), list, "ada")
	if err != nil {
		r.t.Fatal(err)
	}
	return sum
}

func (r *rig) compare() {
	r.t.Helper()
	if err := r.Compare(context.Background()); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) overview(q vuln.Query) vuln.Overview {
	r.t.Helper()
	o, err := r.Overview(context.Background(), q)
	if err != nil {
		r.t.Fatal(err)
	}
	return o
}

// record affects an npm package before the version; rest are more fields.
func record(id, day, name, fixed, rest string) string {
	return fmt.Sprintf(`{"id":%q,"modified":"2026-01-%sT00:00:00Z","affected":[{"package":{"ecosystem":"npm","name":%q},"ranges":[{"type":"SEMVER","events":[{"introduced":"0"},{"fixed":%q}]}]}]%s}`, id, day, name, fixed, rest)
}

func rated(word string) string { return fmt.Sprintf(`,"database_specific":{"severity":%q}`, word) }

// said is the overview as lines.
func said(o vuln.Overview) (lines []string) {
	for _, a := range o.Affected {
		lines = append(lines, fmt.Sprintf("%s %s %s running %d patch %q", a.Release.Version, a.Finding.ID, a.Finding.Severity, a.Running, a.FixedBy))
	}
	return lines
}

func (r *rig) want(q vuln.Query, want ...string) {
	r.t.Helper()
	if got := said(r.overview(q)); !slices.Equal(got, want) {
		r.t.Errorf("got\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

func TestFromAVulnerabilityToAPatch(t *testing.T) {
	r := newRig(t)
	one := r.publish("1.0", 1, "pkg:npm/a@1.0.0", "pkg:npm/b@1.0.0")
	two := r.publish("2.0", 2, "pkg:npm/a@2.0.0", "pkg:npm/b@1.0.0")
	r.publish("2.5", 3) // nothing is known of it, so it mends nothing
	three := r.publish("3.0", 4, "pkg:npm/a@2.0.0", "pkg:npm/b@2.0.0")
	devices := []fleet.Device{
		{ID: "d1", Model: "edge", Name: "gate-1", Lifecycle: fleet.Active, FirmwareVersion: "1.0", FirmwareCounter: 1},
		{ID: "d2", Model: "edge", Name: "gate-2", Lifecycle: fleet.Quarantined, FirmwareVersion: "1.0", FirmwareCounter: 1},
		{ID: "d3", Model: "edge", Name: "gate-3", Lifecycle: fleet.Retired, FirmwareVersion: "1.0", FirmwareCounter: 1},
		{ID: "d4", Model: "edge", Name: "gate-4", Lifecycle: fleet.Active, FirmwareVersion: "2.0", FirmwareCounter: 2},
		{ID: "d5", Model: "edge", Name: "gate-5", Lifecycle: fleet.Active},
	}
	if err := r.store.Apply(context.Background(), fleet.Change{Devices: devices}); err != nil {
		t.Fatal(err)
	}

	if got := r.Facts(one); got.Known || got.Problem != "not_compared" {
		t.Errorf("before the first comparison: %+v", got)
	}
	r.compare()
	if got := r.Facts(one); got.Known || got.Problem != "no_feed" {
		t.Errorf("without records: %+v", got)
	}
	r.load(
		record("GHSA-a", "01", "a", "2.0.0", `,"aliases":["CVE-2026-1"]`+rated("CRITICAL")),
		record("GHSA-b", "01", "b", "2.0.0", rated("HIGH")),
		record("GHSA-c", "01", "c", "2.0.0", rated("CRITICAL")),
	)
	r.compare()
	r.want(vuln.Query{},
		`1.0 CVE-2026-1 critical running 2 patch "2.0"`,
		`1.0 GHSA-b high running 2 patch "3.0"`,
		`2.0 GHSA-b high running 1 patch "3.0"`,
	)
	r.want(vuln.Query{Severity: string(osv.Critical)}, `1.0 CVE-2026-1 critical running 2 patch "2.0"`)
	r.want(vuln.Query{Name: "GHSA-a"}, `1.0 CVE-2026-1 critical running 2 patch "2.0"`)
	if on := r.overview(vuln.Query{Name: "CVE-2026-1"}).Affected[0].Devices; len(on) != 2 || on[0].Name != "gate-1" || on[1].Name != "gate-2" {
		t.Errorf("devices %+v", on)
	}

	facts := r.Facts(one)
	if !facts.Known || facts.Affecting.Critical != 1 || facts.Affecting.High != 1 || facts.Components != 2 ||
		facts.NoCritical.Version != "2.0" || facts.NoHigh.Version != "3.0" || facts.NoHigh.Counter != 4 || !facts.FeedAt.Equal(now) {
		t.Errorf("%+v", facts)
	}
	if len(facts.List) != 2 || facts.List[0].ID != "CVE-2026-1" || facts.List[0].FixedBy != "2.0" || facts.List[0].Fixed != "2.0.0" {
		t.Errorf("%+v", facts.List)
	}
	if clean := r.Facts(three); !clean.Known || clean.Affecting.Critical+clean.Affecting.High != 0 || clean.NoHigh.Version != "" {
		t.Errorf("%+v", clean)
	}
	if second := r.Facts(two); second.NoHigh.Version != "3.0" {
		t.Errorf("%+v", second)
	}
	for problem, release := range map[string]fleet.Release{"no_release": {}, "no_sbom": {Model: "edge", Version: "2.5", Counter: 3}, "not_compared": {Model: "edge", Version: "9", Counter: 9, SBOM: &fleet.SBOM{SHA256: "x"}}} {
		if got := r.Facts(release); got.Known || got.Problem != problem {
			t.Errorf("%s: %+v", problem, got)
		}
	}

	// Withdrawn, it no longer counts; changed, it counts as it is now.
	r.load(record("GHSA-a", "02", "a", "2.0.0", `,"aliases":["CVE-2026-1"],"withdrawn":"2026-01-02T00:00:00Z"`+rated("CRITICAL")))
	r.load(record("GHSA-b", "02", "b", "1.0.0", rated("HIGH")))
	r.compare()
	r.want(vuln.Query{})
	if list, _, err := r.Show(context.Background(), "CVE-2026-1"); err != nil || len(list) != 1 || list[0].Withdrawn.IsZero() {
		t.Errorf("%+v, %v", list, err)
	}
	if _, _, err := r.Show(context.Background(), "CVE-0"); fleet.CodeOf(err) != "vulnerability_not_found" {
		t.Errorf("%v", err)
	}
}

func TestImportTakesEachRecordWholeOrNot(t *testing.T) {
	r := newRig(t)
	sum := r.load(record("A-1", "05", "a", "2.0.0", ""), `{"id":"\u001b[2J"}`, "7", record("A-2", "05", "b", "2.0.0", ""))
	if sum.Added != 2 || len(sum.Refused) != 2 || sum.Refused[0].Index != 1 || sum.Refused[1].Index != 2 {
		t.Errorf("%+v", sum)
	}
	sum = r.load(record("A-1", "05", "a", "2.0.0", ""), record("A-2", "04", "b", "3.0.0", ""), record("A-3", "04", "b", "3.0.0", ""), record("A-3", "05", "b", "3.0.0", ""))
	if sum.Unchanged != 1 || sum.Older != 2 || sum.Added != 1 || sum.Updated != 0 {
		t.Errorf("%+v", sum)
	}
	feed, err := r.store.Feed(t.Context())
	if err != nil || feed.Revision != 2 {
		t.Errorf("%+v, %v", feed, err)
	}
	r.load(record("A-1", "05", "a", "2.0.0", ""))
	if again, err := r.store.Feed(t.Context()); err != nil || again != feed {
		t.Errorf("nothing changed, and the feed did: %+v, %v", again, err)
	}
	events, err := r.store.Events(t.Context(), "vulnerabilities", 0)
	if err != nil || len(events) != 2 || events[0].Actor != "ada" {
		t.Errorf("%+v, %v", events, err)
	}
	for _, list := range [][]json.RawMessage{nil, make([]json.RawMessage, vuln.MaxRecords+1)} {
		if _, err := r.Import(t.Context(), list, "ada"); fleet.CodeOf(err) != "invalid_import" {
			t.Errorf("%d records: %v", len(list), err)
		}
	}
}

// What cannot be ordered is shown as such, and mends nothing.
func TestUndecidedIsNeverNotAffected(t *testing.T) {
	r := newRig(t)
	one := r.publish("1.0", 1, "pkg:npm/a@1.0.0")
	r.publish("2.0", 2, "pkg:npm/a@nightly")
	r.publish("3.0", 3, "pkg:npm/a@3.0.0")
	r.load(record("A-1", "01", "a", "2.0.0", rated("CRITICAL")))
	r.compare()
	r.want(vuln.Query{}, `1.0 A-1 critical running 0 patch "3.0"`, `2.0 A-1 critical running 0 patch "3.0"`)
	if f := r.overview(vuln.Query{}).Affected[1].Finding; f.Undecided == "" {
		t.Errorf("%+v", f)
	}
	if facts := r.Facts(one); facts.NoCritical.Version != "3.0" {
		t.Errorf("%+v", facts)
	}
	two := r.Facts(r.catalog[1])
	if two.Affecting.Critical != 0 || two.Undecided.Critical != 1 || !two.List[0].Undecided {
		t.Errorf("%+v", two)
	}
}

// A record without a severity has that of an alias, whether it names that or is
// named by it.
func TestSeverityOfAliases(t *testing.T) {
	r := newRig(t)
	r.publish("1.0", 1, "pkg:npm/a@1.0.0")
	r.load(
		record("A-1", "01", "a", "2.0.0", `,"aliases":["CVE-2026-1"]`),
		record("A-2", "01", "a", "2.0.0", ""),
		`{"id":"CVE-2026-1","modified":"2026-01-01T00:00:00Z"`+rated("HIGH")+`}`,
		`{"id":"B-2","modified":"2026-01-01T00:00:00Z","aliases":["A-2"]`+rated("LOW")+`}`,
	)
	r.compare()
	r.want(vuln.Query{}, `1.0 CVE-2026-1 high running 0 patch ""`, `1.0 A-2 low running 0 patch ""`)
}

// A bill of materials is read once; one that cannot be read is tried again, and
// until then nothing is known of its release.
func TestMaterialsAreReadOnce(t *testing.T) {
	r := newRig(t)
	one := r.publish("1.0", 1, "pkg:npm/a@1.0.0")
	r.publish("1.1", 2, "pkg:npm/a@1.0.0")
	r.load(record("A-1", "01", "a", "2.0.0", rated("HIGH")))
	r.broken = errors.New("disk")
	r.compare()
	if got := r.Facts(one); got.Known || got.Problem != "sbom_unavailable" {
		t.Errorf("%+v", got)
	}
	r.broken = nil
	r.compare()
	r.reads = 0
	r.load(record("A-2", "01", "a", "2.0.0", rated("HIGH")))
	r.compare()
	r.compare()
	if got := r.Facts(one); got.Affecting.High != 2 || r.reads != 0 {
		t.Errorf("%+v after %d reads", got, r.reads)
	}
	r.boms[one.SBOM.SHA256] = "nonsense" // already read
	two := r.publish("2.0", 3, "pkg:npm/a@2.0.0")
	r.compare()
	if got := r.Facts(two); !got.Known || got.Affecting.High != 0 || r.reads != 1 {
		t.Errorf("%+v after %d reads", got, r.reads)
	}
	if got := r.Facts(one); got.NoHigh.Version != "2.0" {
		t.Errorf("%+v", got)
	}
}

// Policy sees few of many, and the counts are of all.
func TestFactsAreBounded(t *testing.T) {
	r := newRig(t)
	one := r.publish("1.0", 1, "pkg:npm/a@1.0.0")
	var list []string
	for i := range 900 {
		list = append(list, record(fmt.Sprintf("A-%d", i), "01", "a", "2.0.0", rated("HIGH")))
	}
	r.load(list...)
	r.load(record("Z-1", "01", "a", "2.0.0", rated("CRITICAL")))
	r.compare()
	facts := r.Facts(one)
	if facts.Affecting.High != 900 || len(facts.List) != 20 || facts.List[0].ID != "Z-1" {
		t.Errorf("%d in the list of %+v", len(facts.List), facts.Affecting)
	}
	for i := range 2 {
		list = list[:0]
		for j := range 900 {
			list = append(list, record(fmt.Sprintf("B%d-%d", i, j), "01", "a", "2.0.0", ""))
		}
		r.load(list...)
	}
	r.compare()
	if o := r.overview(vuln.Query{}); len(o.Affected) != 1000 || o.More != 1701 {
		t.Errorf("%d, %d more", len(o.Affected), o.More)
	}
}
