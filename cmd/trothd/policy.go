package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"troth/internal/server"
)

func useBasePolicy() *cobra.Command {
	var w where
	c := &cobra.Command{
		Use:   "use-base-policy (--data-dir DIR | --config FILE)",
		Short: "Decide by the base policy bundle where the active one cannot be loaded",
		Long: `Have the base policy bundle (the built-in one, or that of policy_dir) decide instead
of the one that was activated.

It is for a service that does not start because the active bundle cannot be loaded,
and asks for no second person: whoever may run it could replace the program as well.
It is an event in the trail. Replicas that run change over within seconds.`,
		Example: "  trothd use-base-policy --config /etc/troth/troth.yaml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := w.load()
			if err != nil {
				return err
			}
			before, err := server.UseBasePolicy(cmd.Context(), c)
			if err == nil {
				fmt.Printf("the base policy bundle decides; before, it was %s\n", before)
			}
			return err
		},
	}
	w.flags(c)
	return c
}
