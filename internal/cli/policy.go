package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"troth/policies"
	"troth/policy"
)

// controlLine is a control as it is shown.
type controlLine struct {
	ID           string              `json:"id"`
	Title        string              `json:"title"`
	Description  string              `json:"description,omitempty"`
	Severity     string              `json:"severity"`
	GraceSeconds int64               `json:"grace_seconds"`
	Remediation  string              `json:"remediation"`
	Frameworks   map[string][]string `json:"frameworks,omitempty"`
	File         string              `json:"file"`
	Line         int                 `json:"line"`
}

type controlList struct {
	Policy   string        `json:"policy"` // digest of the bundle
	Controls []controlLine `json:"controls"`
}

func (a *app) policyCommand() *cobra.Command {
	return a.noun("policy", "Write, test and try policies",
		`A policy bundle is a directory of Rego modules, their tests and data. trothd has one
built in; any directory of the same shape replaces it. Write one with new, fmt, lint,
test, check; try it with eval and explain. None of these commands asks a server, but
for the facts of a device (--device).`,
		a.policyNewCommand(), a.policyFmtCommand(), a.policyLintCommand(), a.policyTestCommand(), a.policyCheckCommand(),
		a.policySampleCommand(), a.policyEvalCommand(), a.policyExplainCommand(), a.policyControlsCommand())
}

// bundleArg wants a directory or --builtin.
func bundleArg(builtin *bool) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if *builtin == (len(args) == 1) || len(args) > 1 {
			return usagef("%s takes a directory, or --builtin", cmd.CommandPath())
		}
		return nil
	}
}

// withBundle opens the bundle that the arguments name. Nothing outside of its
// directory is read, wherever links in it lead.
func withBundle(args []string, use func(fs.FS) error) error {
	if len(args) == 0 {
		return use(policies.FS)
	}
	root, err := os.OpenRoot(args[0])
	if err != nil {
		return failf(exitUsage, codeFile, "%s", err)
	}
	defer func() { _ = root.Close() }()
	return use(root.FS())
}

func explainPolicy(err error) error {
	if errors.Is(err, policy.ErrBundle) {
		return failf(exitNo, "policy_bundle", "%s", err)
	}
	return err
}

func (a *app) policyTestCommand() *cobra.Command {
	var builtin bool
	var o testOptions
	cmd := &cobra.Command{
		Use:   "test DIR | --builtin",
		Short: "Run a bundle's own tests",
		Long: `Compile a policy bundle as trothd would and run its tests, with the same built-in
functions and no others. The exit status is 1 if the bundle is refused, has no tests,
one of them fails or is skipped, or they cover less than --min-coverage per cent of the
modules' lines. --run takes only tests whose package and name match.`,
		Example: `  troth policy test my-policies --min-coverage 95
  troth policy test my-policies --run secure_boot -v
  troth policy test --builtin -o json`,
		Args: bundleArg(&builtin),
		RunE: a.action(func(ctx context.Context, args []string) error {
			switch {
			case o.least < 0 || o.least > 100:
				return usagef("--min-coverage takes 0 to 100, not %v", o.least)
			case o.least > 0 && o.run != "":
				return usagef("--min-coverage is of all tests, and --run takes some")
			}
			if _, err := regexp.Compile(o.run); err != nil {
				return usagef("--run takes a regular expression: %s", err)
			}
			ctx, cancel := context.WithTimeout(ctx, o.limit)
			defer cancel()
			return withBundle(args, func(bundle fs.FS) error { return a.policyTest(ctx, bundle, o) })
		}),
	}
	cmd.Flags().BoolVar(&builtin, "builtin", false, "the bundle that trothd has built in")
	cmd.Flags().DurationVar(&o.limit, "timeout", 5*time.Minute, "longest time for all tests together")
	cmd.Flags().StringVar(&o.run, "run", "", "only tests that match the regular `EXPRESSION`")
	cmd.Flags().BoolVarP(&o.verbose, "verbose", "v", false, "name every test, and every line that none covers")
	cmd.Flags().Float64Var(&o.least, "min-coverage", 0, "least `PERCENT` of lines that the tests must cover")
	return cmd
}

type testOptions struct {
	limit   time.Duration
	run     string
	verbose bool
	least   float64
}

func (a *app) policyTest(ctx context.Context, bundle fs.FS, o testOptions) error {
	if _, err := policy.New(ctx, bundle, policy.Options{}); err != nil {
		return explainPolicy(err)
	}
	report, err := policy.TestMatching(ctx, bundle, o.run)
	if err != nil {
		return explainPolicy(err)
	}
	if err := a.printer().print(report, func(p *page) { drawTests(p, report, o) }); err != nil {
		return err
	}
	switch {
	case report.OK() && report.Coverage < o.least:
		return a.after(failf(exitNo, "policy_coverage", "the tests cover %.1f %% of the lines, less than %v %%", report.Coverage, o.least))
	case report.OK():
		return nil
	case len(report.Results) == 0 && o.run != "":
		return a.after(failf(exitNo, "policy_tests", "no test matches %s", o.run))
	case len(report.Results) == 0:
		return a.after(failf(exitNo, "policy_tests", "the bundle has no tests"))
	default:
		return a.after(failf(exitNo, "policy_tests", "%d tests failed, %d were skipped", report.Failed, report.Skipped))
	}
}

func drawTests(p *page, report policy.TestReport, o testOptions) {
	for _, r := range report.Results {
		if o.verbose || r.Outcome != policy.Pass {
			p.line("%s  %s.%s  %s:%d  %s", strings.ToUpper(r.Outcome), r.Package, r.Name, r.File, r.Line, r.Message)
		}
	}
	for _, u := range report.Uncovered {
		if o.verbose && o.run == "" {
			p.line("NOT COVERED  %s:%d-%d", u.File, u.From, u.To)
		}
	}
	p.line("%d passed, %d failed, %d skipped; coverage %.1f %%", report.Passed, report.Failed, report.Skipped, report.Coverage)
	p.line("policy %s", report.Policy)
}

func (a *app) policyControlsCommand() *cobra.Command {
	var builtin bool
	cmd := &cobra.Command{
		Use:     "controls DIR | --builtin",
		Short:   "List a bundle's controls",
		Long:    "List the controls of a policy bundle: what each requires, how grave a failure is, and what is done about it.",
		Example: "  troth policy controls --builtin\n  troth policy controls my-policies -o json",
		Args:    bundleArg(&builtin),
		RunE: a.action(func(ctx context.Context, args []string) error {
			return withBundle(args, func(bundle fs.FS) error { return a.policyControls(ctx, bundle) })
		}),
	}
	cmd.Flags().BoolVar(&builtin, "builtin", false, "the bundle that trothd has built in")
	return cmd
}

func (a *app) policyControls(ctx context.Context, bundle fs.FS) error {
	engine, err := policy.New(ctx, bundle, policy.Options{})
	if err != nil {
		return explainPolicy(err)
	}
	got := controlList{Policy: engine.Digest(), Controls: []controlLine{}}
	for _, c := range engine.Controls() {
		got.Controls = append(got.Controls, controlLine{
			ID: c.ID, Title: c.Title, Description: c.Description, Severity: c.Severity,
			GraceSeconds: int64(c.Grace / time.Second), Remediation: c.Remediation,
			Frameworks: c.Frameworks, File: c.File, Line: c.Line,
		})
	}
	return a.printer().print(got, func(p *page) {
		t := &table{head: []string{"CONTROL", "SEVERITY", "GRACE", "REMEDIATION", "TITLE", "WHERE"}}
		for _, c := range got.Controls {
			t.add(c.ID, c.Severity, span(time.Duration(c.GraceSeconds)*time.Second), c.Remediation, c.Title, fmt.Sprintf("%s:%d", c.File, c.Line))
		}
		p.table(t, "No controls.")
		p.gap()
		p.line("policy %s", got.Policy)
	})
}
