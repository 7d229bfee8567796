package vault

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"troth/ca"
)

// BootstrapConfig says what Bootstrap sets up. Empty names have the package's
// defaults.
type BootstrapConfig struct {
	TrustDomain string // whose devices the role may name; required

	Mount string // path of the PKI engine, created if missing

	// Issuer is an issuer that the mount already has, by id or name. Empty
	// means a root of Troth's own, named "troth-root", made inside Vault if it
	// is missing; its key cannot be exported.
	Issuer string

	Role    string
	Policy  string
	AppRole string // name of the AppRole that carries the policy
	Auth    string // path of the AppRole auth method, enabled if missing

	MaxTTL  time.Duration // longest device certificate; zero means ca.DefaultLifetime
	RootTTL time.Duration // validity of a root that is made; zero means ten years
}

const (
	ownRoot        = "troth-root"
	defaultRootTTL = 10 * 365 * 24 * time.Hour

	// tokenTTL is how long one AppRole login lasts. It is short because a
	// token that leaks is good for that long, and logging in again is cheap.
	tokenTTL = time.Hour
)

func (b *BootstrapConfig) complete() error {
	domain, err := spiffeid.TrustDomainFromString(b.TrustDomain)
	if err != nil || domain.Name() != b.TrustDomain {
		return fmt.Errorf("trust domain %q is not a bare SPIFFE trust domain", b.TrustDomain)
	}
	setDefault(&b.Mount, DefaultMount)
	setDefault(&b.Issuer, ownRoot)
	setDefault(&b.Role, DefaultRole)
	setDefault(&b.Policy, DefaultPolicy)
	setDefault(&b.AppRole, DefaultAppRole)
	setDefault(&b.Auth, DefaultAuth)
	if b.MaxTTL == 0 {
		b.MaxTTL = ca.DefaultLifetime
	}
	if b.RootTTL == 0 {
		b.RootTTL = defaultRootTTL
	}
	b.Mount, b.Auth = strings.Trim(b.Mount, "/"), strings.Trim(b.Auth, "/")
	if b.MaxTTL < time.Minute || b.RootTTL < b.MaxTTL {
		return errors.New("lifetimes are not usable")
	}
	if err := checkPaths(b.Auth); err != nil {
		return err
	}
	return checkPaths(b.Mount, b.Issuer, b.Role, b.Policy, b.AppRole)
}

// Bootstrap sets up Vault for Config: the PKI mount, its root unless an
// existing issuer is named, the locked-down role, the policy that allows
// signing with it and revoking and nothing else, and an AppRole with that
// policy. The client's token needs the rights of an administrator. Everything is
// created or brought back to what it should be, so running it again repairs an
// interrupted run or an edited role; it never replaces a root.
func Bootstrap(ctx context.Context, client *api.Client, config BootstrapConfig) error {
	if err := config.complete(); err != nil {
		return fmt.Errorf("bootstrap Vault: %w", err)
	}
	for _, step := range []struct {
		verb string
		run  func(context.Context, *api.Client, BootstrapConfig) error
	}{
		{"mount PKI", mountPKI},
		{"prepare issuer", prepareIssuer},
		{"write role", writeRole},
		{"write policy", writePolicy},
		{"write AppRole", writeAppRole},
	} {
		if err := step.run(ctx, client, config); err != nil {
			return fmt.Errorf("bootstrap Vault: %s: %w", step.verb, err)
		}
	}
	return nil
}

func mountPKI(ctx context.Context, client *api.Client, config BootstrapConfig) error {
	mounts, err := client.Sys().ListMountsWithContext(ctx)
	if err != nil {
		return err
	}
	limit := seconds(config.RootTTL)
	if mount, ok := mounts[config.Mount+"/"]; ok {
		if mount.Type != "pki" {
			return fmt.Errorf("%s is already a mount of type %s", config.Mount, mount.Type)
		}
		return nil
	}
	return client.Sys().MountWithContext(ctx, config.Mount, &api.MountInput{
		Type:        "pki",
		Description: "Troth device certificates",
		Config:      api.MountConfigInput{MaxLeaseTTL: limit},
	})
}

func prepareIssuer(ctx context.Context, client *api.Client, config BootstrapConfig) error {
	answer, err := client.Logical().ReadWithContext(ctx, config.Mount+"/issuer/"+config.Issuer+"/json")
	if err == nil && answer != nil {
		return nil
	}
	if config.Issuer != ownRoot {
		return fmt.Errorf("the mount has no issuer %s: %w", config.Issuer, err)
	}
	// An unknown issuer is an error among others in Vault's answer; only a list
	// without it says for certain that a root is to be made.
	named, err := hasIssuer(ctx, client, config)
	if err != nil || named {
		return err
	}
	_, err = client.Logical().WriteWithContext(ctx, config.Mount+"/root/generate/internal", map[string]any{
		"issuer_name":          ownRoot,
		"key_name":             ownRoot,
		"common_name":          "Troth device CA " + config.TrustDomain,
		"exclude_cn_from_sans": true,
		"uri_sans":             "spiffe://" + config.TrustDomain,
		"organization":         "Troth",
		"key_type":             "ec",
		"key_bits":             256,
		"max_path_length":      0,
		"ttl":                  seconds(config.RootTTL),
		// Vault refuses a certificate that begins before its issuer does, so
		// the root is backdated at least as far as the role backdates.
		"not_before_duration": seconds(2 * ca.MaxBackdate),
	})
	return err
}

func hasIssuer(ctx context.Context, client *api.Client, config BootstrapConfig) (bool, error) {
	answer, err := client.Logical().ListWithContext(ctx, config.Mount+"/issuers")
	if err != nil || answer == nil {
		return false, err
	}
	infos, _ := answer.Data["key_info"].(map[string]any)
	for _, info := range infos {
		if fields, ok := info.(map[string]any); ok && fields["issuer_name"] == config.Issuer {
			return true, nil
		}
	}
	return false, nil
}

func writeAppRole(ctx context.Context, client *api.Client, config BootstrapConfig) error {
	auths, err := client.Sys().ListAuthWithContext(ctx)
	if err != nil {
		return err
	}
	if auth, ok := auths[config.Auth+"/"]; !ok {
		err := client.Sys().EnableAuthWithOptionsWithContext(ctx, config.Auth, &api.EnableAuthOptions{Type: "approle"})
		if err != nil {
			return err
		}
	} else if auth.Type != "approle" {
		return fmt.Errorf("%s is already an auth method of type %s", config.Auth, auth.Type)
	}
	_, err = client.Logical().WriteWithContext(ctx, "auth/"+config.Auth+"/role/"+config.AppRole, map[string]any{
		"token_policies":          []string{config.Policy},
		"token_no_default_policy": true,
		"token_ttl":               seconds(tokenTTL),
		"token_max_ttl":           seconds(tokenTTL),
		"bind_secret_id":          true,
	})
	return err
}

// Credentials reads the role id, and makes a new secret id, of the AppRole that
// Bootstrap set up with config.
func Credentials(ctx context.Context, client *api.Client, config BootstrapConfig) (AppRole, error) {
	if err := config.complete(); err != nil {
		return AppRole{}, fmt.Errorf("make credentials: %w", err)
	}
	path := "auth/" + config.Auth + "/role/" + config.AppRole
	role, err := client.Logical().ReadWithContext(ctx, path+"/role-id")
	if err != nil {
		return AppRole{}, fmt.Errorf("read role id: %w", err)
	}
	if role == nil {
		return AppRole{}, fmt.Errorf("read role id: Vault answers %d: there is no AppRole %s", http.StatusNotFound, config.AppRole)
	}
	secret, err := client.Logical().WriteWithContext(ctx, path+"/secret-id", nil)
	if err != nil {
		return AppRole{}, fmt.Errorf("make secret id: %w", err)
	}
	if secret == nil {
		return AppRole{}, errors.New("make secret id: Vault answers nothing")
	}
	roleID, _ := role.Data["role_id"].(string)
	secretID, _ := secret.Data["secret_id"].(string)
	if roleID == "" || secretID == "" {
		return AppRole{}, errors.New("make credentials: Vault's answer has none")
	}
	return AppRole{Mount: config.Auth, RoleID: roleID, SecretID: secretID}, nil
}
