package vault_test

import (
	"testing"
	"time"

	"github.com/hashicorp/vault/api"

	"troth/ca"
	"troth/ca/catest"
	"troth/ca/vault"
)

// setup is a Vault that Bootstrap has prepared.
type setup struct {
	server *catest.VaultServer
	admin  *api.Client
	config vault.BootstrapConfig
}

func start(t *testing.T) *setup {
	t.Helper()
	server := catest.StartVaultServer(t)
	s := &setup{server: server, admin: client(t, server.Addr, server.Token),
		config: vault.BootstrapConfig{TrustDomain: catest.TrustDomain}}
	s.bootstrap(t)
	return s
}

func (s *setup) bootstrap(t *testing.T) {
	t.Helper()
	if _, err := vault.Bootstrap(t.Context(), s.admin, s.config, vault.Options{Repair: true}); err != nil {
		t.Fatal(err)
	}
}

// client is an administrator's own client, without any of the code under test.
func client(t *testing.T, addr, token string) *api.Client {
	t.Helper()
	c, err := api.NewClient(&api.Config{Address: addr})
	if err != nil {
		t.Fatal(err)
	}
	c.SetToken(token)
	return c
}

func (s *setup) credentials(t *testing.T) *vault.AppRole {
	t.Helper()
	role, err := vault.Credentials(t.Context(), s.admin, s.config)
	if err != nil {
		t.Fatal(err)
	}
	return &role
}

// issuer uses the Vault at addr as the service does: by AppRole.
func (s *setup) issuer(t *testing.T, addr string) *vault.CA {
	t.Helper()
	return newCA(t, vault.Config{Address: addr, AppRole: s.credentials(t), Timeout: 5 * time.Second, Now: time.Now})
}

func newCA(t *testing.T, config vault.Config) *vault.CA {
	t.Helper()
	c, err := vault.New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestContract(t *testing.T) {
	catest.TestIssuer(t, func(t *testing.T) ca.Issuer {
		s := start(t)
		return s.issuer(t, s.server.Addr)
	})
}
