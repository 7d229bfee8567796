package cli

import (
	"net/http"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"troth/ca/vault"
)

// Codes of the ca commands.
const (
	codeVaultForbidden = "vault_forbidden"
	codeVaultRefuses   = "vault_refuses"
	codeVaultAway      = "vault_unavailable"
	codeVaultDiffers   = "vault_differs"
	codeVaultWeak      = "vault_weak"
	codeVaultUnread    = "vault_undecided"
)

func (a *app) caCommand() *cobra.Command {
	return a.noun("ca", "Look after the CA of devices, in the service or in Vault",
		`Show the service's certificate authorities and replace their roots; set up HashiCorp
Vault as the CA of device certificates, and find what is wrong with a set-up.
bootstrap-vault and doctor speak to Vault, not to a trothd; docs/vault.md has the
steps. Nothing is taken from VAULT_ADDR and the like: everything is said by flags.`,
		a.caStatusCommand(), a.caRotateCommand(), a.caBundleCommand(), a.caBootstrapCommand(), a.caDoctorCommand())
}

// vaultFlags say which Vault, with which token.
type vaultFlags struct {
	config    vault.Config
	tokenFile string
}

func (v *vaultFlags) add(f *pflag.FlagSet) {
	f.StringVar(&v.config.Address, "vault-address", "", "Vault, as https://HOST:PORT")
	f.StringVar(&v.config.CACert, "vault-ca", "", "PEM `FILE` of the CAs that Vault may be signed by (default: the system's)")
	f.StringVar(&v.config.ServerName, "vault-server-name", "", "name that Vault's certificate bears (default: the address's)")
	f.BoolVar(&v.config.TLS12, "vault-tls12", false, "also speak TLS 1.2 to Vault")
	f.StringVar(&v.config.Proxy, "vault-proxy", "", "proxy to Vault, as http://HOST:PORT")
	f.StringVar(&v.config.Namespace, "vault-namespace", "", "Vault Enterprise namespace")
	f.StringVar(&v.tokenFile, "vault-token-file", "", "`FILE` with a Vault token; - reads standard input")
}

func (v *vaultFlags) open(a *app) (*api.Client, error) {
	if v.config.Address == "" || v.tokenFile == "" {
		return nil, usagef("--vault-address and --vault-token-file are needed; a token is never an argument")
	}
	token, err := a.readToken(v.tokenFile)
	if err != nil {
		return nil, err
	}
	v.config.Now, v.config.Timeout = a.Now, a.flags.timeout
	client, err := vault.NewAdminClient(v.config, token)
	if err != nil {
		return nil, usagef("%s", err)
	}
	return client, nil
}

// setupFlags name what is set up; both commands need the same.
func setupFlags(f *pflag.FlagSet, c *vault.BootstrapConfig) {
	f.StringVar(&c.TrustDomain, "trust-domain", "", "trust domain of the devices, as trothd has it")
	f.StringVar(&c.Mount, "mount", vault.DefaultMount, "path of the PKI engine")
	f.StringVar(&c.Issuer, "issuer", "", "issuer of that mount, by name or id (default: troth-intermediate if it is there, troth-root otherwise)")
	f.StringVar(&c.Role, "role", vault.DefaultRole, "name of the PKI role")
	f.StringVar(&c.Policy, "policy", vault.DefaultPolicy, "name of the service's policy")
	f.StringVar(&c.DoctorPolicy, "doctor-policy", vault.DefaultDoctorPolicy, "name of the policy that troth ca doctor needs")
	f.BoolVar(&c.NoAppRole, "no-approle", false, "leave the AppRole out: the service logs in otherwise")
	f.StringVar(&c.AppRole, "approle", vault.DefaultAppRole, "name of the AppRole")
	f.StringVar(&c.Auth, "auth", vault.DefaultAuth, "path of the AppRole auth method")
	f.DurationVar(&c.SecretIDTTL, "secret-id-ttl", 30*24*time.Hour, "life of a secret id")
	f.StringSliceVar(&c.BoundCIDRs, "bind-cidr", nil, "network that may log in and use the token; may be given more than once")
	f.BoolVar(&c.NoTransit, "no-transit", false, "leave the signing keys out")
	f.StringVar(&c.Transit, "transit", vault.DefaultTransit, "path of the Transit engine with the signing keys")
	f.StringVar(&c.PublicURL, "public-url", "", "where others reach Vault for CRL, OCSP and issuers (default: --vault-address)")
	f.DurationVar(&c.MaxTTL, "max-ttl", 24*time.Hour, "longest life of a device certificate")
	f.DurationVar(&c.RootTTL, "issuer-ttl", 10*365*24*time.Hour, "life of an issuer that is made")
}

// explainVault finds the exit status of what went wrong with Vault.
func explainVault(err error) error {
	if err == nil {
		return nil
	}
	status, text := vault.Answer(err)
	what := strings.TrimSpace(strings.SplitN(err.Error(), "Error making API request", 2)[0])
	switch {
	case status == 0:
		if explainNetwork(err) != nil {
			return failf(exitUndecided, codeVaultAway, "Vault cannot be reached: %s", lastWords(err))
		}
		return failf(exitUsage, codeVaultRefuses, "%s", what)
	case status == http.StatusForbidden || status == http.StatusUnauthorized:
		return failf(exitNo, codeVaultForbidden, "%s the token is not good for that: %s", what, text)
	case status >= http.StatusInternalServerError:
		return failf(exitUndecided, codeVaultAway, "%s %s", what, text)
	default:
		return failf(exitNo, codeVaultRefuses, "%s %s", what, text)
	}
}

// lastWords is an error's innermost cause.
func lastWords(err error) string {
	if f := explainNetwork(err); f != nil && f.code == codeUntrusted {
		return "its certificate is signed by nobody trusted here, or bears another name: see --vault-ca and --vault-server-name"
	}
	text := err.Error()
	if i := strings.LastIndex(text, "\": "); i >= 0 {
		text = text[i+3:]
	}
	return text
}
