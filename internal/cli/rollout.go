package cli

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"troth/internal/api"
)

func (a *app) rolloutCommand() *cobra.Command {
	return a.noun("rollout", "Move devices to a firmware release",
		`A rollout moves the devices of a model to a release, wave after wave. A device is
done only when its fresh quote shows the release's reference values; too many
failures in a wave halt the rollout.`,
		a.rolloutListCommand(), a.rolloutGetCommand(), a.rolloutCreateCommand(), a.rolloutStartCommand(),
		a.rolloutActionCommand("pause", "Offer the release to nobody new",
			"Pause a rollout: the release is offered to nobody new. What is installing finishes."),
		a.rolloutActionCommand("resume", "Continue a paused rollout",
			"Continue a paused rollout. A halted one is not resumed: mend the cause and start another."),
		a.rolloutActionCommand("abort", "End a rollout for good",
			"End a rollout for good. What is installing finishes, what has not started does not."))
}

// planFlags are the flags of a rollout's plan; those that were not given keep
// what the server has.
type planFlags struct {
	set           *pflag.FlagSet
	waves         []int
	maxFailures   int
	soak, timeout time.Duration
}

// add defines the flags. --timeout of a rollout is that of its devices, as in
// its plan; it hides the global one.
func (f *planFlags) add(cmd *cobra.Command) {
	f.set = cmd.Flags()
	f.set.IntSliceVar(&f.waves, "waves", nil, "per cent of the devices in each wave, as 20,100")
	f.set.IntVar(&f.maxFailures, "max-failures", 0, "per cent of a wave's devices that may fail; more halt the rollout")
	f.set.DurationVar(&f.soak, "soak", 0, "rest between a finished wave and the next")
	f.set.DurationVar(&f.timeout, "timeout", 0, "longest time from the offer to a device's proven installation")
}

func (f *planFlags) plan() (api.RolloutPlan, error) {
	var plan api.RolloutPlan
	if f.set.Changed("waves") {
		for _, w := range f.waves {
			if w < 1 || w > 100 {
				return plan, usagef("--waves takes per cents from 1 to 100, not %d", w)
			}
		}
		plan.Waves = f.waves
	}
	if f.set.Changed("max-failures") {
		if f.maxFailures < 0 || f.maxFailures > 100 {
			return plan, usagef("--max-failures takes 0 to 100 per cent, not %d", f.maxFailures)
		}
		plan.MaxFailurePercent = &f.maxFailures
	}
	var err error
	if plan.SoakSeconds, err = f.seconds("soak", f.soak, 0); err != nil {
		return plan, err
	}
	plan.TimeoutSeconds, err = f.seconds("timeout", f.timeout, time.Second)
	return plan, err
}

func (f *planFlags) seconds(flag string, d, least time.Duration) (*int, error) {
	if !f.set.Changed(flag) {
		return nil, nil
	}
	if d < least || d%time.Second != 0 {
		return nil, usagef("--%s takes whole seconds, at least %s, not %s", flag, least, d)
	}
	s := int(d / time.Second)
	return &s, nil
}

func (a *app) rolloutListCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List rollouts",
		Long:    "List the rollouts, newest first.",
		Example: "  troth rollout list",
		Args:    takes(),
		RunE: a.action(func(ctx context.Context, _ []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			var got api.RolloutList
			if err := client.Do(ctx, http.MethodGet, api.PathRollouts, nil, &got); err != nil {
				return err
			}
			return a.printer().print(got, func(p *page) {
				t := &table{head: []string{"ID", "MODEL", "VERSION", "STATE", "WAVE", "CREATED", "BY", "REASON"}}
				for _, r := range got.Rollouts {
					t.add(r.ID, r.Model, r.Version, r.State, waveText(r), ago(r.CreatedAt, p.now), r.CreatedBy, dash(r.Reason))
				}
				p.table(t, "No rollouts.")
			})
		}),
	}
}

func waveText(r api.Rollout) string { return fmt.Sprintf("%d/%d", r.Wave, len(r.Waves)) }

func (a *app) rolloutGetCommand() *cobra.Command {
	var watch bool
	var every time.Duration
	cmd := &cobra.Command{
		Use:   "get ID",
		Short: "Show a rollout and its devices",
		Long: `Show a rollout and where each of its devices is.

With --watch it is shown again whenever it changed, until it ended; the exit status
is then 0 if it completed and 1 if it was halted or aborted. With -o json each
change is one JSON document.`,
		Example: `  troth rollout get 01J9ZK3V
  troth rollout get 01J9ZK3V --watch`,
		Args: takes("ID"),
		RunE: a.action(func(ctx context.Context, args []string) error {
			if every <= 0 {
				return usagef("--interval must be positive, not %s", every)
			}
			client, err := a.client()
			if err != nil {
				return err
			}
			if watch {
				return a.rolloutWatch(ctx, client, args[0], every)
			}
			r, err := rollout(ctx, client, args[0])
			if err != nil {
				return err
			}
			return a.showRollout(r)
		}),
	}
	cmd.Flags().BoolVar(&watch, "watch", false, "show it again until it ended")
	cmd.Flags().DurationVar(&every, "interval", 2*time.Second, "how often to look with --watch")
	return cmd
}

func rollout(ctx context.Context, client *api.Client, id string) (r api.Rollout, err error) {
	err = client.Do(ctx, http.MethodGet, api.Path(api.PathRollout, id), nil, &r)
	return r, err
}

func (a *app) showRollout(r api.Rollout) error {
	return a.printer().print(r, func(p *page) { drawRollout(p, r) })
}

func drawRollout(p *page, r api.Rollout) {
	p.fields(
		[2]string{"ID", r.ID}, [2]string{"Model", r.Model}, [2]string{"Version", r.Version},
		[2]string{"State", r.State}, [2]string{"Because", r.Reason}, [2]string{"Wave", waveText(r)},
		[2]string{"Plan", planText(r)}, [2]string{"Created", ago(r.CreatedAt, p.now) + " by " + r.CreatedBy},
	)
	if r.StartedAt != nil {
		p.fields([2]string{"Started", ago(*r.StartedAt, p.now) + " by " + r.StartedBy})
	}
	if r.EndedAt != nil {
		p.fields([2]string{"Ended", ago(*r.EndedAt, p.now)})
	}
	if len(r.Members) == 0 {
		return
	}
	p.gap()
	t := &table{head: []string{"WAVE", "DEVICE", "STATE", "SINCE", "REASON"}}
	for _, m := range r.Members {
		t.add(fmt.Sprint(m.Wave), nameOr(m.Name, m.Device), m.State, ago(m.At, p.now), dash(m.Reason))
	}
	p.table(t, "")
}

func planText(r api.Rollout) string {
	waves := make([]string, len(r.Waves))
	for i, w := range r.Waves {
		waves[i] = fmt.Sprintf("%d%%", w)
	}
	return fmt.Sprintf("waves %s; at most %d%% failures; soak %s; timeout %s", strings.Join(waves, ", "),
		r.MaxFailurePercent, time.Duration(r.SoakSeconds)*time.Second, time.Duration(r.TimeoutSeconds)*time.Second)
}

func (a *app) rolloutCreateCommand() *cobra.Command {
	var req api.RolloutRequest
	var flags planFlags
	cmd := &cobra.Command{
		Use:   "create --model M --version V",
		Short: "Propose a rollout, or start it at once",
		Long: `Propose to move the devices of a model to a published release; --start starts it at
once. What the plan's flags leave out is the server's default.`,
		Example: `  troth rollout create --model edge-100 --version 1.2.0
  troth rollout create --model edge-100 --version 1.2.0 --waves 20,100 --max-failures 25 --soak 10m --timeout 1h --start`,
		Args: takes(),
		RunE: a.action(func(ctx context.Context, _ []string) error {
			if req.Model == "" || req.Version == "" {
				return usagef("rollout create needs --model and --version")
			}
			plan, err := flags.plan()
			if err != nil {
				return err
			}
			req.Waves, req.MaxFailurePercent = plan.Waves, plan.MaxFailurePercent
			req.SoakSeconds, req.TimeoutSeconds = plan.SoakSeconds, plan.TimeoutSeconds
			return a.rolloutSend(ctx, api.PathRollouts, req)
		}),
	}
	cmd.Flags().StringVar(&req.Model, "model", "", "hardware model")
	cmd.Flags().StringVar(&req.Version, "version", "", "version of a published release of the model")
	cmd.Flags().BoolVar(&req.Start, "start", false, "start it at once")
	flags.add(cmd)
	return cmd
}

func (a *app) rolloutStartCommand() *cobra.Command {
	var flags planFlags
	cmd := &cobra.Command{
		Use:   "start ID",
		Short: "Start a proposed rollout",
		Long:  "Start a proposed rollout. The plan's flags change the plan that was proposed.",
		Example: `  troth rollout start 01J9ZK3V
  troth rollout start 01J9ZK3V --waves 5,50,100 --soak 1h`,
		Args: takes("ID"),
		RunE: a.action(func(ctx context.Context, args []string) error {
			plan, err := flags.plan()
			if err != nil {
				return err
			}
			return a.rolloutSend(ctx, api.Path(api.PathRolloutAction, args[0], "start"), plan)
		}),
	}
	flags.add(cmd)
	return cmd
}

func (a *app) rolloutActionCommand(action, brief, long string) *cobra.Command {
	return &cobra.Command{
		Use:     action + " ID",
		Short:   brief,
		Long:    long,
		Example: "  troth rollout " + action + " 01J9ZK3V",
		Args:    takes("ID"),
		RunE: a.action(func(ctx context.Context, args []string) error {
			return a.rolloutSend(ctx, api.Path(api.PathRolloutAction, args[0], action), nil)
		}),
	}
}

func (a *app) rolloutSend(ctx context.Context, path string, body any) error {
	client, err := a.client()
	if err != nil {
		return err
	}
	var got api.Rollout
	if err := client.Do(ctx, http.MethodPost, path, body, &got); err != nil {
		return err
	}
	return a.printer().print(got, func(p *page) {
		p.line("Rollout %s of %s %s is %s, wave %s.", got.ID, got.Model, got.Version, got.State, waveText(got))
	})
}
