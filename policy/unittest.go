package policy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/cover"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/tester"
)

// TestDeadline bounds one Rego test.
const TestDeadline = 5 * time.Second

// TestReport is what the tests of a bundle say.
type TestReport struct {
	Policy  string       `json:"policy"` // digest of the bundle
	Passed  int          `json:"passed"`
	Failed  int          `json:"failed"` // also those that ended with an error
	Skipped int          `json:"skipped"`
	Results []TestResult `json:"results"` // sorted by package and name
	// Coverage is the share of the modules' lines that the tests evaluated, in
	// per cent. Tests do not count as lines.
	Coverage  float64     `json:"coverage"`
	Uncovered []Uncovered `json:"uncovered,omitempty"`
}

// TestResult is one Rego test.
type TestResult struct {
	Package  string        `json:"package"`
	Name     string        `json:"name"`
	File     string        `json:"file"`
	Line     int           `json:"line"`
	Outcome  string        `json:"outcome"` // pass, fail, error, skip
	Message  string        `json:"message,omitempty"`
	Duration time.Duration `json:"duration"`
}

// Uncovered is lines of a module that no test evaluated.
type Uncovered struct {
	File string `json:"file"`
	From int    `json:"from"`
	To   int    `json:"to"`
}

// OK reports whether there were tests and all of them passed.
func (r TestReport) OK() bool { return r.Passed > 0 && r.Failed == 0 && r.Skipped == 0 }

// Test runs a bundle's own tests, under the same capabilities as its policies,
// and measures their coverage. An error means that they could not be run;
// failing tests are in the report. Tests are somebody's code: the caller's
// context bounds them together, TestDeadline bounds each.
func Test(ctx context.Context, fsys fs.FS) (TestReport, error) {
	return TestMatching(ctx, fsys, "")
}

// TestMatching is Test with those tests only whose package and name, written
// data.p_test.test_name, match a regular expression; empty: all. Coverage is then
// that of these tests.
func TestMatching(ctx context.Context, fsys fs.FS, pattern string) (TestReport, error) {
	b, err := load(fsys)
	if err != nil {
		return TestReport{}, err
	}
	report := TestReport{Policy: b.digest, Results: []TestResult{}}
	covered := cover.New()
	results, err := runTests(ctx, b, covered, pattern)
	if err != nil {
		return report, fmt.Errorf("test policies: %w", err)
	}
	for _, r := range results {
		report.add(r)
	}
	slices.SortFunc(report.Results, func(a, b TestResult) int {
		return cmp.Or(cmp.Compare(a.Package, b.Package), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Line, b.Line))
	})
	report.measure(b, covered)
	return report, nil
}

func runTests(ctx context.Context, b *bundle, covered *cover.Cover, pattern string) ([]*tester.Result, error) {
	store := inmem.NewFromObject(b.data)
	txn, err := store.NewTransaction(ctx)
	if err != nil {
		return nil, fmt.Errorf("read data: %w", err)
	}
	defer store.Abort(ctx, txn)
	compiler := ast.NewCompiler().
		WithCapabilities(capabilities("internal.test_case")). // the runner's own marker
		WithEnablePrintStatements(false)
	modules := map[string]*ast.Module{}
	for _, set := range []map[string]*ast.Module{b.modules, b.tests} {
		for name, m := range set {
			modules[name] = m
		}
	}
	ch, err := tester.NewRunner().
		SetCompiler(compiler).
		SetStore(store).
		SetModules(modules).
		SetTimeout(TestDeadline).
		Filter(pattern).
		CapturePrintOutput(false).
		RaiseBuiltinErrors(true).
		SetCoverageQueryTracer(covered).
		SetCoverageRuns(nil).
		RunTests(ctx, txn)
	if err != nil {
		return nil, fmt.Errorf("%w: compile: %w", ErrBundle, err)
	}
	var results []*tester.Result
	for r := range ch {
		results = append(results, r)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return results, nil
}

func (r *TestReport) add(t *tester.Result) {
	result := TestResult{
		Package: t.Package, Name: t.Name, File: t.Location.File, Line: t.Location.Row,
		Duration: t.Duration, Outcome: Pass,
	}
	switch {
	case t.Skip:
		result.Outcome, r.Skipped = "skip", r.Skipped+1
	case t.Error != nil:
		result.Outcome, result.Message, r.Failed = Errored, t.Error.Error(), r.Failed+1
	case t.Fail:
		result.Outcome, r.Failed = Fail, r.Failed+1
		result.Message = failedCases(t.SubResults)
	default:
		r.Passed++
	}
	r.Results = append(r.Results, result)
}

func failedCases(cases tester.SubResultMap) string {
	var failed []error
	for name, c := range cases.Iter {
		if c.Fail {
			failed = append(failed, fmt.Errorf("case %v", name))
		}
	}
	if len(failed) == 0 {
		return ""
	}
	return errors.Join(failed...).Error()
}

// measure sums coverage over the modules alone; OPA's own figure counts the
// lines of the tests too.
func (r *TestReport) measure(b *bundle, covered *cover.Cover) {
	files := covered.Report(b.modules).Files
	did, total := 0, 0
	for name := range b.modules {
		f, ok := files[name]
		if !ok {
			continue
		}
		did += f.CoveredLines
		total += f.CoveredLines + f.NotCoveredLines
		for _, lines := range f.NotCovered {
			r.Uncovered = append(r.Uncovered, Uncovered{name, lines.Start.Row, lines.End.Row})
		}
	}
	slices.SortFunc(r.Uncovered, func(a, b Uncovered) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.From, b.From))
	})
	if total > 0 {
		r.Coverage = 100 * float64(did) / float64(total)
	}
}
