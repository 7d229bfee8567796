package policy_test

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"troth/policies"
	"troth/policy"
)

func TestPosture(t *testing.T) {
	e := engine(t, policies.FS)
	cases := []struct {
		name    string
		change  func(*policy.PostureInput)
		verdict string
		failing []string // not passing
	}{
		{"all well", func(*policy.PostureInput) {}, policy.Compliant, nil},
		{"altered boot loader", func(in *policy.PostureInput) {
			in.Firmware.Known, in.Firmware.Version, in.Firmware.Counter, in.Firmware.Mismatches = false, "", 0, []int{4}
		}, policy.Noncompliant, []string{"firmware-current", "firmware-known", "firmware-reported"}},
		{"no security release installed, within grace", func(in *policy.PostureInput) {
			in.Firmware.LatestSecurityCounter = 4
		}, policy.Compliant, []string{"firmware-current"}},
		{"no security release installed, past grace", func(in *policy.PostureInput) {
			in.Firmware.LatestSecurityCounter = 4
			in.FailingSince = map[string]time.Time{"firmware-current": now.Add(-336 * time.Hour)}
		}, policy.Noncompliant, []string{"firmware-current"}},
		{"update rolled back", func(in *policy.PostureInput) {
			in.Update = policy.UpdateInput{State: "rolled-back", Version: "1.3.0", Error: "health check"}
		}, policy.Noncompliant, []string{"update-healthy"}},
		{"update in a state unheard of", func(in *policy.PostureInput) {
			in.Update.State = "splendid"
		}, policy.Undecided, []string{"update-healthy"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			in := healthy()
			c.change(&in)
			d, err := e.Posture(t.Context(), in)
			if err != nil {
				t.Fatal(err)
			}
			var failing []string
			for _, r := range d.Controls {
				if r.Failing() {
					failing = append(failing, r.ID)
				}
				if r.Title == "" || r.Severity == "" || r.Reason == "" || len(r.Frameworks) == 0 || r.Remediation == "" {
					t.Errorf("control %s lacks something: %+v", r.ID, r)
				}
			}
			if d.Verdict != c.verdict || !slices.Equal(failing, c.failing) {
				t.Errorf("verdict %s, failing %v; want %s, %v", d.Verdict, failing, c.verdict, c.failing)
			}
			if len(d.Controls) != len(e.Controls()) {
				t.Errorf("%d controls answered of %d", len(d.Controls), len(e.Controls()))
			}
		})
	}
}

// The zero value of an input, but for the time, is a device of which nothing is
// known.
func TestNothingKnownIsNothingAllowed(t *testing.T) {
	e := engine(t, policies.FS)
	p, err := e.Posture(t.Context(), policy.PostureInput{Now: now})
	if err != nil || p.Verdict == policy.Compliant {
		t.Errorf("posture: %s, %v", p.Verdict, err)
	}
	for _, c := range p.Controls {
		if c.Outcome == policy.Pass {
			t.Errorf("control %s passes", c.ID)
		}
	}
	if d, err := e.Enroll(t.Context(), policy.EnrollInput{Now: now}); err != nil || d.Allow || d.Code == "" {
		t.Errorf("enroll: %+v, %v", d, err)
	}
	if d, err := e.Access(t.Context(), policy.AccessInput{Now: now}); err != nil || d.Allow || d.Code == "" {
		t.Errorf("access: %+v, %v", d, err)
	}
	if d, err := e.Operator(t.Context(), policy.OperatorInput{}); err != nil || d.Allow || d.Code == "" {
		t.Errorf("operator: %+v, %v", d, err)
	}
	if d, err := e.Remediate(t.Context(), policy.RemediateInput{Now: now}); err != nil || len(d.Actions) != 0 {
		t.Errorf("remediate: %+v, %v", d, err)
	}
}

func TestPermissions(t *testing.T) {
	e := engine(t, policies.FS)
	if d, err := e.Enroll(t.Context(), newcomer()); err != nil || !d.Allow || d.Code != "" || d.Reason == "" || d.Answer() != "allow" {
		t.Errorf("enroll: %+v, %v", d, err)
	}
	in := newcomer()
	in.RequireRegistration = true
	if d, err := e.Enroll(t.Context(), in); err != nil || d.Allow || d.Code != "not_registered" || d.Answer() != "deny" {
		t.Errorf("enroll: %+v, %v", d, err)
	}
	if d, err := e.Access(t.Context(), visitor()); err != nil || !d.Allow {
		t.Errorf("access: %+v, %v", d, err)
	}
	stale := visitor()
	stale.VerdictAge = 901
	if d, err := e.Access(t.Context(), stale); err != nil || d.Allow || d.Code != "verdict_stale" {
		t.Errorf("access: %+v, %v", d, err)
	}
	if d, err := e.Operator(t.Context(), policy.OperatorInput{Operator: "ada", Role: "viewer", Action: "device.list"}); err != nil || !d.Allow {
		t.Errorf("operator: %+v, %v", d, err)
	}
	if d, err := e.Operator(t.Context(), policy.OperatorInput{Operator: "ada", Role: "viewer", Action: "device.retire"}); err != nil || d.Allow {
		t.Errorf("operator: %+v, %v", d, err)
	}
}

// The controls of a posture go into Remediate as they are.
func TestPostureThenRemediate(t *testing.T) {
	e := engine(t, policies.FS)
	in := healthy()
	in.Attestation.Verified = false
	in.Firmware.LatestSecurityCounter, in.Firmware.LatestCounter, in.Firmware.LatestVersion = 4, 4, "1.3.0"
	remediate := func() []policy.Action {
		t.Helper()
		p, err := e.Posture(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		d, err := e.Remediate(t.Context(), policy.RemediateInput{
			Now: in.Now, Evidence: in.Evidence, Device: in.Device, Verdict: p.Verdict, Controls: p.Controls, Firmware: in.Firmware,
		})
		if err != nil {
			t.Fatal(err)
		}
		return d.Actions
	}
	if got := remediate(); len(got) != 1 || got[0].Kind != policy.ActQuarantine || got[0].Control != "attestation-verified" {
		t.Errorf("unverified: %+v", got)
	}
	in.Attestation.Verified = true
	if got := remediate(); len(got) != 1 || got[0].Kind != policy.ActPropose || got[0].Release != "1.3.0" {
		t.Errorf("outdated: %+v", got)
	}
}

func TestLibraryIsReplacedByADirectory(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, policies.FS); err != nil {
		t.Fatal(err)
	}
	embedded, copied := engine(t, policies.FS), engine(t, os.DirFS(dir))
	if embedded.Digest() != copied.Digest() {
		t.Error("a copy of the bundle has another digest")
	}
	for name, content := range map[string]string{"README.md": "# Ours", ".git/config.json": "{", ".hidden.rego": "nonsense"} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if engine(t, os.DirFS(dir)).Digest() != copied.Digest() {
		t.Error("files that do not count change the digest")
	}
	if err := os.WriteFile(filepath.Join(dir, "config/data.json"), []byte(`{"access": {"max_age_seconds": 10}}`), 0o644); err != nil {
		t.Fatal(err)
	}
	changed := engine(t, os.DirFS(dir))
	if changed.Digest() == copied.Digest() {
		t.Error("another configuration has the same digest")
	}
	if d, err := changed.Access(t.Context(), visitor()); err != nil || d.Code != "verdict_stale" {
		t.Errorf("%+v, %v", d, err)
	}
}

// The digest as it is documented, made without the package.
func TestDigest(t *testing.T) {
	bundle := tiny(nil)
	names, err := fs.Glob(bundle, "troth/*.rego")
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	h := sha256.New()
	for _, name := range names {
		content, err := fs.ReadFile(bundle, name)
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range []string{name, string(content)} {
			h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
			h.Write([]byte(part))
		}
	}
	if got, want := engine(t, bundle).Digest(), hex.EncodeToString(h.Sum(nil)); got != want {
		t.Errorf("digest %s, want %s", got, want)
	}
}

func TestDecisionRestsOnItsInput(t *testing.T) {
	e := engine(t, policies.FS)
	in := healthy()
	d, err := e.Posture(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	document, err := policy.Document(in)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(document)
	want := policy.Meta{Policy: e.Digest(), Input: hex.EncodeToString(sum[:]), Evidence: in.Evidence, At: now}
	if d.Meta != want || d.Digests() != want {
		t.Errorf("meta %+v, want %+v", d.Meta, want)
	}

	// The same facts in another spelling are the same document.
	in.Now = in.Now.In(time.FixedZone("east", 3600))
	in.FailingSince = map[string]time.Time{}
	in.Attestation.Problems = []string{}
	in.Device.Labels = map[string]string{}
	if again, err := policy.Document(in); err != nil || string(again) != string(document) {
		t.Errorf("another spelling is another document (%v)", err)
	}
	if strings.Contains(string(document), "null") {
		t.Errorf("the document holds null: %s", document)
	}
}

func TestReplay(t *testing.T) {
	e := engine(t, policies.FS)
	posture := healthy()
	posture.Firmware.LatestSecurityCounter = 9
	p, err := e.Posture(t.Context(), posture)
	if err != nil {
		t.Fatal(err)
	}
	remediation := policy.RemediateInput{Now: now, Evidence: "ff", Device: posture.Device, Verdict: p.Verdict, Controls: p.Controls, Firmware: posture.Firmware}
	for _, c := range []struct {
		kind   policy.Kind
		in     policy.Input
		decide func() (policy.Decision, error)
	}{
		{policy.KindEnroll, newcomer(), func() (policy.Decision, error) { return e.Enroll(t.Context(), newcomer()) }},
		{policy.KindPosture, posture, func() (policy.Decision, error) { return e.Posture(t.Context(), posture) }},
		{policy.KindAccess, visitor(), func() (policy.Decision, error) { return e.Access(t.Context(), visitor()) }},
		{policy.KindRemediate, remediation, func() (policy.Decision, error) { return e.Remediate(t.Context(), remediation) }},
		{policy.KindOperator, policy.OperatorInput{Operator: "ada"}, func() (policy.Decision, error) {
			return e.Operator(t.Context(), policy.OperatorInput{Operator: "ada"})
		}},
	} {
		want, err := c.decide()
		if err != nil {
			t.Fatal(err)
		}
		document, err := policy.Document(c.in)
		if err != nil {
			t.Fatal(err)
		}
		got, err := e.Replay(t.Context(), c.kind, document)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v (%v), want %+v", c.kind, got, err, want)
		}
		if _, err := json.Marshal(got); err != nil || got.Answer() == "" {
			t.Errorf("%s: %q, %v", c.kind, got.Answer(), err)
		}
		for _, bad := range []string{"", "{", "[]", `{"now": 3}`} {
			if d, err := e.Replay(t.Context(), c.kind, []byte(bad)); err == nil || d.Answer() == "allow" || d.Answer() == policy.Compliant || d.Answer() == "act" {
				t.Errorf("%s of %q: %+v, %v", c.kind, bad, d, err)
			}
		}
	}
	if d, err := e.Replay(t.Context(), "weather", []byte(`{}`)); d != nil || !errors.Is(err, policy.ErrInput) {
		t.Errorf("%v, %v", d, err)
	}
}

func TestEngineIsSafeForConcurrentUse(t *testing.T) {
	e := engine(t, policies.FS)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			in := healthy()
			in.Attestation.SecureBoot.Enabled = i%2 == 0
			want := policy.Compliant
			if i%2 != 0 {
				want = policy.Noncompliant
			}
			for range 5 {
				if d, err := e.Posture(t.Context(), in); err != nil || d.Verdict != want {
					t.Errorf("%s, %v", d.Verdict, err)
				}
			}
		})
	}
	wg.Wait()
}

func TestControls(t *testing.T) {
	e := engine(t, policies.FS)
	c, ok := e.Control("firmware-current")
	if !ok || c.Grace != 336*time.Hour || c.Remediation != policy.RemedyPatch || c.Severity != "high" ||
		c.Title == "" || c.Description == "" || len(c.Frameworks["ETSI EN 303 645"]) == 0 || c.File != "troth/posture/firmware.rego" || c.Line == 0 {
		t.Errorf("%+v", c)
	}
	if c, _ := e.Control("firmware-known"); c.Grace != 0 || c.Remediation != policy.RemedyQuarantine || c.Severity != "critical" {
		t.Errorf("%+v", c)
	}
	if _, ok := e.Control("nonsense"); ok {
		t.Error("there is a control nonsense")
	}
	if !slices.IsSortedFunc(e.Controls(), func(a, b policy.ControlMeta) int { return strings.Compare(a.ID, b.ID) }) {
		t.Error("controls are not sorted")
	}
}

func TestNewRefuses(t *testing.T) {
	meta := func(lines string) string {
		return "package troth.posture\ndecision := {\"verdict\": \"error\", \"controls\": controls}\n" + lines + "controls contains {\"id\": \"a\"}\n"
	}
	for name, c := range map[string]struct {
		bundle fs.FS
		says   string
	}{
		"nothing":                {fstest.MapFS{}, "data.troth.enroll.decision"},
		"missing document":       {tiny(map[string]string{"access": "package troth.access\n"}), "data.troth.access.decision"},
		"document by two rules":  {tiny(map[string]string{"more": "package troth.access\ndecision := {\"allow\": false} if input.x\n"}), "not 2 with 0"},
		"document as a function": {tiny(map[string]string{"access": "package troth.access\ndecision(_) := 1\n"}), "function"},
		"document of defaults":   {tiny(map[string]string{"access": "package troth.access\ndefault decision := {\"allow\": true, \"code\": \"\", \"reason\": \"Yes.\"}\n"}), "not 0 with 1"},
		"syntax":                 {tiny(map[string]string{"more": "package p\np := \n"}), "parse troth/more.rego"},
		"Rego v0":                {tiny(map[string]string{"more": "package p\np { input.x }\n"}), "parse troth/more.rego"},
		"unused import":          {tiny(map[string]string{"more": "package p\nimport data.troth.lib\n"}), "unused"},
		"control without metadata": {tiny(map[string]string{"more": "package troth.posture\ncontrols contains {\"id\": \"b\"}\n"}),
			"METADATA"},
		"control twice":      {tiny(map[string]string{"more": "package troth.posture\n" + control("a", "{}")}), "already in"},
		"control untitled":   {tiny(map[string]string{"posture": meta("# METADATA\n# custom:\n#   id: a\n")}), "title"},
		"unknown severity":   {tiny(map[string]string{"posture": meta("# METADATA\n# title: A\n# description: A.\n# custom:\n#   id: a\n#   severity: dire\n#   remediation: none\n")}), "severity"},
		"unknown remedy":     {tiny(map[string]string{"posture": meta("# METADATA\n# title: A\n# description: A.\n# custom:\n#   id: a\n#   severity: low\n#   remediation: pray\n")}), "remediation"},
		"misspelled grace":   {tiny(map[string]string{"posture": meta("# METADATA\n# title: A\n# description: A.\n# custom:\n#   id: a\n#   severity: low\n#   remediation: none\n#   gracce: 1h\n")}), "mean nothing"},
		"grace in days":      {tiny(map[string]string{"posture": meta("# METADATA\n# title: A\n# description: A.\n# custom:\n#   id: a\n#   severity: low\n#   remediation: none\n#   grace: 14d\n")}), "grace"},
		"negative grace":     {tiny(map[string]string{"posture": meta("# METADATA\n# title: A\n# description: A.\n# custom:\n#   id: a\n#   severity: low\n#   remediation: none\n#   grace: -1h\n")}), "grace"},
		"id with capitals":   {tiny(map[string]string{"posture": meta("# METADATA\n# title: A\n# description: A.\n# custom:\n#   id: A\n#   severity: low\n#   remediation: none\n")}), "id"},
		"framework a number": {tiny(map[string]string{"posture": meta("# METADATA\n# title: A\n# description: A.\n# custom:\n#   id: a\n#   severity: low\n#   remediation: none\n#   frameworks:\n#     X: [4.1]\n")}), "quote it"},
		"data below troth":   {library(t, map[string]string{"troth/access/data.json": `{"decision": {"allow": true}}`}), "data below troth"},
		"data that is troth": {library(t, map[string]string{"data.json": `{"troth": {}}`}), "data below troth"},
		"data no object":     {library(t, map[string]string{"data.json": `[]`}), "object"},
		"data twice":         {library(t, map[string]string{"data.json": `{"config": {"access": {"max_age_seconds": 1}}}`}), "already there"},
		"data and more":      {library(t, map[string]string{"x/data.json": `{} {}`}), "follows"},
		"data misnamed":      {library(t, map[string]string{"config/access.json": `{}`}), "data.json"},
		"data in YAML":       {library(t, map[string]string{"config/data.yaml": `{}`}), "data.json"},
		"data under a rule":  {library(t, map[string]string{"acme.rego": "package acme\nx := 1\n", "acme/data.json": `{"x": 2}`}), "conflict"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := policy.New(t.Context(), c.bundle, policy.Options{})
			if !errors.Is(err, policy.ErrBundle) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want one that says %q", err, c.says)
			}
		})
	}
	if _, err := policy.New(t.Context(), policies.FS, policy.Options{Deadline: -1}); err == nil {
		t.Error("a negative deadline is taken")
	}
}

func TestSymbolicLinksAreRefused(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, policies.FS); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/hostname", filepath.Join(dir, "more.rego")); err != nil {
		t.Fatal(err)
	}
	if _, err := policy.New(t.Context(), os.DirFS(dir), policy.Options{}); !errors.Is(err, policy.ErrBundle) {
		t.Errorf("got %v", err)
	}
}
