package preview_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"troth/internal/evidence"
	"troth/internal/fleet"
	"troth/internal/preview"
	"troth/internal/store"
	"troth/policies"
	"troth/policy"
)

var now = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

// engine is the library with one control in place of all of its own.
func engine(t testing.TB, finding string) *policy.Engine {
	t.Helper()
	fsys := fstest.MapFS{"troth/posture/posture.rego": {Data: []byte(`package troth.posture

import data.troth.lib

# METADATA
# title: Ours
# description: What a test wants.
# scope: rule
# custom:
#   id: ours
#   severity: high
#   remediation: quarantine
controls contains lib.control(rego.metadata.rule(), ours)

default verdict := "compliant"

verdict := "noncompliant" if {
	some c in controls
	c.outcome == "fail"
}

decision := {"verdict": verdict, "controls": controls}

` + finding)}}
	err := fs.WalkDir(policies.FS, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(name, "_test.rego") || strings.HasPrefix(name, "troth/posture/") {
			return err
		}
		content, err := fs.ReadFile(policies.FS, name)
		fsys[name] = &fstest.MapFile{Data: content}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	e, err := policy.New(t.Context(), fsys, policy.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

const (
	lenient = `ours := lib.pass("It is so.")`
	stern   = `ours := lib.fail("The model is not allowed.") if input.device.model == "edge-200"
else := lib.pass("It is so.")`
	wordy    = `ours := lib.pass("It is quite so.")`
	partial  = `ours := lib.pass("It is so.") if input.device.model == "edge-100"`
	patience = `ours := lib.fail(input.device.name)`
)

func open(t testing.TB) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "troth.db")+"?synchronous=normal")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// record decides on a device by e and keeps that as the service does.
func record(t testing.TB, s *store.Store, e *policy.Engine, n int, at time.Time, revision int64) fleet.Change {
	t.Helper()
	model := []string{"edge-100", "edge-200"}[n%2]
	d := fleet.Device{
		ID: fleet.DeviceID(fmt.Sprintf("%064x", n)), Name: fmt.Sprintf("device-%03d", n), Model: model, Labels: map[string]string{"group": fmt.Sprintf("hall-%d", n%3)},
		Lifecycle: fleet.Active, Revision: revision,
	}
	in := policy.PostureInput{Now: at, Device: policy.DeviceInput{ID: string(d.ID), Name: d.Name, Model: d.Model, Labels: d.Labels, Lifecycle: string(d.Lifecycle)}}
	decided, err := e.Posture(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	kept, input, err := evidence.Record("posture", d.ID, in, decided)
	if err != nil {
		t.Fatal(err)
	}
	p := fleet.Posture{Device: d.ID, At: at, Verdict: fleet.Verdict(decided.Verdict), Decision: kept.ID}
	for _, c := range decided.Controls {
		p.Controls = append(p.Controls, fleet.Control{ID: c.ID, Outcome: fleet.Outcome(c.Outcome), Reason: c.Reason, Since: c.Since, EnforcedAt: c.EnforcedAt})
	}
	return fleet.Change{Devices: []fleet.Device{d}, Posture: &p, Decisions: []fleet.Decision{kept}, Blobs: []fleet.Blob{input}}
}

func fill(t testing.TB, s *store.Store, e *policy.Engine, n int) {
	t.Helper()
	for i := range n {
		if err := s.Apply(t.Context(), record(t, s, e, i, now, 0)); err != nil {
			t.Fatal(err)
		}
	}
}

func run(t testing.TB, s *preview.Service, e *policy.Engine, o preview.Options) preview.Report {
	t.Helper()
	last := -1
	r, err := s.Run(t.Context(), e, o, func(done, total int) {
		if done < last || done > total {
			t.Errorf("progress goes from %d to %d of %d", last, done, total)
		}
		last = done
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestPreview(t *testing.T) {
	s := open(t)
	fill(t, s, engine(t, lenient), 500)
	p := preview.New(s, func() time.Time { return now })

	same := run(t, p, engine(t, lenient), preview.Options{})
	if same.Decisions != 500 || same.Devices != 500 || same.Counts != (preview.Counts{Same: 500}) || len(same.Controls) != 0 || len(same.NewlyFailing) != 0 {
		t.Errorf("the same policy: %+v", same)
	}

	candidate := engine(t, stern)
	r := run(t, p, candidate, preview.Options{Named: 20})
	if r.Policy != candidate.Digest() || r.Counts != (preview.Counts{Same: 250, NewlyFailing: 250}) {
		t.Fatalf("%+v", r.Counts)
	}
	if len(r.Models) != 2 || r.Models[0] != (preview.Group{Name: "edge-100", Counts: preview.Counts{Same: 250}}) || r.Models[1].NewlyFailing != 250 {
		t.Errorf("models %+v", r.Models)
	}
	if len(r.Groups) != 3 || r.Groups[0].Name != "hall-0" || r.Groups[0].Same+r.Groups[0].NewlyFailing != 167 {
		t.Errorf("groups %+v", r.Groups)
	}
	if len(r.Controls) != 1 || r.Controls[0] != (preview.Control{ID: "ours", NewlyFailing: 250}) {
		t.Errorf("controls %+v", r.Controls)
	}
	if len(r.Actions) != 1 || r.Actions[0] != (preview.Action{Kind: policy.ActQuarantine, Control: "ours", Devices: 250}) {
		t.Errorf("actions %+v", r.Actions)
	}
	if len(r.NewlyFailing) != 20 {
		t.Fatalf("%d devices are named", len(r.NewlyFailing))
	}
	d := r.NewlyFailing[0]
	if d.Model != "edge-200" || d.Before != fleet.Compliant || d.After != fleet.Noncompliant || len(d.Changes) != 1 || d.Changes[0].AfterReason != "The model is not allowed." || d.Actions[0] != policy.ActQuarantine {
		t.Errorf("%+v", d)
	}

	if r := run(t, p, engine(t, wordy), preview.Options{}); r.Counts != (preview.Counts{Changed: 500}) || r.Controls[0].Reasons != 500 {
		t.Errorf("other words: %+v", r.Counts)
	}
	r = run(t, p, engine(t, partial), preview.Options{})
	if r.Counts != (preview.Counts{Same: 250, NewlyFailing: 250, Undecided: 250}) || len(r.Problems) != 1 || r.Problems[0].Count != 250 || !strings.Contains(r.Problems[0].Message, "ours") {
		t.Errorf("what cannot be decided does not pass: %+v, %+v", r.Counts, r.Problems)
	}
	if r := run(t, p, engine(t, lenient), preview.Options{GroupBy: "site"}); r.GroupBy != "site" || len(r.Groups) != 1 || r.Groups[0].Name != "" {
		t.Errorf("by another label: %+v", r.Groups)
	}
	// Nothing of it was written.
	if devices, err := s.Postures(t.Context(), []fleet.DeviceID{fleet.DeviceID(fmt.Sprintf("%064x", 1))}); err != nil || devices[fleet.DeviceID(fmt.Sprintf("%064x", 1))].Verdict != fleet.Compliant {
		t.Errorf("%v, %v", devices, err)
	}
}

// The other way round, and with what was decided before.
func TestPreviewSince(t *testing.T) {
	s := open(t)
	strict := engine(t, stern)
	fill(t, s, strict, 10)
	for hour := 1; hour <= 3; hour++ {
		if err := s.Apply(t.Context(), record(t, s, strict, 1, now.Add(time.Duration(hour)*time.Hour), int64(hour))); err != nil {
			t.Fatal(err)
		}
	}
	p := preview.New(s, func() time.Time { return now })
	r := run(t, p, engine(t, lenient), preview.Options{Since: now.Add(time.Minute)})
	if r.Decisions != 3 || r.Devices != 1 || r.Counts != (preview.Counts{NewlyPassing: 3}) || len(r.NewlyPassing) != 3 {
		t.Errorf("%+v", r)
	}
	if r := run(t, p, engine(t, lenient), preview.Options{Since: now}); r.Decisions != 13 || r.Devices != 10 {
		t.Errorf("%+v", r)
	}
	if r := run(t, p, engine(t, lenient), preview.Options{}); r.Decisions != 10 || r.Counts.NewlyPassing != 5 {
		t.Errorf("%+v", r)
	}
}

func TestPreviewEndsWithItsContext(t *testing.T) {
	s := open(t)
	fill(t, s, engine(t, lenient), 300)
	p := preview.New(s, func() time.Time { return now })
	ctx, cancel := context.WithCancel(t.Context())
	release, err := p.Reserve()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Reserve(); fleet.CodeOf(err) != "preview_busy" {
		t.Errorf("another one: %v", err)
	}
	_, err = p.Run(ctx, engine(t, patience), preview.Options{}, func(done, _ int) {
		if done > 0 {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	release()
	if release, err = p.Reserve(); err != nil {
		t.Error(err)
	}
	release()
}
