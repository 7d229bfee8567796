package cli

import (
	"context"

	"github.com/spf13/cobra"

	"troth/tuf"
)

func (a *app) tufAllowDowngradeCommand() *cobra.Command {
	var s staging
	var from uint64
	cmd := &cobra.Command{
		Use:   "allow-downgrade TARGET --repo DIR --from COUNTER [--out FILE]",
		Short: "Stage that devices may go back to an earlier release",
		Long: `Stage that devices may go back to a published release from releases of its model whose
counter is at most the one given, although its own is lower. Devices refuse to go back
without this, so it is signed like the release itself. Roll it out as any other:
troth rollout create.`,
		Example: "  troth tuf allow-downgrade edge-100-1.1.0.img --repo repo --from 3 --out stage.json",
		Args:    takes("TARGET"),
		RunE: a.action(func(_ context.Context, args []string) error {
			if from == 0 {
				return usagef("tuf allow-downgrade needs --from")
			}
			return a.stage(&s, func(d *tuf.Draft) error { return d.AllowDowngrade(args[0], from) })
		}),
	}
	s.flags(cmd.Flags())
	cmd.Flags().Uint64Var(&from, "from", 0, "highest `COUNTER` to come back from")
	return cmd
}
