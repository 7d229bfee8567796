package server_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"troth/internal/server"
)

func load(t *testing.T, text string) (server.Config, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "troth.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return server.Load(path)
}

func TestLoad(t *testing.T) {
	c, err := load(t, `
data_dir: /var/lib/troth
listen: 0.0.0.0:443
check_in: {interval: 1m, fresh: 150s}
enrollment: {require_registration: true, revocation: {policy: require, fetch: false, dir: /etc/crls, wait: 2s, allow_addresses: [10.1.0.0/16]}}
certificates:
  lifetime: 12h
  vault: {address: "https://vault:8200", role_id: x, secret_id_file: /run/secret}
`)
	if err != nil {
		t.Fatal(err)
	}
	if c.DataDir != "/var/lib/troth" || c.CheckIn.Interval != server.Duration(time.Minute) || c.CheckIn.Fresh != server.Duration(150*time.Second) ||
		!c.Enrollment.RequireRegistration || c.Certificates.Vault.RoleID != "x" {
		t.Errorf("%+v", c)
	}
	if r := c.Enrollment.Revocation; r.Policy != "require" || r.Fetch == nil || *r.Fetch || r.Dir != "/etc/crls" || len(r.AllowAddresses) != 1 {
		t.Errorf("%+v", r)
	}
}

func TestLoadIsStrict(t *testing.T) {
	for name, tt := range map[string]struct{ text, says string }{
		"an unknown key":          {"data_dir: /x\nfrsh: 5m\n", "frsh"},
		"an unknown key within":   {"check_in: {intervall: 5m}\n", "intervall"},
		"a key twice":             {"listen: a\nlisten: b\n", "listen"},
		"a duration without unit": {"check_in: {interval: 300}\n", "with its unit"},
		"a duration in words":     {"check_in: {interval: five minutes}\n", "with its unit"},
		"another type":            {"names: localhost\n", "names"},
		"no YAML":                 {"{", ""},
		"too much":                {"# " + strings.Repeat("x", 1<<20), "bytes"},
	} {
		if _, err := load(t, tt.text); err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v, want a word of %q", name, err, tt.says)
		}
	}
	if _, err := server.Load(filepath.Join(t.TempDir(), "nothing")); err == nil {
		t.Error("a file that is not there was read")
	}
}

func revoking(c server.RevocationConfig) server.Config {
	return server.Config{Enrollment: server.EnrollmentConfig{Revocation: c}}
}

// What contradicts itself is refused before anything is made.
func TestNewRefuses(t *testing.T) {
	hour, second := server.Duration(time.Hour), server.Duration(time.Second)
	for name, tt := range map[string]struct {
		config server.Config
		says   string
	}{
		"fresh is the interval":      {server.Config{CheckIn: server.CheckInConfig{Interval: hour, Fresh: hour}}, "check_in.fresh"},
		"fresh below the interval":   {server.Config{CheckIn: server.CheckInConfig{Interval: hour, Fresh: second}}, "check_in.fresh"},
		"no interval to speak of":    {server.Config{CheckIn: server.CheckInConfig{Interval: 1, Fresh: hour}}, "check_in.interval"},
		"a negative sweep":           {server.Config{CheckIn: server.CheckInConfig{Sweep: -second}}, "check_in.sweep"},
		"a negative lifetime":        {server.Config{Certificates: server.CertificatesConfig{Lifetime: -second}}, "certificates.lifetime"},
		"Vault with two logins":      {vaultConfig(server.VaultConfig{Address: "https://v", TokenFile: "x", KubernetesRole: "y"}), "needs one of token_file"},
		"an AppRole without secret":  {vaultConfig(server.VaultConfig{Address: "https://v", RoleID: "x"}), "secret_id_file"},
		"an AppRole with two":        {vaultConfig(server.VaultConfig{Address: "https://v", RoleID: "x", SecretIDFile: "y", WrappedSecretIDFile: "z"}), "secret_id_file"},
		"a certificate without key":  {vaultConfig(server.VaultConfig{Address: "https://v", CertFile: "x"}), "key_file"},
		"TLS 1.1":                    {vaultConfig(server.VaultConfig{Address: "https://v", TokenFile: "x", TLSMin: "1.1"}), "tls_min"},
		"Vault nowhere":              {server.Config{Certificates: server.CertificatesConfig{Vault: &server.VaultConfig{TokenFile: "x"}}}, "vault.address"},
		"Vault without a way in":     {server.Config{Certificates: server.CertificatesConfig{Vault: &server.VaultConfig{Address: "https://v"}}}, "token_file"},
		"Vault with two":             {server.Config{Certificates: server.CertificatesConfig{Vault: &server.VaultConfig{Address: "https://v", TokenFile: "x", RoleID: "y"}}}, "token_file"},
		"a revocation policy of no":  {revoking(server.RevocationConfig{Policy: "maybe"}), "revocation.policy"},
		"an address that is none":    {revoking(server.RevocationConfig{AllowAddresses: []string{"10.0.0.1"}}), "allow_addresses"},
		"no patience at all":         {revoking(server.RevocationConfig{Wait: 1}), "revocation.wait"},
		"lists required and nowhere": {revoking(server.RevocationConfig{Policy: "require", Fetch: new(bool)}), "refuse every device"},
		"a trust domain as a URL":    {server.Config{TrustDomain: "spiffe://x"}, "trust_domain"},
	} {
		tt.config.DataDir = filepath.Join(t.TempDir(), "data")
		if s, err := server.New(t.Context(), tt.config, "test", slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v, want a word of %q", name, err, tt.says)
			if s != nil {
				s.Close()
			}
		}
		if _, err := os.Stat(tt.config.DataDir); err == nil {
			t.Errorf("%s: the data directory was made", name)
		}
	}
	if _, err := server.New(t.Context(), server.Config{}, "test", slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "data_dir") {
		t.Errorf("no data directory: %v", err)
	}
}

func vaultConfig(v server.VaultConfig) server.Config {
	return server.Config{Certificates: server.CertificatesConfig{Vault: &v}}
}
