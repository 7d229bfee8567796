package vault

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"troth/ca"
)

// Names that Bootstrap gives, beside those of Config.
const (
	DefaultTransit      = "troth-transit"
	DefaultDoctorPolicy = "troth-doctor"

	ownRoot         = "troth-root"
	ownIntermediate = "troth-intermediate"
)

const (
	defaultRootTTL     = 10 * 365 * 24 * time.Hour
	defaultSecretIDTTL = 30 * 24 * time.Hour

	// A token that leaks is good for tokenTTL, or for as long as somebody renews
	// it, up to tokenMaxTTL.
	tokenTTL    = 20 * time.Minute
	tokenMaxTTL = 24 * time.Hour

	// The CRL is rebuilt at each revocation, and by Vault itself before it ends.
	crlExpiry = 72 * time.Hour
	crlGrace  = 12 * time.Hour
)

// BootstrapConfig says what Bootstrap sets up. Empty names have the package's
// defaults.
type BootstrapConfig struct {
	TrustDomain string // whose devices the role may name; required

	Mount string // path of the PKI engine, created if missing

	// Issuer is an issuer that the mount already has, by id or name. Empty means
	// one of Troth's own: "troth-intermediate" where RootMount, CSR or Signed say
	// so or the mount has it, and otherwise the root "troth-root". Their keys are
	// made in Vault and cannot be exported.
	Issuer string

	RootMount  string // path of a PKI engine that signs the intermediate
	RootIssuer string // its issuer; empty means its default
	CSR        bool   // make a CSR for a root elsewhere to sign
	Signed     string // PEM of what that root signed: the intermediate, then those above it

	Role         string
	Policy       string
	DoctorPolicy string // what Examine's token needs; may only read

	NoAppRole   bool          // the service logs in otherwise
	AppRole     string        // name of the AppRole that carries the policy
	Auth        string        // path of the AppRole auth method, enabled if missing
	SecretIDTTL time.Duration // life of a secret id; zero means 30 days
	BoundCIDRs  []string      // networks that may log in and use the token; empty for any

	NoTransit bool
	Transit   string // path of the Transit engine with the signing keys, created if missing

	// PublicURL is where others reach Vault for CRL, OCSP and issuers; empty
	// means the client's address. Namespace is part of those addresses, that of
	// Vault Enterprise; empty means the client's.
	PublicURL string
	Namespace string

	MaxTTL  time.Duration // longest device certificate; zero means ca.DefaultLifetime
	RootTTL time.Duration // validity of an issuer that is made; zero means ten years
}

// TransitKeys are the signing keys that Bootstrap makes: those of TUF's snapshot
// and timestamp roles, and of reports.
func TransitKeys() []string { return []string{"tuf-snapshot", "tuf-timestamp", "report"} }

func (b *BootstrapConfig) complete() error {
	domain, err := spiffeid.TrustDomainFromString(b.TrustDomain)
	if err != nil || domain.Name() != b.TrustDomain {
		return fmt.Errorf("trust domain %q is not a bare SPIFFE trust domain", b.TrustDomain)
	}
	if err := b.completeIssuer(); err != nil {
		return err
	}
	setDefault(&b.Mount, DefaultMount)
	setDefault(&b.Role, DefaultRole)
	setDefault(&b.Policy, DefaultPolicy)
	setDefault(&b.DoctorPolicy, DefaultDoctorPolicy)
	setDefault(&b.AppRole, DefaultAppRole)
	setDefault(&b.Auth, DefaultAuth)
	setDefault(&b.Transit, DefaultTransit)
	for field, otherwise := range map[*time.Duration]time.Duration{
		&b.MaxTTL: ca.DefaultLifetime, &b.RootTTL: defaultRootTTL, &b.SecretIDTTL: defaultSecretIDTTL,
	} {
		if *field == 0 {
			*field = otherwise
		}
	}
	for _, mount := range []*string{&b.Mount, &b.Auth, &b.Transit, &b.RootMount, &b.Namespace} {
		*mount = strings.Trim(*mount, "/")
		if err := checkPaths(*mount); err != nil {
			return err
		}
	}
	if b.MaxTTL < time.Minute || b.RootTTL < b.MaxTTL || b.SecretIDTTL < time.Minute {
		return errors.New("lifetimes are not usable")
	}
	if b.PublicURL != "" {
		if u, err := url.Parse(b.PublicURL); err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") || strings.Trim(u.Path, "/") != "" {
			return fmt.Errorf("public address %q is not http(s)://HOST:PORT", b.PublicURL)
		}
		b.PublicURL = strings.TrimRight(b.PublicURL, "/")
	}
	return checkPaths(b.Mount, b.Issuer, b.RootIssuer, b.Role, b.Policy, b.DoctorPolicy, b.AppRole)
}

func (b *BootstrapConfig) completeIssuer() error {
	ways := 0
	for _, given := range []bool{b.Issuer != "", b.RootMount != "", b.CSR || b.Signed != ""} {
		if given {
			ways++
		}
	}
	if ways > 1 {
		return errors.New("give one of an existing issuer, a root mount, and a CSR with what is signed of it")
	}
	if b.RootMount != "" && strings.Trim(b.RootMount, "/") == strings.Trim(b.Mount, "/") {
		return errors.New("the root mount is the mount of the devices")
	}
	return nil
}

// resolve completes what depends on the Vault: the name of our own issuer, and
// its address.
func (b *BootstrapConfig) resolve(ctx context.Context, client *api.Client) error {
	if err := b.complete(); err != nil {
		return err
	}
	setDefault(&b.Namespace, strings.Trim(client.Namespace(), "/"))
	setDefault(&b.PublicURL, strings.TrimRight(client.Address(), "/"))
	if b.Issuer != "" {
		return nil
	}
	if b.intermediate() {
		b.Issuer = ownIntermediate
		return nil
	}
	b.Issuer = ownRoot
	issuers, err := listMountIssuers(ctx, client, b.Mount)
	if err != nil {
		return err
	}
	if issuers[ownIntermediate] != "" {
		b.Issuer = ownIntermediate
	}
	return nil
}

func (b *BootstrapConfig) intermediate() bool { return b.RootMount != "" || b.CSR || b.Signed != "" }

// Options say how far Bootstrap goes.
type Options struct {
	DryRun bool // say what would be done, and do nothing
	Repair bool // also change back what somebody has changed
}

// Outcome is what Bootstrap found and did.
type Outcome struct {
	Steps  []Step
	Issuer string // reference of the issuer that the role is pinned to
	CSR    string // PEM of the request that waits for a signature; empty for none
}

// Bootstrap sets up Vault for Config: the PKI mount with its issuer, its CRL and
// the addresses in certificates, the locked-down role, Transit keys, the policy
// of the service and that of Examine, and an AppRole. The client's token needs
// the rights of an administrator. What is missing is created; what differs is
// left as it is and said, unless options.Repair; what is as it should be is left
// alone, so that running it again is safe after an interruption too. An issuer or
// a key is never replaced.
func Bootstrap(ctx context.Context, client *api.Client, config BootstrapConfig, options Options) (Outcome, error) {
	if err := config.resolve(ctx, client); err != nil {
		return Outcome{}, fmt.Errorf("bootstrap Vault: %w", err)
	}
	outcome := Outcome{Issuer: config.Issuer}
	for _, p := range config.pieces() {
		step, err := p.settle(ctx, client, options)
		if err != nil {
			return outcome, fmt.Errorf("bootstrap Vault: %s: %w", p.what, err)
		}
		outcome.Steps = append(outcome.Steps, step)
		if p.kind != kindMount || p.path != "sys/mounts/"+config.Mount {
			continue
		}
		// The issuer comes right after its mount: everything else names it.
		step, csr, err := config.settleIssuer(ctx, client, options)
		if err != nil {
			return outcome, fmt.Errorf("bootstrap Vault: issuer %s: %w", config.Issuer, err)
		}
		outcome.Steps, outcome.CSR = append(outcome.Steps, step), csr
	}
	return outcome, nil
}

// Credentials reads the role id, and makes a new secret id, of the AppRole that
// Bootstrap set up with config.
func Credentials(ctx context.Context, client *api.Client, config BootstrapConfig) (AppRole, error) {
	role, err := RoleID(ctx, client, config)
	if err != nil {
		return AppRole{}, err
	}
	_ = config.complete() // RoleID has checked it
	secret, err := client.Logical().WriteWithContext(ctx, "auth/"+config.Auth+"/role/"+config.AppRole+"/secret-id", nil)
	if err != nil {
		return AppRole{}, fmt.Errorf("make secret id: %w", err)
	}
	if secret == nil {
		return AppRole{}, errors.New("make secret id: Vault answers nothing")
	}
	if role.SecretID, _ = secret.Data["secret_id"].(string); role.SecretID == "" {
		return AppRole{}, errors.New("make secret id: Vault's answer has none")
	}
	return role, nil
}

// RoleID reads the role id of the AppRole that Bootstrap set up with config. It
// is no secret.
func RoleID(ctx context.Context, client *api.Client, config BootstrapConfig) (AppRole, error) {
	if err := config.complete(); err != nil {
		return AppRole{}, fmt.Errorf("read role id: %w", err)
	}
	role, err := client.Logical().ReadWithContext(ctx, "auth/"+config.Auth+"/role/"+config.AppRole+"/role-id")
	if err != nil {
		return AppRole{}, fmt.Errorf("read role id: %w", err)
	}
	if role == nil {
		return AppRole{}, fmt.Errorf("read role id: Vault answers %d: there is no AppRole %s", http.StatusNotFound, config.AppRole)
	}
	id, _ := role.Data["role_id"].(string)
	if id == "" {
		return AppRole{}, errors.New("read role id: Vault's answer has none")
	}
	return AppRole{Mount: config.Auth, RoleID: id}, nil
}

// WrappedSecretID makes a new secret id like Credentials, and returns a
// response-wrapping token around it: the secret id itself is seen only by whoever
// unwraps it first, within ttl. The client must not be used by others meanwhile.
func WrappedSecretID(ctx context.Context, client *api.Client, config BootstrapConfig, ttl time.Duration) (string, error) {
	if err := config.complete(); err != nil {
		return "", fmt.Errorf("make secret id: %w", err)
	}
	client.SetWrappingLookupFunc(func(string, string) string { return seconds(ttl) })
	defer client.SetWrappingLookupFunc(func(string, string) string { return "" })
	answer, err := client.Logical().WriteWithContext(ctx, "auth/"+config.Auth+"/role/"+config.AppRole+"/secret-id", nil)
	if err != nil {
		return "", fmt.Errorf("make secret id: %w", err)
	}
	if answer == nil || answer.WrapInfo == nil || answer.WrapInfo.Token == "" {
		return "", errors.New("make secret id: Vault answers without a wrapping token")
	}
	return answer.WrapInfo.Token, nil
}
