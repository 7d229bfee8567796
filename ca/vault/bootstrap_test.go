package vault_test

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"troth/ca"
	"troth/ca/catest"
	"troth/ca/vault"
)

// TestBootstrapAgain: running it again keeps the root and repairs what was
// edited; every interrupted state is one of those that it starts from here.
func TestBootstrapAgain(t *testing.T) {
	s := start(t)
	issuer := s.issuer(t, s.server.Addr)
	before, err := issuer.Bundle(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	again := func(what string) {
		t.Helper()
		if _, err := vault.Bootstrap(t.Context(), s.admin, s.config, vault.Options{Repair: true}); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		after, err := issuer.Bundle(t.Context())
		if err != nil || len(after) != 1 || !after[0].Equal(before[0]) {
			t.Errorf("%s: the root is another one (%v)", what, err)
		}
		if _, err := s.issuer(t, s.server.Addr).Issue(t.Context(), catest.NewRequest(t, "device")); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	again("unchanged")
	m := vault.DefaultMount
	for _, path := range []string{m + "/roles/" + vault.DefaultRole, "sys/policies/acl/" + vault.DefaultPolicy, "auth/approle/role/" + vault.DefaultAppRole, "sys/auth/approle"} {
		if _, err := s.admin.Logical().DeleteWithContext(t.Context(), path); err != nil {
			t.Fatal(err)
		}
		again("without " + path)
	}
	_, err = s.admin.Logical().WriteWithContext(t.Context(), m+"/roles/"+vault.DefaultRole,
		map[string]any{"allow_any_name": true, "server_flag": true, "no_store": false, "key_type": "any"})
	if err != nil {
		t.Fatal(err)
	}
	again("with an edited role")
	role, err := s.admin.Logical().ReadWithContext(t.Context(), m+"/roles/"+vault.DefaultRole)
	if err != nil {
		t.Fatal(err)
	}
	for field, want := range map[string]any{
		"allow_any_name": false, "allow_localhost": false, "allow_ip_sans": false, "server_flag": false, "client_flag": true,
		"use_csr_common_name": false, "use_csr_sans": false, "no_store": true, "key_type": "ec", "allow_wildcard_certificates": false,
	} {
		if role.Data[field] != want {
			t.Errorf("role: %s = %v, want %v", field, role.Data[field], want)
		}
	}
}

// TestBootstrapAtOnce: set-ups that share an auth method and a Transit mount do
// not trip over each other's.
func TestBootstrapAtOnce(t *testing.T) {
	server := catest.StartVaultServer(t)
	var group errgroup.Group
	for i := range 8 {
		name := fmt.Sprintf("at-once-%d", i)
		admin := client(t, server.Addr, server.Token)
		group.Go(func() error {
			_, err := vault.Bootstrap(t.Context(), admin, vault.BootstrapConfig{
				TrustDomain: "example.org", Mount: name, Role: name, Policy: name, AppRole: name,
			}, vault.Options{})
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
}

func TestBootstrapRefuses(t *testing.T) {
	server := catest.StartVaultServer(t)
	admin := client(t, server.Addr, server.Token)
	for name, config := range map[string]vault.BootstrapConfig{
		"no trust domain":      {},
		"a URI":                {TrustDomain: "spiffe://example.org"},
		"a glob":               {TrustDomain: "*"},
		"a mount of other use": {TrustDomain: "example.org", Mount: "secret"},
		"an auth of other use": {TrustDomain: "example.org", Auth: "token"},
		"an unknown issuer":    {TrustDomain: "example.org", Issuer: "nobody"},
		"a path as role":       {TrustDomain: "example.org", Role: "../../sys"},
		"a quote as policy":    {TrustDomain: "example.org", Policy: "a\"b"},
		"no lifetime":          {TrustDomain: "example.org", MaxTTL: time.Second},
	} {
		if _, err := vault.Bootstrap(t.Context(), admin, config, vault.Options{Repair: true}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestExistingIssuer: Vault as an intermediate of a company's root, whose key
// Vault never sees. The chain that a device presents has the intermediate; the
// bundle is the company's root.
func TestExistingIssuer(t *testing.T) {
	server := catest.StartVaultServer(t)
	s := &setup{server: server, admin: client(t, server.Addr, server.Token),
		config: vault.BootstrapConfig{TrustDomain: catest.TrustDomain, Mount: "company/pki"}}
	s.config.Issuer = s.importIntermediate(t)
	if _, err := vault.Bootstrap(t.Context(), s.admin, s.config, vault.Options{Repair: true}); err != nil {
		t.Fatal(err)
	}
	for name, reference := range map[string]string{"the role's": "", "the configured": s.config.Issuer} {
		t.Run(name, func(t *testing.T) {
			issuer := newCA(t, vault.Config{
				Address: server.Addr, Mount: s.config.Mount, Issuer: reference, TrustDomain: catest.TrustDomain,
				AppRole: s.credentials(t), Now: time.Now,
			})
			catest.TestIssuer(t, func(*testing.T) ca.Issuer { return issuer })
			certificate, err := issuer.Issue(t.Context(), catest.NewRequest(t, "device"))
			if err != nil {
				t.Fatal(err)
			}
			roots, err := issuer.Bundle(t.Context())
			if err != nil || len(roots) != 1 || roots[0].Subject.CommonName != "company root" {
				t.Errorf("bundle = %v, %v, want the company's root", roots, err)
			}
			if len(certificate.Chain) != 1 {
				t.Errorf("chain has %d certificates, want the intermediate", len(certificate.Chain))
			}
		})
	}
}

// importIntermediate has Vault make an intermediate's key, signs it with a root
// outside and returns the id of the issuer.
func (s *setup) importIntermediate(t *testing.T) string {
	t.Helper()
	write := func(path string, data map[string]any) map[string]any {
		t.Helper()
		answer, err := s.admin.Logical().WriteWithContext(t.Context(), path, data)
		if err != nil {
			t.Fatal(err)
		}
		if answer == nil {
			return nil
		}
		return answer.Data
	}
	write("sys/mounts/"+s.config.Mount, map[string]any{"type": "pki", "config": map[string]any{"max_lease_ttl": "87600h"}})
	request := write(s.config.Mount+"/intermediate/generate/internal",
		map[string]any{"common_name": "company devices", "key_type": "ec", "key_bits": 256})
	block, _ := pem.Decode([]byte(request["csr"].(string)))
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	now, key := time.Now(), catest.NewKey(t)
	rootTemplate := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "company root"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(10000 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	root := sign509(t, rootTemplate, rootTemplate, &key.PublicKey, key)
	middle := *rootTemplate
	middle.SerialNumber, middle.Subject = big.NewInt(2), csr.Subject
	intermediate := sign509(t, &middle, root, csr.PublicKey, key)
	imported := write(s.config.Mount+"/intermediate/set-signed", map[string]any{"certificate": certificatePEM(intermediate) + certificatePEM(root)})
	for issuer, key := range imported["mapping"].(map[string]any) {
		if key != "" {
			// Beyond the issuer's end is not an error but shortened.
			write(s.config.Mount+"/issuer/"+issuer, map[string]any{"leaf_not_after_behavior": "truncate"})
			return issuer
		}
	}
	t.Fatal("Vault imported no issuer with a key")
	return ""
}

func sign509(t *testing.T, template, parent *x509.Certificate, public any, key *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return certificate
}

func certificatePEM(c *x509.Certificate) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
}

// TestAttack_S8_LoosenedRole: someone with rights in Vault loosens the role. What
// it then signs is not handed out, and is revoked.
func TestAttack_S8_LoosenedRole(t *testing.T) {
	s := start(t)
	issuer := s.issuer(t, s.server.Addr)
	role := vault.DefaultMount + "/roles/" + vault.DefaultRole
	revoked := map[string]bool{}
	for name, change := range map[string]map[string]any{
		"server usage":    {"server_flag": true},
		"another subject": {"organization": "system:masters"},
		"longer":          {"max_ttl": "87600h", "not_after": "2035-01-01T00:00:00Z", "ttl": "0"},
		"backdated":       {"not_before_duration": "9m"},
		"key agreement":   {"key_usage": []string{"DigitalSignature", "KeyAgreement"}},
	} {
		if _, err := vault.Bootstrap(t.Context(), s.admin, s.config, vault.Options{Repair: true}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.admin.Logical().JSONMergePatch(t.Context(), role, change); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		_, err := issuer.Issue(t.Context(), catest.NewRequest(t, "device"))
		// Vault may refuse a lifetime both in the request and in the role.
		if name == "longer" && errors.Is(err, ca.ErrRefused) {
			continue
		}
		is(t, name, err, ca.ErrMisissued)
		der, err := issuer.CRL(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		list, err := x509.ParseRevocationList(der)
		if err != nil {
			t.Fatal(err)
		}
		before := len(revoked)
		for _, entry := range list.RevokedCertificateEntries {
			revoked[hex.EncodeToString(entry.SerialNumber.Bytes())] = true
		}
		if len(revoked) != before+1 {
			t.Errorf("%s: %d certificates were revoked, want one", name, len(revoked)-before)
		}
	}
}

func TestConfig(t *testing.T) {
	token := func(c vault.Config) vault.Config {
		if c.Address == "" {
			c.Address = "https://vault.example.org:8200"
		}
		c.Token, c.Now = "t", time.Now
		return c
	}
	if _, err := vault.New(token(vault.Config{})); err != nil {
		t.Errorf("defaults: %v", err)
	}
	for name, config := range map[string]vault.Config{
		"nothing":               {},
		"no clock":              {Address: "https://vault.example.org", Token: "t"},
		"no credentials":        {Address: "https://vault.example.org", Now: time.Now},
		"two credentials":       {Address: "https://vault.example.org", Now: time.Now, Token: "t", TokenFile: "f"},
		"AppRole without id":    {Address: "https://vault.example.org", Now: time.Now, AppRole: &vault.AppRole{SecretID: "s"}},
		"clear text":            token(vault.Config{Address: "http://vault.example.org:8200"}),
		"clear text look-alike": token(vault.Config{Address: "http://127.example.org:8200"}),
		"no scheme":             token(vault.Config{Address: "vault.example.org:8200"}),
		"path in address":       token(vault.Config{Address: "https://vault.example.org/v1"}),
		"mount leaves":          token(vault.Config{Mount: "pki/../sys"}),
		"role leaves":           token(vault.Config{Role: "../sign-verbatim"}),
		"issuer leaves":         token(vault.Config{Issuer: "a/b"}),
		"missing roots":         token(vault.Config{CACert: filepath.Join(t.TempDir(), "none")}),
		"negative timeout":      token(vault.Config{Timeout: -1}),
	} {
		if _, err := vault.New(config); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestEnvironment: what another use of Vault has left in the environment neither
// redirects us nor lends us its token.
func TestEnvironment(t *testing.T) {
	server := catest.StartVaultServer(t)
	s := &setup{server: server, admin: client(t, server.Addr, server.Token),
		config: vault.BootstrapConfig{TrustDomain: catest.TrustDomain}}
	if _, err := vault.Bootstrap(t.Context(), s.admin, s.config, vault.Options{Repair: true}); err != nil {
		t.Fatal(err)
	}
	credentials := s.credentials(t)
	for name, value := range map[string]string{
		"VAULT_ADDR": "http://127.0.0.1:1", "VAULT_AGENT_ADDR": "http://127.0.0.1:1", "VAULT_TOKEN": "wrong",
		"VAULT_NAMESPACE": "wrong", "VAULT_WRAP_TTL": "1m", "VAULT_HEADERS": `{"X-Wrong":"1"}`, "VAULT_MAX_RETRIES": "9",
	} {
		t.Setenv(name, value)
	}
	issuer := newCA(t, vault.Config{Address: server.Addr, AppRole: credentials, Now: time.Now})
	if _, err := issuer.Issue(t.Context(), catest.NewRequest(t, "device")); err != nil {
		t.Error(err)
	}
	wrong := newCA(t, vault.Config{Address: server.Addr, Token: "not-" + server.Token, Now: time.Now})
	err := wrong.Check(t.Context())
	is(t, "wrong token", err, ca.ErrUnavailable)
	if err != nil && strings.Contains(err.Error(), server.Token) {
		t.Error("the error carries the token")
	}
}
