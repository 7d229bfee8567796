package cli

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"troth/internal/api"
)

func (a *app) caStatusCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show the service's CAs, and how far a change of one is",
		Long: `Show the authorities of the service's CAs: which one signs, which one is next or
retiring, how many live certificates depend on each and until when, and how many
devices have confirmed that they hold the present trust bundle.`,
		Example: "  troth ca status",
		Args:    takes(),
		RunE: a.action(func(ctx context.Context, _ []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			var got api.CAStatus
			if err := client.Do(ctx, http.MethodGet, api.PathAuthorities, nil, &got); err != nil {
				return err
			}
			return a.showCAs(got)
		}),
	}
}

func (a *app) showCAs(s api.CAStatus) error {
	return a.printer().print(s, func(p *page) {
		t := &table{head: []string{"CA", "ROLE", "AUTHORITY", "LIVE", "LAST ENDS", "ENDS", "OLD ROOT VERIFIES IT"}}
		for _, c := range s.CAs {
			for _, m := range c.Authorities {
				last := "-"
				if m.LastEnds != nil {
					last = m.LastEnds.UTC().Format(time.RFC3339)
				}
				t.add(c.Name, m.Role, short(m.ID), strconv.Itoa(m.Live), last, m.NotAfter.UTC().Format(time.DateOnly), yesNo(m.Bridged))
			}
		}
		p.table(t, "No CAs.")
		p.gap()
		p.line("%d of %d devices have confirmed the trust bundle %s.", s.Confirmed, s.Devices, short(s.Bundle))
		if next := nextStep(s); next != "" {
			p.line("%s", next)
		}
	})
}

// nextStep says what may be done about a change that is under way.
func nextStep(s api.CAStatus) string {
	for _, c := range s.CAs {
		for _, m := range c.Authorities {
			switch {
			case m.Role == "next" && s.Confirmed < s.Devices:
				return fmt.Sprintf("%s: the next authority waits for %d devices.", c.Name, s.Devices-s.Confirmed)
			case m.Role == "next":
				return c.Name + ": every device knows the next authority; go on with: troth ca rotate activate"
			case m.Role == "retiring" && m.Live > 0:
				return fmt.Sprintf("%s: the old authority waits for the end of %d certificates.", c.Name, m.Live)
			case m.Role == "retiring":
				return c.Name + ": nothing depends on the old authority; go on with: troth ca rotate retire"
			}
		}
	}
	return ""
}

func (a *app) caRotateCommand() *cobra.Command {
	return a.noun("rotate", "Replace a CA's root step by step",
		`Replace the root of a CA without a flag day, in three steps that may lie days apart.
Each may be repeated; troth ca status shows which is next. docs/operators-guide.md
tells the whole of it.`,
		a.rotateStep("begin", "Make the next root, and have devices learn it",
			`Make the next root. It is in the trust bundle from now on and signs nothing yet:
devices learn it at their next check-in, relying parties when they next ask.`),
		a.rotateStep("activate", "Have the next root sign from now on",
			`Have the next root sign. Refused while a device that is in use has not confirmed
that it holds the new trust bundle, unless forced.`),
		a.rotateStep("retire", "Take the old root out of the trust bundle, for good",
			`Take the old root out of the trust bundle and delete its key. Refused while a live
certificate depends on it, unless forced: those certificates then open nothing.`))
}

func (a *app) rotateStep(step, summary, long string) *cobra.Command {
	var r api.RotateRequest
	var v vaultFlags
	config := vaultNames()
	cmd := &cobra.Command{
		Use: step, Short: summary,
		Long: long + `

With --vault-address the root in Vault is meant, which an administrator's token
changes there; the service is asked who would be left behind.`,
		Example: "  troth ca rotate " + step,
		Args:    takes(),
		RunE: a.action(func(ctx context.Context, _ []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			if v.config.Address != "" {
				return a.rotateVault(ctx, client, step, v, config, r.Force)
			}
			var got api.CAStatus
			if err := client.Do(ctx, http.MethodPost, api.Path(api.PathRotate, step), r, &got); err != nil {
				return err
			}
			return a.showCAs(got)
		}),
	}
	cmd.Flags().StringVar(&r.CA, "ca", "", "name of the CA, where the service can change more than one")
	cmd.Flags().BoolVar(&r.Force, "force", false, "also where a device or a live certificate is left behind")
	v.add(cmd.Flags())
	config.add(cmd.Flags())
	return cmd
}

func (a *app) caBundleCommand() *cobra.Command {
	var spiffe bool
	cmd := &cobra.Command{
		Use:   "bundle [--spiffe]",
		Short: "Print the roots of device certificates",
		Long: `Print the roots of device certificates as PEM, for proxies that take a file; or, with
--spiffe, the SPIFFE bundle of the trust domain. Both are public, and change while a
CA is replaced: fetch them again every few minutes, or follow the bundle's address.`,
		Example: `  troth ca bundle >device-roots.pem
  troth ca bundle --spiffe`,
		Args: takes(),
		RunE: a.action(func(ctx context.Context, _ []string) error {
			t, err := a.target()
			if err != nil {
				return err
			}
			t.token = "" // nobody is asked for one here
			client, err := a.connect(t)
			if err != nil {
				return err
			}
			path := api.PathBundlePEM
			if spiffe {
				path = api.PathSPIFFEBundle
			}
			var out bytes.Buffer
			if err := client.Copy(ctx, path, &out); err != nil {
				return err
			}
			if spiffe {
				out.WriteByte('\n')
			}
			if _, err := out.WriteTo(a.Stdout); err != nil {
				return fmt.Errorf("write bundle: %w", err)
			}
			return nil
		}),
	}
	cmd.Flags().BoolVar(&spiffe, "spiffe", false, "in the SPIFFE bundle format (a JWK Set)")
	return cmd
}
