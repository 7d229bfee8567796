package cli

import (
	"context"

	"github.com/spf13/cobra"

	"troth/ca/vault"
)

// diagnosis is what ca doctor answers.
type diagnosis struct {
	Findings []vault.Finding `json:"findings"`
	Problems int             `json:"problems"`
	Warnings int             `json:"warnings"`
	Unread   int             `json:"undecided"`
}

func (a *app) caDoctorCommand() *cobra.Command {
	var v vaultFlags
	var config vault.BootstrapConfig
	var all bool
	cmd := &cobra.Command{
		Use:   "doctor --vault-address URL --vault-token-file FILE --trust-domain NAME",
		Short: "Find what is wrong with the set-up in Vault",
		Long: `Compare a running set-up with what bootstrap-vault writes, line by line, and look at
what else makes it weak. It changes nothing; a token with the policy troth-doctor is
enough. Give it the names that bootstrap-vault was given.

Exit status: 0 nothing is wrong (warnings are no problem); 1 something is; 3 something
could not be read, so that nobody knows.`,
		Example: "  troth ca doctor --vault-address https://vault.example:8200 --vault-ca vault-ca.pem --vault-token-file doctor-token --trust-domain troth.example",
		Args:    takes(),
		RunE: a.action(func(ctx context.Context, _ []string) error {
			if config.TrustDomain == "" {
				return usagef("--trust-domain is missing")
			}
			client, err := v.open(a)
			if err != nil {
				return err
			}
			findings, err := vault.Examine(ctx, client, config, a.Now)
			if err != nil {
				return usagef("%s", err)
			}
			return a.diagnose(findings, all)
		}),
	}
	v.add(cmd.Flags())
	setupFlags(cmd.Flags(), &config)
	cmd.Flags().BoolVar(&all, "all", false, "also list what is as it should be")
	return cmd
}

func (a *app) diagnose(findings []vault.Finding, all bool) error {
	got := diagnosis{Findings: findings}
	fine := 0
	for _, f := range findings {
		switch f.Level {
		case vault.Problem:
			got.Problems++
		case vault.Warning:
			got.Warnings++
		case vault.Undecided:
			got.Unread++
		default:
			fine++
		}
	}
	err := a.printer().print(got, func(p *page) {
		for _, f := range findings {
			switch {
			case f.Level != vault.OK:
				p.line("%s: %s: %s (%s)", f.Level, f.Subject, f.Message, f.Code)
			case all:
				p.line("%s: %s: %s", f.Level, f.Subject, f.Message)
			}
		}
		p.line("%d as it should be, %d problems, %d warnings, %d undecided.", fine, got.Problems, got.Warnings, got.Unread)
	})
	switch {
	case err != nil:
		return err
	case got.Problems > 0:
		return a.after(failf(exitNo, codeVaultWeak, "the set-up in Vault has %d problems", got.Problems))
	case got.Unread > 0:
		return a.after(failf(exitUndecided, codeVaultUnread, "%d things could not be looked at", got.Unread))
	}
	return nil
}
