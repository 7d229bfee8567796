package osv_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/fstest"

	"troth/osv"
)

// bom is a CycloneDX document of the package URLs.
func bom(purls ...string) []byte {
	var parts []string
	for _, p := range purls {
		parts = append(parts, fmt.Sprintf(`{"type":"library","name":"x","purl":%q}`, p))
	}
	return []byte(`{"bomFormat":"CycloneDX","specVersion":"1.6","components":[` + strings.Join(parts, ",") + `]}`)
}

func lines(rows ...string) fstest.MapFS {
	return fstest.MapFS{"feed.jsonl": {Data: []byte(strings.Join(rows, "\n"))}}
}

func row(id, names, purl, rest string) string {
	return fmt.Sprintf(`{"id":%q,"modified":"2026-01-02T03:04:05Z",%s"affected":[{"package":{"ecosystem":"npm","name":%q},"ranges":[{"type":"SEMVER","events":[{"introduced":"0"},{"fixed":"2.0.0"}]}]}]%s}`, id, names, purl, rest)
}

func TestScanSBOM(t *testing.T) {
	const critical = `,"severity":[{"type":"CVSS_V3","score":"CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}]`
	feed := lines(
		row("GHSA-1", `"aliases":["CVE-2026-1"],`, "a", `,"database_specific":{"severity":"LOW"}`),
		row("OTHER-1", `"aliases":["GHSA-1"],`, "a", critical),
		row("GHSA-2", `"upstream":["CVE-2026-2"],`, "a", ``),
		`{"id":"CVE-2026-2","modified":"2026-01-02T03:04:05Z"`+critical+`}`,
		row("GHSA-3", ``, "b", ``),
		row("GHSA-4", ``, "c", ``),
		`{"id":"GHSA-5","modified":"2026-01-02T03:04:05Z","withdrawn":"2026-01-03T03:04:05Z","affected":[{"package":{"ecosystem":"npm","name":"a"},"versions":["1.0.0"]}]}`,
		"nonsense",
	)
	got, err := osv.ScanSBOM(bom("pkg:npm/a@1.0.0", "pkg:npm/b@latest", "pkg:npm/c@2.0.0", "pkg:npm/a@1.0.0", "no purl"), feed, "feed.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	var said []string
	for _, f := range got.Findings {
		said = append(said, fmt.Sprintf("%s %v %s %s %s %t", f.ID, f.Names, f.Severity, f.Component, f.Fixed, f.Undecided != ""))
	}
	want := []string{
		"CVE-2026-1 [GHSA-1 OTHER-1] critical pkg:npm/a@1.0.0 2.0.0 false",
		"CVE-2026-2 [GHSA-2] critical pkg:npm/a@1.0.0 2.0.0 false",
		"GHSA-3 [] unrated pkg:npm/b@latest  true",
	}
	if strings.Join(said, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(said, "\n"), strings.Join(want, "\n"))
	}
	if got.Components != 3 || got.Nameless != 1 || got.Records != 7 || got.Refused != 1 {
		t.Errorf("%+v", got)
	}
}

// An advisory that several vulnerabilities stand behind makes none of them another.
func TestAdvisoryOfSeveralVulnerabilities(t *testing.T) {
	feed := lines(
		row("DSA-1", `"upstream":["CVE-2026-1","CVE-2026-2"],`, "a", ``),
		row("D-CVE-1", `"upstream":["CVE-2026-1"],`, "a", ``),
		row("D-CVE-2", `"upstream":["CVE-2026-2"],`, "a", ``),
	)
	got, err := osv.ScanSBOM(bom("pkg:npm/a@1.0.0"), feed, "feed.jsonl")
	if err != nil || len(got.Findings) != 3 {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestAttack_S2_CyclicAliases: a ring of aliases is one vulnerability, and ends.
func TestAttack_S2_CyclicAliases(t *testing.T) {
	const n = 5000
	var rows []string
	for i := range n {
		rows = append(rows, row(fmt.Sprintf("A-%d", i), fmt.Sprintf(`"aliases":["A-%d","A-%d"],`, (i+1)%n, i), "a", ``))
	}
	got, err := osv.ScanSBOM(bom("pkg:npm/a@1.0.0"), lines(rows...), "feed.jsonl")
	if err != nil || len(got.Findings) != 1 || len(got.Findings[0].Names) != n-1 {
		t.Errorf("%d findings, %v", len(got.Findings), err)
	}
}

func TestAttack_S2_HostileSBOMs(t *testing.T) {
	for name, text := range map[string]string{
		"empty":         "",
		"not CycloneDX": `{"bomFormat":"SPDX","components":[]}`,
		"not JSON":      "<bom/>",
		"deep":          `{"bomFormat":"CycloneDX","components":[` + strings.Repeat(`{"components":[`, 100) + strings.Repeat(`]}`, 100) + `]}`,
		"deeper":        `{"bomFormat":"CycloneDX","components":[` + strings.Repeat(`{"components":[`, 100_000) + strings.Repeat(`]}`, 100_000) + `]}`,
		"too many":      `{"bomFormat":"CycloneDX","components":[{}` + strings.Repeat(",{}", osv.MaxComponents) + `]}`,
		"too long":      `{"bomFormat":"CycloneDX","x":"` + strings.Repeat("x", osv.MaxSBOMBytes) + `"}`,
	} {
		if got, err := osv.ParseSBOM(strings.NewReader(text)); !errors.Is(err, osv.ErrSBOM) {
			t.Errorf("%s: %d components, %v", name, len(got.Components), err)
		}
	}
	got, err := osv.ParseSBOM(strings.NewReader(`{"bomFormat":"CycloneDX","components":[{"purl":"pkg:npm/` + strings.Repeat("x", 5000) + `@1"},{"purl":"\u001b[2J"},{"type":"file","purl":""},{"purl":"pkg:npm/a@1","components":[{"purl":"pkg:npm/b@1"}]}]}`))
	if err != nil || got.Nameless != 2 || len(got.Components) != 2 {
		t.Errorf("%+v, %v", got, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(text("A-1")))
	f.Add([]byte(row("A-1", `"aliases":["CVE-1"],"summary":"x\ny",`, "a", `,"severity":[{"type":"CVSS_V3","score":"CVSS:3.1/AV:N"}],"database_specific":{"severity":"HIGH"}`)))
	f.Add([]byte(`{"id":"A","modified":"2026-01-02T03:04:05+23:00","withdrawn":"2026-01-02T03:04:05Z","affected":[{"package":{"ecosystem":"Debian:12","name":"x","purl":"pkg:deb/debian/x"},"versions":["1"],"ecosystem_specific":{"urgency":"low"}}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := osv.Parse(text)
		if err != nil {
			if !errors.Is(err, osv.ErrRecord) {
				t.Fatal(err)
			}
			return
		}
		r.Rating()
		again, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if len(again) > osv.MaxRecordBytes { // escapes may be longer than what they stand for
			return
		}
		s, err := osv.Parse(again)
		if err != nil {
			t.Fatalf("its own JSON is refused: %v\n%s", err, again)
		}
		third, err := json.Marshal(s)
		if err != nil || string(third) != string(again) {
			t.Fatalf("%s became %s, %v", again, third, err)
		}
	})
}

// FuzzJudge gives hostile versions to every ecosystem's order.
func FuzzJudge(f *testing.F) {
	for _, kind := range []string{"npm", "golang", "pypi", "maven", "cargo", "gem", "nuget", "composer", "deb/debian", "apk/alpine", "rpm/redhat", "generic", "hex", "conan"} {
		for _, v := range []string{"1.0", "v1.2.3-rc.1+b", "1:2.3~x-4", "2.0.dev1!x", "0", "*", "1.x", "1-a-b", "999999999999999999999999.1"} {
			f.Add("pkg:"+kind+"/x@"+v, "1.0", v, "2.0")
		}
	}
	f.Fuzz(func(t *testing.T, purl, introduced, fixed, listed string) {
		c, err := osv.ParseComponent(purl)
		if err != nil {
			return
		}
		for _, key := range c.Keys() {
			ecosystem, name, _ := strings.Cut(key, "/")
			r := osv.Record{ID: "A", Affected: []osv.Affected{{
				Package: osv.Package{Ecosystem: ecosystem, Name: name, PURL: purl}, Versions: []string{listed},
				Ranges: []osv.Range{{Type: "ECOSYSTEM", Events: []osv.Event{{Introduced: introduced}, {Fixed: fixed}}}, {Type: "SEMVER", Events: []osv.Event{{Introduced: "0"}, {LastAffected: fixed}, {Limit: listed}}}},
			}}}
			if a := r.Judge(c); a.Outcome == osv.Undecided && a.Reason == "" {
				t.Fatalf("%+v", a)
			}
		}
	})
}
