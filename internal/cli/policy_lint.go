package cli

import (
	"context"
	"fmt"
	"io/fs"

	"github.com/spf13/cobra"

	"troth/policy"
)

type lintReport struct {
	Problems []policy.Problem `json:"problems"`
}

func (a *app) policyLintCommand() *cobra.Command {
	var builtin bool
	cmd := &cobra.Command{
		Use:   "lint DIR | --builtin",
		Short: "Look for what compiles and is not as it should be",
		Long: `Look for controls without a default, a framework or tests of pass, fail and missing
facts, for modules that are not formatted or not in their package's directory, and for
all that check looks for. The exit status is 1 if there is something.

Rules: format, package-path, control-conditional, control-default, control-frameworks,
control-tests, and those of OPA's compiler (rego-type-error: a path of input that is
none, …). A bundle adds names of frameworks in config.lint.frameworks.`,
		Example: "  troth policy lint my-policies\n  troth policy lint my-policies -o json",
		Args:    bundleArg(&builtin),
		RunE: a.action(func(ctx context.Context, args []string) error {
			return withBundle(args, func(bundle fs.FS) error {
				problems, err := policy.Lint(ctx, bundle)
				if err != nil {
					return explainPolicy(err)
				}
				err = a.printer().print(lintReport{problems}, func(p *page) { drawPolicyProblems(p, problems) })
				if err != nil || len(problems) == 0 {
					return err
				}
				return a.after(failf(exitNo, "policy_lint", "%s", countOf(len(problems), "problem")))
			})
		}),
	}
	cmd.Flags().BoolVar(&builtin, "builtin", false, "the bundle that trothd has built in")
	return cmd
}

func countOf(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func drawPolicyProblems(p *page, problems []policy.Problem) {
	for _, problem := range problems {
		p.line("%s", problem)
	}
}

func (a *app) policyCheckCommand() *cobra.Command {
	var builtin bool
	cmd := &cobra.Command{
		Use:   "check DIR | --builtin",
		Short: "Compile a bundle exactly as trothd would",
		Long: `Compile a policy bundle under the rules of the service: its built-in functions and no
others, its limits of size, every decision present, every control with its metadata,
and no path of input that is none. What is refused here, trothd would refuse; the exit
status is then 1.`,
		Example: "  troth policy check my-policies\n  troth policy check --builtin -o json",
		Args:    bundleArg(&builtin),
		RunE: a.action(func(ctx context.Context, args []string) error {
			return withBundle(args, func(bundle fs.FS) error {
				checked, err := policy.Check(ctx, bundle)
				if err != nil {
					return explainPolicy(err)
				}
				err = a.printer().print(checked, func(p *page) {
					drawPolicyProblems(p, checked.Problems)
					if checked.OK {
						p.line("Good, with %s.", countOf(checked.Controls, "control"))
						p.line("policy %s", checked.Policy)
					}
				})
				if err != nil || checked.OK {
					return err
				}
				return a.after(failf(exitNo, "policy_bundle", "trothd would refuse the bundle: %s", countOf(len(checked.Problems), "problem")))
			})
		}),
	}
	cmd.Flags().BoolVar(&builtin, "builtin", false, "the bundle that trothd has built in")
	return cmd
}
