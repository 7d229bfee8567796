package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"troth/internal/api"
	"troth/policy/archive"
)

// previewFlags say what to replay and what to show.
type previewFlags struct {
	since, groupBy string
	names          int
	roots          []string
}

func (a *app) policyPreviewCommand() *cobra.Command {
	var o previewFlags
	cmd := &cobra.Command{
		Use:   "preview (ID | DIR)",
		Short: "See what a bundle would change, before it does",
		Long: `Decide anew, under a bundle, on every device's latest posture, and say what would be
otherwise: which devices newly fail or pass, other reasons, what remediation would do,
by model and by group. Nothing is changed, and nothing that decides for real is asked.

The bundle is one of the service's, by its id, or a directory, which need not be signed.
With --since every decision of that time is replayed, and not each device's latest.
One preview runs at a time; interrupting the command ends it.`,
		Example: `  troth policy preview 7
  troth policy preview ./policies --group-by site
  troth policy preview 7 --since 7d -o json`,
		Args: takes("CANDIDATE"),
		RunE: a.action(func(ctx context.Context, args []string) error { return a.policyPreview(ctx, args[0], o) }),
	}
	f := cmd.Flags()
	f.StringVar(&o.since, "since", "", "replay every decision of so long, as 7d or 12h")
	f.StringVar(&o.groupBy, "group-by", "", "`LABEL` to group devices by (default: group)")
	f.IntVar(&o.names, "names", 100, "devices to name, of each kind of change; at most 10000")
	f.StringSliceVar(&o.roots, "root", archive.DefaultRoots(), "as for publish, where DIR has no .manifest")
	return cmd
}

func (a *app) policyPreview(ctx context.Context, candidate string, o previewFlags) error {
	query := url.Values{"named": {strconv.Itoa(o.names)}}
	if o.names < 1 || o.names > 10000 {
		return usagef("--names takes 1 to 10000, not %d", o.names)
	}
	if o.groupBy != "" {
		query.Set("group_by", o.groupBy)
	}
	if o.since != "" {
		d, err := parseDays(o.since)
		if err != nil {
			return err
		}
		query.Set("since", d.String())
	}
	var content io.Reader
	if info, err := os.Stat(candidate); err == nil && info.IsDir() {
		packed, err := packPolicies(candidate, "preview", o.roots)
		if err != nil {
			return err
		}
		content = bytes.NewReader(packed)
	} else {
		query.Set("bundle", candidate)
	}
	client, err := a.client()
	if err != nil {
		return err
	}
	client.HTTP.Timeout = 0 // lines come as long as it works
	report, err := a.followPreview(ctx, client, api.PathPolicyPreview+"?"+query.Encode(), content)
	if err != nil {
		return err
	}
	return a.printer().print(report, func(p *page) { drawPreview(p, report) })
}

// parseDays is a duration that may be in days.
func parseDays(text string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.Atoi(days); err == nil && n > 0 && n < 10000 {
			return time.Duration(n) * 24 * time.Hour, nil
		}
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		return 0, usagef("--since takes a time as 7d or 12h, not %q", text)
	}
	return d, nil
}

// followPreview draws how far it is, where somebody looks.
func (a *app) followPreview(ctx context.Context, client *api.Client, path string, content io.Reader) (*api.PreviewReport, error) {
	bar, end := a.progress(ctx)
	defer end()
	var report *api.PreviewReport
	err := client.Lines(ctx, path, "application/gzip", content, func(text json.RawMessage) error {
		var line api.PreviewLine
		if err := json.Unmarshal(text, &line); err != nil {
			return fmt.Errorf("decode answer of POST %s: %w", path, err)
		}
		if line.Problem != nil {
			return line.Problem
		}
		bar(line.Done, line.Total)
		report = line.Report
		return nil
	})
	if err == nil && report == nil {
		err = failf(exitUndecided, codeBadAnswer, "the preview ended before it was through: the service stopped, or was cut off")
	}
	return report, err
}

// progress is a bar on a terminal, and nothing otherwise.
func (a *app) progress(ctx context.Context) (set func(done, total int), end func()) {
	if !terminal(a.Stderr) {
		return func(int, int) {}, func() {}
	}
	p := mpb.NewWithContext(ctx, mpb.WithOutput(a.Stderr), mpb.WithWidth(50))
	bar := p.AddBar(0,
		mpb.BarRemoveOnComplete(),
		mpb.PrependDecorators(decor.Name("preview "), decor.CountersNoUnit("%d/%d")),
		mpb.AppendDecorators(decor.Percentage(), decor.Name("  "), decor.AverageETA(decor.ET_STYLE_GO)),
	)
	set = func(done, total int) {
		bar.SetTotal(int64(total), false)
		bar.SetCurrent(int64(done))
	}
	return set, func() {
		bar.Abort(true)
		p.Wait()
	}
}

func drawPreview(p *page, r *api.PreviewReport) {
	what := "the latest posture of each device"
	if r.Since != nil {
		what = "every decision since " + r.Since.UTC().Format(time.RFC3339)
	}
	p.line("Replayed %s: %d decisions on %d devices, in %.1f s.", what, r.Decisions, r.Devices, r.Seconds)
	p.fields(
		[2]string{"Newly failing", strconv.Itoa(r.Counts.NewlyFailing)}, [2]string{"Newly passing", strconv.Itoa(r.Counts.NewlyPassing)},
		[2]string{"Other reasons", strconv.Itoa(r.Counts.Changed)}, [2]string{"The same", strconv.Itoa(r.Counts.Same)},
	)
	if r.Counts.Undecided > 0 {
		p.fields([2]string{"Not decided", strconv.Itoa(r.Counts.Undecided)})
	}
	for _, problem := range r.Problems {
		p.line("It could not decide %d times: %s", problem.Count, problem.Message)
	}
	drawPreviewGroups(p, "MODEL", r.Models)
	drawPreviewGroups(p, strings.ToUpper(r.GroupBy), r.Groups)
	if len(r.Controls) > 0 {
		p.gap()
		t := &table{head: []string{"CONTROL", "NEWLY FAILING", "NEWLY PASSING", "OTHER REASONS"}}
		for _, c := range r.Controls {
			t.add(c.ID, strconv.Itoa(c.NewlyFailing), strconv.Itoa(c.NewlyPassing), strconv.Itoa(c.Reasons))
		}
		p.table(t, "")
	}
	if len(r.Actions) > 0 {
		p.gap()
		t := &table{head: []string{"REMEDIATION WOULD", "FOR CONTROL", "RELEASE", "DEVICES"}}
		for _, c := range r.Actions {
			t.add(c.Kind, c.Control, dash(c.Release), strconv.Itoa(c.Devices))
		}
		p.table(t, "")
	}
	drawPreviewDevices(p, "Newly failing", r.NewlyFailing, r.Counts.NewlyFailing)
	drawPreviewDevices(p, "Newly passing", r.NewlyPassing, r.Counts.NewlyPassing)
	drawPreviewDevices(p, "With other controls or reasons", r.Changed, r.Counts.Changed)
}

func drawPreviewGroups(p *page, head string, groups []api.PreviewGroup) {
	if len(groups) < 2 && (len(groups) == 0 || groups[0].Name == "") {
		return
	}
	p.gap()
	t := &table{head: []string{head, "NEWLY FAILING", "NEWLY PASSING", "OTHER REASONS", "SAME", "NOT DECIDED"}}
	for _, g := range groups {
		t.add(dash(g.Name), strconv.Itoa(g.NewlyFailing), strconv.Itoa(g.NewlyPassing), strconv.Itoa(g.Changed), strconv.Itoa(g.Same), strconv.Itoa(g.Undecided))
	}
	p.table(t, "")
}

func drawPreviewDevices(p *page, title string, devices []api.PreviewDevice, all int) {
	if len(devices) == 0 {
		return
	}
	p.gap()
	p.line("%s:", title)
	t := &table{head: []string{"DEVICE", "MODEL", "BEFORE", "AFTER", "CONTROL", "WAS", "WOULD BE", "REASON", "REMEDIATION"}}
	for _, d := range devices {
		changes := d.Changes
		if len(changes) == 0 {
			changes = []api.ControlChange{{AfterReason: d.Problem}}
		}
		for i, c := range changes {
			head := []string{nameOr(d.Name, d.ID), d.Model, d.Before, d.After, strings.Join(d.Actions, ", ")}
			if i > 0 {
				head = make([]string, 5)
			}
			t.add(head[0], head[1], head[2], head[3], dash(c.ID), dash(c.Before), dash(c.After), dash(first(c.AfterReason, c.BeforeReason)), dash(head[4]))
		}
	}
	p.table(t, "")
	if len(devices) < all {
		p.line("… and %d more: name more with --names, or read them with -o json", all-len(devices))
	}
}
