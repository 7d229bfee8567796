package cli

import (
	"context"

	"github.com/spf13/cobra"

	"troth/tuf"
)

func (a *app) tufBinsCommand() *cobra.Command {
	var s staging
	var files []string
	var bits, threshold int
	cmd := &cobra.Command{
		Use:   "bins --repo DIR --bits N --key FILE... [--out FILE]",
		Short: "Stage that a repository which has outgrown one file gets hash bins",
		Long: `Stage that the releases of a repository, all of them in targets until now, move into
2^N hash bins, as they are. Publishing one then costs the same however many there are,
and a device reads only the bin that it needs. The bins have a key of their own; the
keys of targets and of the bins sign the stage. Devices and the service need not be
told. Nothing else can be in the same stage, and there is no way back.`,
		Example: `  troth tuf create-key --keys keys --name releases
  troth tuf bins --repo repo --bits 11 --key keys/releases.pub --out stage.json`,
		Args: takes(),
		RunE: a.action(func(context.Context, []string) error {
			keys, err := a.publicKeys(files)
			if err != nil {
				return err
			}
			if bits == 0 || len(keys) == 0 {
				return usagef("tuf bins needs --bits and --key")
			}
			return a.stage(&s, func(d *tuf.Draft) error { return d.Bins(bits, threshold, keys...) })
		}),
	}
	f := cmd.Flags()
	s.flags(f)
	f.IntVar(&bits, "bits", 0, "2^`N` bins, 1 to 14; 11 suits 100,000 releases")
	f.StringArrayVar(&files, "key", nil, keyFileHelp)
	f.IntVar(&threshold, "threshold", 1, "how many of the keys must sign")
	return cmd
}
