package cli

import (
	"context"
	"net/http"
	"strconv"

	"github.com/spf13/cobra"

	"troth/internal/api"
)

func (a *app) policyShadowCommand() *cobra.Command {
	toggle := func(name, action, brief, long string) *cobra.Command {
		return &cobra.Command{
			Use: name + " ID", Short: brief, Long: long, Example: "  troth policy shadow " + name + " 7", Args: takes("ID"),
			RunE: a.action(func(ctx context.Context, args []string) error {
				return a.sendPolicy(ctx, api.Path(api.PathPolicyAction, args[0], action), api.ReasonRequest{Reason: action})
			}),
		}
	}
	show := &cobra.Command{
		Use:     "show ID",
		Short:   "Show where a bundle in the shadow decided otherwise",
		Long:    "Show how many decisions a bundle in the shadow was compared in, and the devices on which it last decided otherwise than the active one.",
		Example: "  troth policy shadow show 7 -o json",
		Args:    takes("ID"),
		RunE: a.action(func(ctx context.Context, args []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			var got api.PolicyDifferences
			if err := client.Do(ctx, http.MethodGet, api.Path(api.PathPolicyShadow, args[0]), nil, &got); err != nil {
				return err
			}
			return a.printer().print(got, func(p *page) { drawDifferences(p, got) })
		}),
	}
	return a.noun("shadow", "Let a bundle decide beside the active one",
		`A bundle in the shadow decides on every check-in beside the active one. Its decisions are
compared and counted, and nothing follows from them. One bundle at a time; where there
is no time for it, decisions are dropped and counted.`,
		toggle("on", "shadow", "Let a bundle decide in the shadow", "Let a verified, approved or superseded bundle decide in the shadow, instead of one that does."),
		toggle("off", "unshadow", "End that", "End that a bundle decides in the shadow. What it found stays on record."),
		show)
}

func drawDifferences(p *page, d api.PolicyDifferences) {
	state := "ended"
	if d.Running {
		state = "running"
	}
	p.fields(
		[2]string{"Shadow of bundle", d.Bundle + ", " + state}, [2]string{"Compared", strconv.FormatInt(d.Decided, 10)},
		[2]string{"Otherwise", strconv.FormatInt(d.Differing, 10)}, [2]string{"Not decided", strconv.FormatInt(d.Failed, 10)}, [2]string{"Dropped", strconv.FormatInt(d.Dropped, 10)},
	)
	if len(d.Devices) == 0 {
		return
	}
	p.gap()
	t := &table{head: []string{"DEVICE", "SEEN", "ACTIVE", "SHADOW", "CONTROL", "WAS", "WOULD BE", "REASON"}}
	for _, v := range d.Devices {
		for _, c := range v.Changes {
			t.add(nameOr(v.Name, v.ID), ago(v.At, p.now), v.Before, v.After, c.ID, dash(c.Before), dash(c.After), dash(first(c.AfterReason, c.BeforeReason)))
		}
		if len(v.Changes) == 0 {
			t.add(nameOr(v.Name, v.ID), ago(v.At, p.now), v.Before, v.After, "-", "-", "-", "-")
		}
	}
	p.table(t, "")
}
