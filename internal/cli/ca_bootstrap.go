package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/spf13/cobra"

	"troth/ca/vault"
	"troth/internal/atomicfile"
)

type bootstrapFlags struct {
	vault        vaultFlags
	config       vault.BootstrapConfig
	options      vault.Options
	printHCL     bool
	csr, signed  string
	secretIDFile string
	wrap         time.Duration
}

// bootstrapped is what ca bootstrap-vault answers.
type bootstrapped struct {
	DryRun       bool         `json:"dry_run"`
	Steps        []vault.Step `json:"steps"`
	Mount        string       `json:"mount"`
	Role         string       `json:"role"`
	Issuer       string       `json:"issuer"`
	RoleID       string       `json:"role_id,omitempty"`
	SecretIDFile string       `json:"secret_id_file,omitempty"`
	Wrapped      bool         `json:"wrapped,omitempty"`
	CSRFile      string       `json:"csr_file,omitempty"`
}

func (a *app) caBootstrapCommand() *cobra.Command {
	b := &bootstrapFlags{}
	cmd := &cobra.Command{
		Use:   "bootstrap-vault --vault-address URL --vault-token-file FILE --trust-domain NAME",
		Short: "Set up Vault as the CA of devices",
		Long: `Set up Vault as the CA of devices, with an administrator's token that is needed this
once: PKI mount and issuer, the locked-down role, CRL and the addresses in
certificates, signing keys in Transit, the policies of the service and of ca doctor,
and an AppRole. What is there already stays: what differs is named and left, unless
--repair. Running it again is safe.

The issuer is a new root; or below a root in the same Vault (--root-mount); or below
your own root elsewhere: --csr FILE writes a request, --signed FILE brings back the
signed certificate, followed by those above it; or one that the mount has (--issuer).`,
		Example: `  troth ca bootstrap-vault --vault-address https://vault.example:8200 --vault-ca vault-ca.pem --vault-token-file - --trust-domain troth.example --dry-run
  troth ca bootstrap-vault --trust-domain troth.example --print-hcl > vault.sh`,
		Args: takes(),
		RunE: a.action(func(ctx context.Context, _ []string) error { return a.caBootstrap(ctx, b) }),
	}
	f := cmd.Flags()
	b.vault.add(f)
	setupFlags(f, &b.config)
	f.StringVar(&b.config.RootMount, "root-mount", "", "PKI mount in the same Vault whose root signs the issuer")
	f.StringVar(&b.config.RootIssuer, "root-issuer", "", "issuer in it, by name or id (default: its default)")
	f.StringVar(&b.csr, "csr", "", "`FILE` to write a request to, for a root elsewhere to sign")
	f.StringVar(&b.signed, "signed", "", "PEM `FILE` of what that root signed, and of those above it")
	f.BoolVar(&b.options.DryRun, "dry-run", false, "say what would be done, and do nothing")
	f.BoolVar(&b.options.Repair, "repair", false, "also change back what is not as it should be")
	f.BoolVar(&b.printHCL, "print-hcl", false, "print policies and vault commands, for those who keep Vault as code, and do nothing")
	f.StringVar(&b.secretIDFile, "secret-id-file", "", "`FILE` to write a new secret id to")
	f.DurationVar(&b.wrap, "wrap", 0, "write not the secret id but a wrapping token around it, good for this long")
	return cmd
}

func (a *app) caBootstrap(ctx context.Context, b *bootstrapFlags) error {
	if b.config.TrustDomain == "" {
		return usagef("--trust-domain is missing")
	}
	if b.wrap != 0 && (b.secretIDFile == "" || b.wrap < time.Second) {
		return usagef("--wrap takes the life of a wrapping token, and needs --secret-id-file")
	}
	if b.secretIDFile != "" && (b.config.NoAppRole || b.options.DryRun) {
		return usagef("--secret-id-file goes with neither --no-approle nor --dry-run")
	}
	b.config.CSR, b.config.Namespace = b.csr != "", b.vault.config.Namespace
	if b.signed != "" {
		text, err := a.readFile(b.signed, maxPEM)
		if err != nil {
			return err
		}
		b.config.Signed = string(text)
	}
	if b.printHCL {
		script, err := vault.Script(b.config)
		if err != nil {
			return usagef("%s", err)
		}
		_, err = fmt.Fprint(a.Stdout, script)
		return err
	}
	client, err := b.vault.open(a)
	if err != nil {
		return err
	}
	outcome, err := vault.Bootstrap(ctx, client, b.config, b.options)
	if err != nil {
		// What was done before is said all the same.
		a.steps(outcome)
		return explainVault(err)
	}
	got := bootstrapped{DryRun: b.options.DryRun, Steps: outcome.Steps, Mount: b.config.Mount, Role: b.config.Role, Issuer: outcome.Issuer}
	if err := a.handOver(ctx, client, b, outcome, &got); err != nil {
		a.steps(outcome)
		return err
	}
	if err := a.printer().print(got, func(p *page) { drawBootstrapped(p, got, b) }); err != nil {
		return err
	}
	if n := count(outcome.Steps, vault.Differs); n > 0 && !b.options.DryRun {
		return a.after(failf(exitNo, codeVaultDiffers, "%d of %d pieces are not as they should be and were left: see ca doctor, and run this again with --repair", n, len(outcome.Steps)))
	}
	return nil
}

// handOver writes what the operator takes away.
func (a *app) handOver(ctx context.Context, client *api.Client, b *bootstrapFlags, outcome vault.Outcome, got *bootstrapped) error {
	if outcome.CSR != "" {
		if err := atomicfile.Write(b.csr, []byte(outcome.CSR), 0o644); err != nil {
			return failf(exitUsage, codeFile, "%s", err)
		}
		got.CSRFile = b.csr
	}
	if b.config.NoAppRole || b.options.DryRun {
		return nil
	}
	role, err := vault.RoleID(ctx, client, b.config)
	if err != nil {
		return explainVault(err)
	}
	got.RoleID = role.RoleID
	if b.secretIDFile == "" {
		return nil
	}
	secret := ""
	if b.wrap > 0 {
		secret, err = vault.WrappedSecretID(ctx, client, b.config, b.wrap)
	} else {
		role, err = vault.Credentials(ctx, client, b.config)
		secret = role.SecretID
	}
	if err != nil {
		return explainVault(err)
	}
	if err := atomicfile.Write(b.secretIDFile, []byte(secret+"\n"), 0o600); err != nil {
		return failf(exitUsage, codeFile, "%s", err)
	}
	got.SecretIDFile, got.Wrapped = b.secretIDFile, b.wrap > 0
	return nil
}

func count(steps []vault.Step, state vault.State) int {
	n := 0
	for _, step := range steps {
		if step.State == state {
			n++
		}
	}
	return n
}

// steps says on standard error what was done before something went wrong.
func (a *app) steps(outcome vault.Outcome) {
	for _, step := range outcome.Steps {
		if step.State != vault.Unchanged {
			_, _ = fmt.Fprintf(a.Stderr, "%s: %s\n", clean(step.What), clean(string(step.State)))
		}
	}
}

func drawBootstrapped(p *page, got bootstrapped, b *bootstrapFlags) {
	t := &table{head: []string{"STATE", "WHAT", "PATH"}}
	for _, step := range got.Steps {
		t.add(string(step.State), step.What, step.Path)
	}
	p.table(t, "Nothing.")
	for _, step := range got.Steps {
		for _, d := range step.Differences {
			p.line("%s: %s is %s, should be %s", step.What, d.Field, d.Have, d.Want)
		}
		if step.Note != "" {
			p.line("%s: %s", step.What, step.Note)
		}
	}
	if got.CSRFile != "" {
		p.line("Wrote %s.", got.CSRFile)
		return
	}
	if got.DryRun {
		return
	}
	p.gap()
	p.line("In the configuration of trothd:")
	for _, line := range strings.Split(configuration(got, b), "\n") {
		p.line("%s", line)
	}
}

// configuration is the part of trothd's that goes with the set-up.
func configuration(got bootstrapped, b *bootstrapFlags) string {
	lines := []string{
		"trust_domain: " + b.config.TrustDomain,
		"certificates:",
		"  vault:",
		"    address: " + b.vault.config.Address,
	}
	add := func(key, value string) {
		if value != "" {
			lines = append(lines, "    "+key+": "+value)
		}
	}
	add("namespace", b.vault.config.Namespace)
	add("ca_cert", b.vault.config.CACert)
	add("server_name", b.vault.config.ServerName)
	add("mount", got.Mount)
	add("role", got.Role)
	add("issuer", got.Issuer)
	add("role_id", got.RoleID)
	if got.RoleID != "" {
		if b.config.Auth != vault.DefaultAuth {
			add("app_role_mount", b.config.Auth)
		}
		key := "secret_id_file"
		if got.Wrapped {
			key = "wrapped_secret_id_file"
		}
		add(key, first(got.SecretIDFile, "/etc/troth/secret-id"))
	}
	return strings.Join(lines, "\n")
}
