package fleet_test

import (
	"slices"
	"testing"
	"time"

	"troth/internal/fleet"
)

func TestIdentify(t *testing.T) {
	catalog := fleet.Catalog{
		{Model: "edge", Version: "1.0", Counter: 1, Reference: fleet.ReferencePCRs{0: "aa", 4: "b1", 9: "c1"}},
		{Model: "edge", Version: "2.0", Counter: 2, Security: true, Reference: fleet.ReferencePCRs{0: "aa", 4: "b2", 9: "c2"}},
		{Model: "edge", Version: "2.1", Counter: 3, Reference: fleet.ReferencePCRs{0: "aa", 4: "b2", 9: "c2"}}, // the same image, published again
		{Model: "hub", Version: "9.0", Counter: 9, Reference: fleet.ReferencePCRs{0: "aa"}},
		{Model: "bare", Version: "1.0", Counter: 1},
	}
	tests := []struct {
		name    string
		model   string
		pcrs    map[int]string
		version string
		known   bool
		wrong   []int
	}{
		{"an old release", "edge", map[int]string{0: "aa", 4: "b1", 9: "c1", 10: "x"}, "1.0", true, nil},
		{"two that match: the later", "edge", map[int]string{0: "aa", 4: "b2", 9: "c2"}, "2.1", true, nil},
		{"an altered boot loader", "edge", map[int]string{0: "aa", 4: "xx", 9: "c1"}, "1.0", false, []int{4}},
		{"a PCR that was not quoted", "edge", map[int]string{0: "aa", 4: "b1"}, "1.0", false, []int{9}},
		{"another model's firmware", "hub", map[int]string{0: "ab", 4: "b1", 9: "c1"}, "9.0", false, []int{0}},
		{"no reference values match nothing", "bare", map[int]string{0: "aa"}, "1.0", false, nil},
		{"a model without releases", "toaster", map[int]string{0: "aa"}, "", false, nil},
	}
	for _, tt := range tests {
		r, known, wrong := catalog.Identify(tt.model, tt.pcrs)
		if r.Version != tt.version || known != tt.known || !slices.Equal(wrong, tt.wrong) {
			t.Errorf("%s: %s known %v wrong %v, want %s %v %v", tt.name, r.Version, known, wrong, tt.version, tt.known, tt.wrong)
		}
	}
	if r, ok := catalog.Latest("edge"); !ok || r.Version != "2.1" {
		t.Errorf("latest %v %v", r.Version, ok)
	}
	if r, ok := catalog.LatestSecurity("edge"); !ok || r.Version != "2.0" {
		t.Errorf("latest security release %v %v", r.Version, ok)
	}
	if _, ok := catalog.LatestSecurity("hub"); ok {
		t.Error("a security release where there is none")
	}
	if _, ok := catalog.Find("hub", "1.0"); ok {
		t.Error("found another model's release")
	}
}

func TestSameOutcomes(t *testing.T) {
	at := now
	base := posture(control("a", fleet.Pass), control("b", fleet.Fail))
	base.Controls[1].Since = &at
	differ := map[string]func(*fleet.Posture){
		"verdict":         func(p *fleet.Posture) { p.Verdict = fleet.Compliant },
		"outcome":         func(p *fleet.Posture) { p.Controls[0].Outcome = fleet.Errored },
		"reason":          func(p *fleet.Posture) { p.Controls[1].Reason = "another" },
		"control dropped": func(p *fleet.Posture) { p.Controls = p.Controls[:1] },
		"control renamed": func(p *fleet.Posture) { p.Controls[0].ID = "c" },
	}
	for name, change := range differ {
		q := base
		q.Controls = slices.Clone(base.Controls)
		change(&q)
		if base.SameOutcomes(q) || q.SameOutcomes(base) {
			t.Errorf("a posture with another %s says the same", name)
		}
	}
	q := base
	q.Controls = slices.Clone(base.Controls)
	later := now.Add(time.Hour)
	q.At, q.Evidence, q.Decision, q.Controls[1].Since = later, "other", "other", &later
	if !base.SameOutcomes(q) {
		t.Error("fresh evidence of the same state says something new")
	}
	if since := base.FailingSince(); len(since) != 1 || !since["b"].Equal(now) {
		t.Errorf("failing since %v", since)
	}
}
