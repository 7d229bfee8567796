package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"troth/internal/api"
)

func (a *app) decisionCommand() *cobra.Command {
	return a.noun("decision", "Read the decision log",
		`The decision log holds what policy decided, of which input, by which bundle, each named
by its SHA-256, without what the bundle masks. Names of devices are not in it. What
people did is in another place: see troth event.`,
		a.decisionListCommand(), a.decisionShowCommand(), a.decisionExportCommand())
}

// decisionFlags select decisions.
type decisionFlags struct{ kind, device, answer, policy, since string }

func (f *decisionFlags) register(cmd *cobra.Command) {
	kinds := func() []string { return []string{"enroll", "renew", "posture", "remediate", "access", "operator"} }
	answers := func() []string {
		return []string{"compliant", "noncompliant", "error", "allow", "deny", "act", "nothing"}
	}
	flags := cmd.Flags()
	flags.StringVar(&f.kind, "kind", "", "only of this kind: "+join(kinds()))
	flags.StringVar(&f.device, "device", "", "only about the device `ID|NAME`")
	flags.StringVar(&f.answer, "answer", "", "only with this answer: "+join(answers()))
	flags.StringVar(&f.policy, "policy", "", "only by the bundle with this SHA-256")
	flags.StringVar(&f.since, "since", "", "only of so long, as 7d or 12h")
	complete(cmd, "kind", kinds()...)
	complete(cmd, "answer", answers()...)
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if err := takes()(cmd, args); err != nil {
			return err
		}
		if err := oneOf("--kind", f.kind, kinds); err != nil {
			return err
		}
		return oneOf("--answer", f.answer, answers)
	}
}

func (f *decisionFlags) query(now time.Time, limit int) (url.Values, error) {
	query := url.Values{"limit": {strconv.Itoa(limit)}}
	for name, value := range map[string]string{"kind": f.kind, "device": f.device, "answer": f.answer, "policy": f.policy} {
		if value != "" {
			query.Set(name, value)
		}
	}
	if f.since != "" {
		d, err := parseDays(f.since)
		if err != nil {
			return nil, err
		}
		query.Set("since", now.Add(-d).UTC().Format(time.RFC3339Nano))
	}
	return query, nil
}

func (a *app) decisionListCommand() *cobra.Command {
	var f decisionFlags
	var after string
	var limit int
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List decisions",
		Long:  "List recorded decisions, newest first.",
		Example: `  troth decision list --kind access --answer deny --since 24h
  troth decision list --device press-7 --limit 20 -o json`,
		RunE: a.action(func(ctx context.Context, _ []string) error {
			if limit < 1 || limit > 1000 {
				return usagef("--limit takes 1 to 1000, not %d", limit)
			}
			query, err := f.query(a.Now(), limit)
			if err != nil {
				return err
			}
			if after != "" {
				query.Set("after", after)
			}
			var got api.DecisionLog
			if err := a.fetch(ctx, api.PathDecisions+"?"+query.Encode(), &got); err != nil {
				return err
			}
			return a.printer().print(got, func(p *page) { drawDecisions(p, got) })
		}),
	}
	f.register(cmd)
	cmd.Flags().IntVar(&limit, "limit", 50, "at most this many")
	cmd.Flags().StringVar(&after, "after", "", "the next page, as the page before named it")
	return cmd
}

// ruled is what a table shows of a recorded decision, whatever its kind.
type ruled struct {
	Code     string    `json:"code"`
	Reason   string    `json:"reason"`
	Operator string    `json:"operator"`
	Action   string    `json:"action"`
	Resource string    `json:"resource"`
	Count    int64     `json:"count"`
	Last     time.Time `json:"last"`
}

func drawDecisions(p *page, got api.DecisionLog) {
	t := &table{head: []string{"WHEN", "ID", "KIND", "ABOUT", "ANSWER", "TIMES", "WHAT"}}
	for _, d := range got.Decisions {
		r := ruledOf(d)
		about := short(d.Device)
		if r.Operator != "" {
			about = r.Operator
		}
		t.add(ago(d.At, p.now), d.ID, d.Kind, dash(about), d.Answer, strconv.FormatInt(max(r.Count, 1), 10), brief(r.what()))
	}
	p.table(t, "No decisions.")
	if got.Next != "" {
		p.line("There may be more: --after %s", got.Next)
	}
}

// ruledOf reads what it finds: documents differ by kind, and by the bundle.
func ruledOf(d api.LoggedDecision) (r ruled) {
	_ = json.Unmarshal(d.Decision, &r)
	return r
}

func (r ruled) what() string {
	text := r.Action
	for _, s := range []string{r.Resource, r.Code} {
		if s != "" && text != "" {
			text += " "
		}
		text += s
	}
	if text == "" {
		return r.Reason
	}
	return text
}

func (a *app) decisionShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "show ID",
		Short:   "A decision with all that it rests on",
		Long:    "Show a recorded decision with its digests; with -o json also its input, where that is kept.",
		Example: "  troth decision show 4f0c1a9e -o json",
		Args:    takes("ID"),
		RunE: a.action(func(ctx context.Context, args []string) error {
			var d api.LoggedDecision
			if err := a.fetch(ctx, api.Path(api.PathLoggedDecision, args[0]), &d); err != nil {
				return err
			}
			return a.printer().print(d, func(p *page) { drawLogged(p, d) })
		}),
	}
}

func drawLogged(p *page, d api.LoggedDecision) {
	kept := "no"
	if len(d.InputDocument) > 0 {
		kept = fmt.Sprintf("%d bytes", len(d.InputDocument))
	}
	p.fields([2]string{"ID", d.ID}, [2]string{"Kind", d.Kind}, [2]string{"At", d.At.UTC().Format(time.RFC3339)}, [2]string{"Device", d.Device}, [2]string{"Answer", d.Answer},
		[2]string{"Policy", d.Policy}, [2]string{"Input", d.Input}, [2]string{"Evidence", d.Evidence}, [2]string{"Input kept", kept})
	var text bytes.Buffer
	if json.Indent(&text, d.Decision, "", "  ") == nil {
		p.gap()
		for line := range bytes.Lines(text.Bytes()) {
			p.line("%s", bytes.TrimRight(line, "\n"))
		}
	}
}

func (a *app) decisionExportCommand() *cobra.Command {
	var f decisionFlags
	var inputs bool
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Write decisions as JSON Lines",
		Long: `Write recorded decisions to standard output, one in each line as JSON, newest first,
however many there are. What is recorded meanwhile is not in it. The exit status is 3
where it ended early: then what was written is not all.

With --inputs each has the input that policy was given, in base64: the exact bytes that
its digest is of.`,
		Example: `  troth decision export --since 7d > decisions.jsonl
  troth decision export --kind posture --since 24h --inputs > posture.jsonl`,
		RunE: a.action(func(ctx context.Context, _ []string) error {
			query, err := f.query(a.Now(), 200)
			if err != nil {
				return err
			}
			if inputs {
				query.Set("inputs", "true")
			}
			client, err := a.client()
			if err != nil {
				return err
			}
			if err := a.exportDecisions(ctx, client, query); err != nil {
				return a.after(err) // standard output is of lines
			}
			return nil
		}),
	}
	f.register(cmd)
	cmd.Flags().BoolVar(&inputs, "inputs", false, "with the inputs")
	return cmd
}

// exportDecisions writes page by page.
func (a *app) exportDecisions(ctx context.Context, client *api.Client, query url.Values) error {
	for {
		var page api.DecisionLog
		if err := client.Do(ctx, http.MethodGet, api.PathDecisions+"?"+query.Encode(), nil, &page); err != nil {
			return err
		}
		for _, d := range page.Decisions {
			line, err := json.Marshal(d)
			if err != nil {
				return fmt.Errorf("encode decision: %w", err)
			}
			if _, err := a.Stdout.Write(append(escapeJSON(line), '\n')); err != nil {
				return fmt.Errorf("write decision: %w", err)
			}
		}
		switch page.Next {
		case "":
			return nil
		case query.Get("after"):
			return failf(exitUndecided, codeBadAnswer, "the server's pages do not move on")
		}
		query.Set("after", page.Next)
	}
}
