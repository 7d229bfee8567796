package report_test

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"troth/internal/fleet"
	"troth/internal/report"
	"troth/internal/store"
)

var update = flag.Bool("update", false, "write the golden files anew")

var now = time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)

func id(digit string) fleet.DeviceID { return fleet.DeviceID(strings.Repeat(digit, 64)) }

// hostile is what a device may call itself.
const hostile = `=HYPERLINK("http://evil","x")<script>alert(1)</script>"'` + "\u202e"

func control(name string, o fleet.Outcome) fleet.Control {
	return fleet.Control{
		ID: name, Title: "The " + name, Severity: fleet.High, Outcome: o, Reason: "it is " + string(o),
		Frameworks: map[string][]string{"NIST SP 800-193": {"4.2", "4.3"}},
	}
}

// population is a device of each kind that a report must tell apart.
func population(t *testing.T) *report.Service {
	t.Helper()
	s, err := store.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "troth.db")+"?synchronous=normal")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	fresh, stale := now.Add(time.Minute), now.Add(-time.Minute)
	since, soon := now.Add(-time.Hour), now.Add(time.Hour)
	late := control("patch", fleet.Fail)
	late.Since, late.EnforcedAt = &since, &soon
	failed := control("boot", fleet.Fail)
	failed.Since, failed.EnforcedAt = &since, &since
	add := func(digit string, d fleet.Device, controls ...fleet.Control) {
		d.ID, d.Model = id(digit), "edge"
		c := fleet.Change{Devices: []fleet.Device{d}}
		if controls != nil {
			c.Posture = &fleet.Posture{Device: d.ID, At: now.Add(-2 * time.Minute), Verdict: d.Verdict, Controls: controls, Evidence: strings.Repeat("e", 64), Decision: "decision-" + digit}
		}
		if err := s.Apply(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	add("1", fleet.Device{Name: "good", Lifecycle: fleet.Active, Verdict: fleet.Compliant, FreshUntil: fresh}, control("boot", fleet.Pass), late)
	add("2", fleet.Device{Name: hostile, Lifecycle: fleet.Quarantined, Verdict: fleet.Noncompliant, FreshUntil: fresh}, failed, control("patch", fleet.Errored))
	add("3", fleet.Device{Name: "stale", Lifecycle: fleet.Active, Verdict: fleet.Compliant, FreshUntil: stale}, control("boot", fleet.Pass), control("patch", fleet.Pass))
	add("4", fleet.Device{Lifecycle: fleet.Active, Verdict: fleet.Undecided, FreshUntil: fresh}, control("boot", fleet.NotApplicable))
	add("5", fleet.Device{Name: "mute", Lifecycle: fleet.Active, Verdict: fleet.Unknown})
	add("6", fleet.Device{Name: "expected", Lifecycle: fleet.Pending, Verdict: fleet.Unknown})
	add("7", fleet.Device{Name: "sold", Lifecycle: fleet.Retired, Verdict: fleet.Unknown}, control("boot", fleet.Pass))
	return &report.Service{Store: s, Policy: func() string { return strings.Repeat("b", 64) }, Now: func() time.Time { return now }}
}

func build(t *testing.T) report.Compliance {
	t.Helper()
	r, err := population(t).Compliance(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Nobody is missing without a word.
func TestPopulationAddsUp(t *testing.T) {
	p := build(t).Population
	want := report.Population{
		Registered: 1, Enrolled: 5, Quarantined: 1, Retired: 1, Evaluated: 3,
		Compliant: 1, Noncompliant: 1, Undecided: 1, Stale: 1, NeverSeen: 1,
	}
	if p != want {
		t.Errorf("population %+v, want %+v", p, want)
	}
	if p.Evaluated+p.Stale+p.NeverSeen != p.Enrolled || p.Compliant+p.Noncompliant+p.Undecided != p.Evaluated {
		t.Errorf("%+v does not add up", p)
	}
}

func TestStaleIsNeverAPass(t *testing.T) {
	r := build(t)
	for _, l := range r.Lines {
		if l.Name == "stale" && (l.Outcome != "unknown" || l.Verdict != "unknown") {
			t.Errorf("stale: %+v", l)
		}
		if l.Name == "sold" {
			t.Error("a retired device has lines")
		}
	}
	for _, c := range r.Controls {
		if n := c.Pass + c.Fail + c.InGrace + c.Error + c.NotApplicable + c.Unknown; n != map[string]int{"boot": 4, "patch": 3}[c.ID] {
			t.Errorf("%s counts %d devices: %+v", c.ID, n, c)
		}
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is another; run with -update and read the difference:\n%s", path, got)
	}
}

func TestJSON(t *testing.T) {
	var out bytes.Buffer
	if err := build(t).WriteJSON(&out); err != nil {
		t.Fatal(err)
	}
	golden(t, "compliance.json", out.Bytes())
	var back report.Compliance
	if err := json.Unmarshal(out.Bytes(), &back); err != nil || len(back.Lines) != 7 {
		t.Errorf("%d lines, %v", len(back.Lines), err)
	}
}

func TestAttack_S3_SpreadsheetFormulas(t *testing.T) {
	var out bytes.Buffer
	if err := build(t).WriteCSV(&out); err != nil {
		t.Fatal(err)
	}
	golden(t, "compliance.csv", out.Bytes())
	rows, err := csv.NewReader(&out).ReadAll()
	if err != nil || len(rows) != 8 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	found := false
	for _, row := range rows {
		for _, cell := range row {
			if cell != "" && strings.ContainsAny(cell[:1], "=+-@\t\r\n") {
				t.Errorf("a spreadsheet would calculate %q", cell)
			}
			found = found || cell == "'"+hostile
		}
	}
	if !found {
		t.Error("the name is not there as it is")
	}
}

func TestAttack_S3_Markup(t *testing.T) {
	var out bytes.Buffer
	if err := build(t).WriteHTML(&out); err != nil {
		t.Fatal(err)
	}
	page := out.String()
	if strings.Contains(page, "<script") || strings.Contains(page, `="x"`) || !strings.Contains(page, "&lt;script&gt;") {
		t.Error("the device's markup is in the page")
	}
	for _, want := range []string{"5</b>enrolled", "1</b>stale", "never checked in", "fail in grace", strings.Repeat("e", 64), strings.Repeat("b", 64)} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	for _, outside := range []string{"src=", "href=", "@import", "url("} {
		if strings.Contains(page, outside) {
			t.Errorf("the page loads something: %s", outside)
		}
	}
}

func TestEmptyFleet(t *testing.T) {
	s, err := store.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "troth.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	r, err := (&report.Service{Store: s, Policy: func() string { return "" }, Now: func() time.Time { return now }}).Compliance(t.Context())
	if err != nil || r.Controls == nil || r.Lines == nil {
		t.Fatalf("%+v, %v", r, err)
	}
	var page bytes.Buffer
	if err := r.WriteHTML(&page); err != nil || !strings.Contains(page.String(), "No device has checked in yet") {
		t.Errorf("%v", err)
	}
}
