package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"troth/internal/server"
)

func caCommand() *cobra.Command {
	c := &cobra.Command{Use: "ca", Short: "Look after the CA in the data directory", Args: cobra.NoArgs}
	c.AddCommand(passphrase())
	return c
}

func passphrase() *cobra.Command {
	var w where
	var file string
	var remove bool
	c := &cobra.Command{
		Use:   "passphrase (--data-dir DIR | --config FILE) (--new-file FILE | --remove)",
		Short: "Change the passphrase of the CA's keys",
		Long: `Encrypt the keys of the CA in the data directory by another passphrase, all at one
moment: an interruption leaves the old one or the new one in force.

The passphrase that is in force is read from the file that the configuration names
(certificates.passphrase_file). Afterwards put the new one there: the service reads
it at its next start. It may be running; it keeps its keys in memory.

To encrypt keys that are not, name a file in the configuration and start the service.`,
		Example: `  trothd ca passphrase --config /etc/troth/troth.yaml --new-file new-passphrase
  trothd ca passphrase --config /etc/troth/troth.yaml --remove`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if (file == "") != remove {
				return fmt.Errorf("%w: give one of --new-file and --remove", errUsage)
			}
			config, err := w.load()
			if err != nil {
				return err
			}
			if remove && config.Certificates.PassphraseFile == "" {
				return errors.Join(errUsage, errors.New("the configuration names no passphrase file, so there is nothing to remove"))
			}
			return server.ChangePassphrase(config, file)
		},
	}
	w.flags(c)
	c.Flags().StringVar(&file, "new-file", "", "`file` with the new passphrase, at least 12 bytes")
	c.Flags().BoolVar(&remove, "remove", false, "leave the keys unencrypted")
	return c
}
