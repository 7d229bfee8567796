package policies_test

import (
	"io/fs"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/format"

	"troth/policies"
	"troth/policy"
)

// minCoverage is the share of lines that the Rego tests must evaluate.
const minCoverage = 95.0

func TestBundleTests(t *testing.T) {
	report, err := policy.Test(t.Context(), policies.FS)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range report.Results {
		if r.Outcome != policy.Pass {
			t.Errorf("%s:%d: %s.%s: %s %s", r.File, r.Line, r.Package, r.Name, r.Outcome, r.Message)
		}
	}
	if !report.OK() {
		t.Errorf("%d passed, %d failed, %d skipped", report.Passed, report.Failed, report.Skipped)
	}
	t.Logf("%d tests, coverage %.1f %%", report.Passed, report.Coverage)
	if report.Coverage < minCoverage {
		t.Errorf("coverage is %.1f %%, below %.0f %%", report.Coverage, minCoverage)
	}
	for _, u := range report.Uncovered {
		t.Logf("not covered: %s:%d-%d", u.File, u.From, u.To)
	}
}

// Every control has a test of a pass, of a failure and of missing data.
func TestEveryControlIsTested(t *testing.T) {
	engine, err := policy.New(t.Context(), policies.FS, policy.Options{})
	if err != nil {
		t.Fatal(err)
	}
	report, err := policy.Test(t.Context(), policies.FS)
	if err != nil {
		t.Fatal(err)
	}
	if len(engine.Controls()) < 60 {
		t.Errorf("%d controls", len(engine.Controls()))
	}
	for _, c := range engine.Controls() {
		base := "test_" + strings.ReplaceAll(c.ID, "-", "_") + "_"
		for _, suffix := range []string{"pass", "fail", "missing"} {
			if !slices.ContainsFunc(report.Results, func(r policy.TestResult) bool { return strings.HasPrefix(r.Name, base+suffix) }) {
				t.Errorf("control %s has no %s", c.ID, base+suffix)
			}
		}
		if len(c.Frameworks) == 0 {
			t.Errorf("control %s serves no framework", c.ID)
		}
		if c.Theme == "" || c.Evidence == "" {
			t.Errorf("control %s does not say its theme and what its pass rests on", c.ID)
		}
	}
}

func TestModulesAreFormattedAndMirrorDirectories(t *testing.T) {
	err := fs.WalkDir(policies.FS, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || path.Ext(name) != ".rego" {
			return err
		}
		content, err := fs.ReadFile(policies.FS, name)
		if err != nil {
			return err
		}
		formatted, err := format.SourceWithOpts(name, content, format.Opts{RegoVersion: ast.RegoV1})
		if err != nil {
			return err
		}
		if string(formatted) != string(content) {
			t.Errorf("%s is not formatted as opa fmt does:\n%s", name, formatted)
		}
		module, err := ast.ParseModuleWithOpts(name, string(content), ast.ParserOptions{RegoVersion: ast.RegoV1})
		if err != nil {
			return err
		}
		want := "data." + strings.ReplaceAll(path.Dir(name), "/", ".")
		if strings.HasSuffix(name, "_test.rego") {
			want += "_test"
		}
		if got := module.Package.Path.String(); got != want {
			t.Errorf("%s is package %s, not %s", name, got, want)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
