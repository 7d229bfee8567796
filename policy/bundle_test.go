package policy_test

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"troth/policies"
	"troth/policy"
)

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
		"document by two rules":  {tiny(map[string]string{"more": "package troth.access\ndecision := {\"allow\": false} if input.action == \"x\"\n"}), "not 2 with 0"},
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
