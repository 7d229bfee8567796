package cli

import (
	"context"
	"errors"
	"net/http"

	"github.com/spf13/pflag"

	"troth/ca"
	"troth/ca/vault"
	"troth/internal/api"
)

// rotationNames are those of the set-up in Vault.
type rotationNames struct{ config *vault.BootstrapConfig }

func vaultNames() rotationNames { return rotationNames{&vault.BootstrapConfig{}} }

func (r rotationNames) add(f *pflag.FlagSet) {
	f.StringVar(&r.config.TrustDomain, "trust-domain", "", "in Vault: trust domain of the devices, as trothd has it")
	f.StringVar(&r.config.Mount, "mount", vault.DefaultMount, "in Vault: path of the PKI engine")
	f.StringVar(&r.config.Role, "role", vault.DefaultRole, "in Vault: name of the PKI role")
}

// rotateVault takes a step in Vault after the service was asked who would be left
// behind.
func (a *app) rotateVault(ctx context.Context, client *api.Client, step string, v vaultFlags, names rotationNames, force bool) error {
	if names.config.TrustDomain == "" {
		return usagef("--trust-domain is missing")
	}
	var status api.CAStatus
	if err := client.Do(ctx, http.MethodGet, api.PathAuthorities, nil, &status); err != nil {
		return err
	}
	if err := leftBehind(step, status); err != nil && !force {
		return err
	}
	admin, err := v.open(a)
	if err != nil {
		return err
	}
	rotation, err := vault.NewRotation(admin, *names.config)
	if err != nil {
		return usagef("%s", err)
	}
	run := map[string]func(context.Context) (ca.Authority, error){
		"begin": rotation.Begin, "activate": rotation.Activate, "retire": rotation.Retire,
	}[step]
	if _, err := run(ctx); err != nil {
		return explainRotation(err)
	}
	if err := client.Do(ctx, http.MethodGet, api.PathAuthorities, nil, &status); err != nil {
		return err
	}
	return a.showCAs(status)
}

// leftBehind is what the service itself asks of a CA that it can change.
func leftBehind(step string, s api.CAStatus) error {
	if step == "activate" && s.Confirmed < s.Devices {
		return failf(exitNo, "ca_bundle_unconfirmed", "%d of %d devices have not confirmed that they hold the new trust bundle: wait for their check-ins, or give --force", s.Devices-s.Confirmed, s.Devices)
	}
	for _, c := range s.CAs {
		for _, m := range c.Authorities {
			if step == "retire" && c.Name == "devices" && m.Role == "retiring" && m.Live > 0 {
				return failf(exitNo, "ca_in_use", "%d live certificates depend on the authority %s: wait for their end, or give --force", m.Live, short(m.ID))
			}
		}
	}
	return nil
}

func explainRotation(err error) error {
	switch {
	case errors.Is(err, ca.ErrNoRotation):
		return failf(exitNo, "ca_no_rotation", "no such step is due: see troth ca status")
	case errors.Is(err, ca.ErrRefused):
		return failf(exitNo, codeVaultRefuses, "%s", err)
	default:
		return explainVault(err)
	}
}
