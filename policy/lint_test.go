package policy_test

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"troth/policies"
	"troth/policy"
)

func TestBuiltInLibraryIsClean(t *testing.T) {
	problems, err := policy.Lint(t.Context(), policies.FS)
	if err != nil || len(problems) != 0 {
		t.Errorf("%v, %v", problems, err)
	}
	checked, err := policy.Check(t.Context(), policies.FS)
	if err != nil || !checked.OK || len(checked.Problems) != 0 || checked.Controls < 12 || checked.Policy != engine(t, policies.FS).Digest() {
		t.Errorf("%+v, %v", checked, err)
	}
}

const example = `package troth.posture

import data.troth.lib

# METADATA
# title: An example
# description: Shows how it is done.
# scope: rule
# custom:
#   id: example
#   severity: low
#   remediation: none
#   frameworks:
#     EU CRA: ["Annex I"]
controls contains lib.control(rego.metadata.rule(), example)

example := lib.pass("Well.") if {
	input.attestation.verified == true
} else := lib.undecided("Odd.")
`

const exampleTests = `package troth.posture_test

test_example_pass if 1 == 1

test_example_fail if 1 == 1

test_example_missing if 1 == 1
`

func TestLint(t *testing.T) {
	change := func(old, with string) string { return strings.Replace(example, old, with, 1) }
	for name, c := range map[string]struct {
		module, tests string
		want          string // file:line: … (rule), empty: nothing
	}{
		"as it should be":   {example, exampleTests, ""},
		"not formatted":     {change(`lib.pass("Well.")`, `lib.pass( "Well." )`), exampleTests, "troth/posture/example.rego:17: format"},
		"wrong package":     {"package troth.other\n\nx := 1\n", "", "troth/posture/example.rego:1: package-path"},
		"conditional":       {change("example)\n", "example) if input.attestation.verified\n"), exampleTests, "troth/posture/example.rego:15: control-conditional"},
		"no default":        {change(" else := lib.undecided(\"Odd.\")", ""), exampleTests, "troth/posture/example.rego:15: control-default"},
		"conditional else":  {change(" else := lib.undecided(\"Odd.\")", " else := lib.undecided(\"Odd.\") if {\n\tinput.attestation.verified == false\n}"), exampleTests, "troth/posture/example.rego:15: control-default"},
		"no framework":      {change("#   frameworks:\n#     EU CRA: [\"Annex I\"]\n", ""), exampleTests, "troth/posture/example.rego:13: control-frameworks"},
		"unknown framework": {change("EU CRA", "EU CRAA"), exampleTests, "troth/posture/example.rego:15: control-frameworks"},
		"no test of fail":   {example, strings.ReplaceAll(exampleTests, "example_fail", "sample_fail"), "troth/posture/example.rego:15: control-tests"},
		"does not compile":  {change("verified == true", "verfied == true"), exampleTests, "troth/posture/example.rego:18: rego-type-error"},
		"does not parse":    {change("true\n}", "true\n"), exampleTests, "troth/posture/example.rego:19: rego-parse-error"},
		"no severity":       {change("#   severity: low\n", ""), exampleTests, "troth/posture/example.rego:14: bundle"},
		"id in capitals":    {change("id: example", "id: Example"), exampleTests, "troth/posture/example.rego:15: bundle"},
	} {
		files := map[string]string{"troth/posture/example.rego": c.module}
		if c.tests != "" {
			files["troth/posture/example_test.rego"] = c.tests
		}
		problems, err := policy.Lint(t.Context(), withLib(t, files))
		problems = slices.DeleteFunc(problems, func(p policy.Problem) bool { return !strings.Contains(p.File, "example") })
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if c.want == "" && len(problems) == 0 {
			continue
		}
		if len(problems) != 1 {
			t.Errorf("%s: %v", name, problems)
			continue
		}
		place, rule, _ := strings.Cut(c.want, ": ")
		if text := problems[0].String(); !strings.HasPrefix(text, place+": ") || problems[0].Rule != rule {
			t.Errorf("%s: %s, want %s", name, text, c.want)
		}
	}
}

// withLib is a tiny bundle with the library's troth.lib and the given files.
func withLib(t *testing.T, files map[string]string) fs.FS {
	t.Helper()
	bundle := tiny(nil).(fstest.MapFS)
	names, err := fs.Glob(policies.FS, "troth/lib/*.rego")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		content, err := fs.ReadFile(policies.FS, name)
		if err != nil {
			t.Fatal(err)
		}
		bundle[name] = &fstest.MapFile{Data: content}
	}
	for name, content := range files {
		bundle[name] = &fstest.MapFile{Data: []byte(content)}
	}
	return bundle
}

func TestLintTakesABundlesOwnFrameworks(t *testing.T) {
	problems, err := policy.Lint(t.Context(), withLib(t, map[string]string{
		"troth/posture/example.rego":      strings.Replace(example, "EU CRA", "House Rules", 1),
		"troth/posture/example_test.rego": exampleTests,
		"config/lint/data.json":           `{"frameworks": ["House Rules"]}`,
	}))
	problems = slices.DeleteFunc(problems, func(p policy.Problem) bool { return !strings.Contains(p.File, "example") })
	if err != nil || len(problems) != 0 {
		t.Errorf("%v, %v", problems, err)
	}
}

func TestCheckTellsEachProblem(t *testing.T) {
	checked, err := policy.Check(t.Context(), library(t, map[string]string{
		"acme/a.rego": "package acme\n\np if input.attestaton\n",
		"acme/b.rego": "package acme\n\nq if input.devce.id == \"x\"\n",
	}))
	if err != nil || checked.OK || len(checked.Problems) != 2 || checked.Policy == "" {
		t.Fatalf("%+v, %v", checked, err)
	}
	for i, file := range []string{"acme/a.rego", "acme/b.rego"} {
		if p := checked.Problems[i]; p.File != file || p.Line != 3 || p.Rule != "rego-type-error" || !strings.Contains(p.Message, "want (one of)") {
			t.Errorf("%+v", p)
		}
	}
	checked, err = policy.Check(t.Context(), library(t, map[string]string{"acme/x.json": "{}"}))
	if err != nil || checked.OK || len(checked.Problems) != 1 || checked.Policy != "" || checked.Problems[0].Rule != "bundle" {
		t.Errorf("%+v, %v", checked, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := policy.Lint(ctx, policies.FS); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
