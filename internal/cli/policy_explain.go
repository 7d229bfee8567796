package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/spf13/cobra"

	"troth/policy"
)

func (a *app) policyExplainCommand() *cobra.Command {
	var f facts
	var control string
	var all bool
	cmd := &cobra.Command{
		Use:   "explain KIND DIR | --builtin",
		Short: "Say which rules and facts led to a decision",
		Long: `Decide as eval does, and show the way to the answer: for each control that does not
pass, the branch of its rule that was taken, with file and line; the branches before it
and the condition at which each stopped; and every fact that was looked at, with its
value. --all shows the controls that pass as well, --control only the one.`,
		Example: `  troth policy explain posture my-policies --input gate-1.json
  troth policy explain posture --builtin --device gate-1 --control secure-boot -o json`,
		RunE: a.action(func(ctx context.Context, args []string) error {
			document, _, err := a.readFacts(ctx, f)
			if err != nil {
				return err
			}
			return withBundle(args[1:], func(bundle fs.FS) error {
				engine, err := policy.New(ctx, bundle, policy.Options{})
				if err != nil {
					return explainPolicy(err)
				}
				if _, ok := engine.Control(control); control != "" && !ok {
					return failf(exitNo, "control_not_found", "the bundle has no control %s", control)
				}
				x, cause := engine.Explain(ctx, policy.Kind(args[0]), document)
				if x.Decision == nil || errors.Is(cause, policy.ErrInput) {
					return failf(exitUsage, "policy_input", "%s", cause)
				}
				x.Chains = chosen(x.Chains, control, all)
				if err := a.printer().print(x, func(p *page) { drawExplanation(p, x) }); err != nil {
					return err
				}
				if cause != nil {
					return a.after(failf(exitUndecided, "policy_error", "%s", cause))
				}
				return nil
			})
		}),
	}
	f.register(cmd)
	cmd.Flags().StringVar(&control, "control", "", "only the control with this `ID`")
	cmd.Flags().BoolVar(&all, "all", false, "also the controls that pass or do not apply")
	return cmd
}

func chosen(chains []policy.Chain, control string, all bool) []policy.Chain {
	out := []policy.Chain{}
	for _, c := range chains {
		good := c.Outcome == policy.Pass || c.Outcome == policy.NotApplicable
		if c.Control == control && control != "" || control == "" && (all || !good) {
			out = append(out, c)
		}
	}
	return out
}

func drawExplanation(p *page, x policy.Explanation) {
	p.fields([2]string{"answer", x.Answer}, [2]string{"policy", x.Policy})
	for _, c := range x.Chains {
		p.gap()
		counts := ""
		if c.Enforced {
			counts = " (counts)"
		}
		p.line("%s%s: %s", strings.TrimSpace(c.Control+" "+c.Outcome), counts, c.Reason)
		t := &table{head: []string{"  RULE", "WHERE", "WENT"}}
		for _, r := range c.Rules {
			went := "taken"
			if !r.Held {
				went = "not taken"
			}
			if r.Stopped != "" {
				went = fmt.Sprintf("stopped at line %d: %s", r.StoppedLine, r.Stopped)
			}
			t.add("  "+strings.TrimPrefix(r.Rule, "data."), fmt.Sprintf("%s:%d", r.File, r.Line), went)
		}
		p.table(t, "  No rule was evaluated.")
		t = &table{head: []string{"  FACT", "VALUE"}}
		for _, fact := range c.Facts {
			t.add("  "+fact.Path, factText(fact))
		}
		p.table(t, "  No fact was looked at.")
	}
	if len(x.Chains) == 0 {
		p.gap()
		p.line("Every control passes or does not apply; --all shows why.")
	}
}
