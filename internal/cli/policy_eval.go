package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"troth/internal/api"
	"troth/policy"
)

// maxDocument bounds an input from a file.
const maxDocument = 16 << 20

// evaluated is a decision reached here, and how it differs from the recorded one.
type evaluated struct {
	Kind     policy.Kind     `json:"kind"`
	Policy   string          `json:"policy"` // digest of the bundle here
	Answer   string          `json:"answer"`
	Decision policy.Decision `json:"decision"`
	Recorded *recorded       `json:"recorded,omitempty"` // with --device
}

type recorded struct {
	Device  string    `json:"device"`
	At      time.Time `json:"at"`
	Policy  string    `json:"policy"` // digest of the bundle that decided
	Answer  string    `json:"answer"`
	Changes []change  `json:"changes"` // by control
}

// change is a control that says something else here; empty: it is not there.
type change struct {
	Control string `json:"control"`
	Was     string `json:"was"`
	Now     string `json:"now"`
	Reason  string `json:"reason"`
}

// facts are where the input of eval and explain comes from.
type facts struct {
	builtin       bool
	input, device string
}

func (f *facts) register(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.builtin, "builtin", false, "the bundle that trothd has built in")
	cmd.Flags().StringVar(&f.input, "input", "", "`FILE` with the input as JSON; - reads standard input")
	cmd.Flags().StringVar(&f.device, "device", "", "`ID|NAME` of a device: the input of its latest recorded posture, from the server")
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if err := takesKind(2)(cmd, args); err != nil {
			return err
		}
		if err := bundleArg(&f.builtin)(cmd, args[1:]); err != nil {
			return err
		}
		switch {
		case (f.input == "") == (f.device == ""):
			return usagef("%s takes --input or --device", cmd.CommandPath())
		case f.device != "" && policy.Kind(args[0]) != policy.KindPosture:
			return usagef("--device is of the kind posture, not %s: the service records no other by device", args[0])
		}
		return nil
	}
}

// read finds the input; kept is nil where it came from a file.
func (a *app) readFacts(ctx context.Context, f facts) (document []byte, kept *api.KeptDecision, err error) {
	if f.device == "" {
		document, err = a.readFile(f.input, maxDocument)
		return document, nil, err
	}
	client, err := a.client()
	if err != nil {
		return nil, nil, err
	}
	kept = &api.KeptDecision{}
	err = client.Do(ctx, http.MethodGet, api.Path(api.PathDecision, f.device), nil, kept)
	return kept.Input, kept, err
}

func (a *app) policyEvalCommand() *cobra.Command {
	var f facts
	cmd := &cobra.Command{
		Use:   "eval KIND DIR | --builtin",
		Short: "Decide on a file of facts, or as for a device",
		Long: `Decide as the service would, here, by a bundle that need not be active. The facts are a
file (troth policy sample writes one), or those of a device's latest recorded posture;
then the answer is compared with the recorded one.

The exit status is 1 for a denial or a verdict of noncompliant, 3 for what could not
be decided.`,
		Example: `  troth policy eval posture my-policies --input gate-1.json
  troth policy eval access --builtin --input visit.json -o json
  troth policy eval posture my-policies --device gate-1`,
		RunE: a.action(func(ctx context.Context, args []string) error {
			document, kept, err := a.readFacts(ctx, f)
			if err != nil {
				return err
			}
			return withBundle(args[1:], func(bundle fs.FS) error {
				engine, err := policy.New(ctx, bundle, policy.Options{})
				if err != nil {
					return explainPolicy(err)
				}
				return a.policyEval(ctx, engine, policy.Kind(args[0]), document, kept)
			})
		}),
	}
	f.register(cmd)
	return cmd
}

func (a *app) policyEval(ctx context.Context, engine *policy.Engine, kind policy.Kind, document []byte, kept *api.KeptDecision) error {
	d, cause := engine.Replay(ctx, kind, document)
	if d == nil || errors.Is(cause, policy.ErrInput) {
		return failf(exitUsage, "policy_input", "%s", cause)
	}
	got := evaluated{Kind: kind, Policy: engine.Digest(), Answer: d.Answer(), Decision: d}
	if kept != nil {
		r, err := compare(*kept, d)
		if err != nil {
			return err
		}
		got.Recorded = &r
	}
	if err := a.printer().print(got, func(p *page) { drawDecision(p, got) }); err != nil {
		return err
	}
	return a.answered(got.Answer, cause)
}

// answered is the exit status of a decision.
func (a *app) answered(answer string, cause error) error {
	switch {
	case cause != nil:
		return a.after(failf(exitUndecided, "policy_error", "%s", cause))
	case answer == policy.Undecided:
		return a.after(failf(exitUndecided, "policy_undecided", "the policy could not decide"))
	case answer == "deny", answer == policy.Noncompliant:
		return a.after(failf(exitNo, "policy_no", "the answer is %s", answer))
	}
	return nil
}

func compare(kept api.KeptDecision, d policy.Decision) (recorded, error) {
	r := recorded{Device: first(kept.Name, kept.Device), At: kept.At, Policy: kept.Policy, Answer: kept.Answer, Changes: []change{}}
	var before policy.PostureDecision
	if err := json.Unmarshal(kept.Decision, &before); err != nil {
		return r, failf(exitUndecided, codeBadAnswer, "the recorded decision cannot be read: %s", err)
	}
	now, ok := d.(policy.PostureDecision)
	if !ok {
		return r, nil
	}
	old := map[string]policy.ControlResult{}
	for _, c := range before.Controls {
		old[c.ID] = c
	}
	for _, c := range now.Controls {
		was := old[c.ID]
		delete(old, c.ID)
		if was.Outcome != c.Outcome || was.Reason != c.Reason {
			r.Changes = append(r.Changes, change{c.ID, was.Outcome, c.Outcome, c.Reason})
		}
	}
	for _, c := range before.Controls {
		if _, gone := old[c.ID]; gone {
			r.Changes = append(r.Changes, change{c.ID, c.Outcome, "", "The bundle has no such control."})
		}
	}
	return r, nil
}

func drawDecision(p *page, got evaluated) {
	p.fields([2]string{"answer", got.Answer}, [2]string{"policy", got.Policy})
	switch d := got.Decision.(type) {
	case policy.PostureDecision:
		p.gap()
		t := &table{head: []string{"CONTROL", "SEVERITY", "OUTCOME", "COUNTS", "REASON"}}
		for _, c := range d.Controls {
			counts := ""
			if c.Enforced(d.At) || c.Outcome == policy.Errored {
				counts = "yes"
			}
			t.add(c.ID, c.Severity, c.Outcome, counts, c.Reason)
		}
		p.table(t, "No controls.")
	case policy.RemediateDecision:
		for _, act := range d.Actions {
			p.line("%s %s: %s", act.Kind, act.Release, act.Reason)
		}
	default:
		drawPermission(p, d)
	}
	if r := got.Recorded; r != nil {
		p.gap()
		drawRecorded(p, got, *r)
	}
}

// drawPermission shows what all decisions but postures and remediations have.
func drawPermission(p *page, d policy.Decision) {
	text, err := json.Marshal(d)
	if err != nil {
		return
	}
	var said struct {
		Code   string `json:"code"`
		Reason string `json:"reason"`
	}
	_ = json.Unmarshal(text, &said) // a decision without them shows nothing
	p.fields([2]string{"code", said.Code}, [2]string{"reason", said.Reason})
}

func drawRecorded(p *page, got evaluated, r recorded) {
	by := "by another bundle, " + r.Policy
	if r.Policy == got.Policy {
		by = "by this bundle"
	}
	p.line("Recorded of %s at %s: %s, %s.", r.Device, r.At.UTC().Format(time.RFC3339), r.Answer, by)
	if len(r.Changes) == 0 {
		p.line("Every control says the same.")
		return
	}
	t := &table{head: []string{"CONTROL", "WAS", "NOW", "REASON"}}
	for _, c := range r.Changes {
		t.add(c.Control, first(c.Was, "-"), first(c.Now, "-"), c.Reason)
	}
	p.table(t, "")
}

// factText is a fact's value in a line of a table.
func factText(f policy.FactRead) string {
	const most = 120
	if f.Value == nil {
		return "undefined"
	}
	text := clean(string(f.Value))
	if runes := []rune(text); len(runes) > most {
		return fmt.Sprintf("%s… (%d bytes)", string(runes[:most]), len(f.Value))
	}
	return text
}
