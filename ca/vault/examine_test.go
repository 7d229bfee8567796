package vault_test

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"

	"troth/ca/catest"
	"troth/ca/vault"
)

// startAudited is a Vault as in production: TLS, an audit device, bootstrapped.
func startAudited(t *testing.T) *setup {
	t.Helper()
	s := startTLS(t)
	s.write(t, "sys/audit/file", map[string]any{"type": "file", "options": map[string]any{"file_path": filepath.Join(t.TempDir(), "audit.log")}})
	return s
}

// doctor returns a client with nothing but the policy that is meant for it.
func (s *setup) doctor(t *testing.T) *api.Client {
	t.Helper()
	made := s.write(t, "auth/token/create", map[string]any{"policies": []string{vault.DefaultDoctorPolicy}, "no_default_policy": true, "ttl": "15m"})
	c, err := vault.NewAdminClient(vault.Config{Address: s.server.Addr, CACert: s.server.CACert, Now: time.Now}, made.Auth.ClientToken)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// wrong are the findings that are not well, as "level code subject: message".
func (s *setup) wrong(t *testing.T, c *api.Client, now func() time.Time) []string {
	t.Helper()
	findings, err := vault.Examine(t.Context(), c, s.config, now)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, f := range findings {
		if f.Level != vault.OK {
			lines = append(lines, fmt.Sprintf("%s %s %s: %s", f.Level, f.Code, f.Subject, f.Message))
		}
	}
	if len(findings) == 0 {
		t.Error("nothing was looked at")
	}
	return lines
}

func (s *setup) merge(path string, data map[string]any) func(*testing.T) {
	return func(t *testing.T) {
		if _, err := s.admin.Logical().JSONMergePatch(t.Context(), path, data); err != nil {
			t.Fatal(err)
		}
	}
}

func (s *setup) writing(path string, data map[string]any) func(*testing.T) {
	return func(t *testing.T) { s.write(t, path, data) }
}

func (s *setup) deleting(path string) func(*testing.T) {
	return func(t *testing.T) {
		if _, err := s.admin.Logical().DeleteWithContext(t.Context(), path); err != nil {
			t.Fatal(err)
		}
	}
}

// policyWith is the service's policy and one rule more.
func (s *setup) policyWith(rule string) func(*testing.T) {
	return func(t *testing.T) {
		path := "sys/policies/acl/" + vault.DefaultPolicy
		answer, err := s.admin.Logical().ReadWithContext(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		s.write(t, path, map[string]any{"policy": answer.Data["policy"].(string) + rule})
	}
}

// withoutDenial turns one denial of the service's policy into a permission.
func (s *setup) withoutDenial(path string) func(*testing.T) {
	return func(t *testing.T) {
		name := "sys/policies/acl/" + vault.DefaultPolicy
		answer, err := s.admin.Logical().ReadWithContext(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		rule := "path \"" + vault.DefaultMount + "/" + path + "\" {\n  capabilities = [\"%s\"]"
		before := answer.Data["policy"].(string)
		after := strings.Replace(before, fmt.Sprintf(rule, "deny"), fmt.Sprintf(rule, "update"), 1)
		if after == before {
			t.Fatalf("the policy does not deny %s", path)
		}
		s.write(t, name, map[string]any{"policy": after})
	}
}

type weakness struct {
	weaken func(*testing.T)
	want   string // level, code and a word of the finding
}

func (s *setup) weaknesses() map[string]weakness {
	m, role := vault.DefaultMount, vault.DefaultMount+"/roles/"+vault.DefaultRole
	approle := "auth/approle/role/" + vault.DefaultAppRole
	all := map[string]weakness{
		"another URI":           {s.merge(role, map[string]any{"allowed_uri_sans": []string{"*"}}), "problem vault_role_uri_sans allowed_uri_sans"},
		"longer":                {s.merge(role, map[string]any{"max_ttl": "8760h"}), "problem vault_role_lifetime max_ttl"},
		"without limit":         {s.merge(role, map[string]any{"max_ttl": "0"}), "problem vault_role_lifetime max_ttl"},
		"until a date":          {s.merge(role, map[string]any{"not_after": "2035-01-01T00:00:00Z"}), "problem vault_role_lifetime not_after"},
		"backdated":             {s.merge(role, map[string]any{"not_before_duration": "720h"}), "problem vault_role_lifetime not_before_duration"},
		"stored":                {s.merge(role, map[string]any{"no_store": false}), "problem vault_role_stores no_store"},
		"any key":               {s.merge(role, map[string]any{"key_type": "any"}), "problem vault_role_key key_type"},
		"RSA":                   {s.merge(role, map[string]any{"key_type": "rsa", "key_bits": 2048}), "problem vault_role_key key_bits"},
		"issuer not pinned":     {s.merge(role, map[string]any{"issuer_ref": "default"}), "problem vault_role_issuer issuer_ref"},
		"subject from the CSR":  {s.merge(role, map[string]any{"serial_number_source": "json-csr"}), "problem vault_role_csr_names serial_number_source"},
		"organization":          {s.merge(role, map[string]any{"organization": "system:masters"}), "problem vault_role_subject organization"},
		"user ids":              {s.merge(role, map[string]any{"allowed_user_ids": "*"}), "problem vault_role_subject allowed_user_ids"},
		"a domain":              {s.merge(role, map[string]any{"allowed_domains": "example.org"}), "problem vault_role_names allowed_domains"},
		"other names":           {s.merge(role, map[string]any{"allowed_other_sans": "*"}), "problem vault_role_names allowed_other_sans"},
		"any extended usage":    {s.merge(role, map[string]any{"ext_key_usage": "Any"}), "problem vault_role_usage ext_key_usage"},
		"key encipherment":      {s.merge(role, map[string]any{"key_usage": []string{"DigitalSignature", "KeyEncipherment"}}), "problem vault_role_usage key_usage"},
		"role gone":             {s.deleting(role), "problem vault_role_missing role"},
		"CRL off":               {s.writing(m+"/config/crl", map[string]any{"disable": true}), "problem vault_crl disable"},
		"CRL not rebuilt":       {s.writing(m+"/config/crl", map[string]any{"auto_rebuild": false}), "problem vault_crl auto_rebuild"},
		"no addresses":          {s.writing(m+"/config/urls", map[string]any{"crl_distribution_points": "", "enable_templating": true}), "problem vault_urls crl_distribution_points"},
		"a rule beside denial":  {s.policyWith(`path "` + m + `/sign-verbatim/*" { capabilities = ["update"] }`), "warning vault_policy_edited policy"},
		"sign-verbatim":         {s.withoutDenial("sign-verbatim/*"), "problem vault_policy_grants update on troth-pki/sign-verbatim/troth-device"},
		"another issuer's sign": {s.policyWith(`path "` + m + `/issuer/+/sign/*" { capabilities = ["update"] }`), "problem vault_policy_grants another-issuer/sign"},
		"issue":                 {s.withoutDenial("issue/*"), "problem vault_policy_grants update on troth-pki/issue/troth-device"},
		"may seal":              {s.policyWith(`path "sys/*" { capabilities = ["update", "sudo"] }`), "problem vault_policy_grants sys/seal"},
		"may not sign":          {s.writing("sys/policies/acl/"+vault.DefaultPolicy, map[string]any{"policy": "# nothing"}), "problem vault_policy_lacks sign"},
		"harmless edit":         {s.policyWith(`# a remark`), "warning vault_policy_edited policy"},
		"policy by identity":    {s.policyWith(`path "x/{{identity.entity.id}}" { capabilities = ["read"] }`), "undecided vault_policy_grants depends on who asks"},
		"second policy": {func(t *testing.T) {
			s.write(t, "sys/policies/acl/extra", map[string]any{"policy": `path "` + m + `/sign/+" { capabilities = ["update"] }`})
			s.writing(approle, map[string]any{"token_policies": []string{vault.DefaultPolicy, "extra"}})(t)
		}, "problem vault_policy_grants sign/another-role"},
		"default policy":      {s.writing(approle, map[string]any{"token_no_default_policy": false}), "problem vault_approle token_no_default_policy"},
		"secret id unlimited": {s.writing(approle, map[string]any{"secret_id_ttl": 0}), "problem vault_secret_id_unlimited secret_id_ttl"},
		"no secret id":        {s.writing(approle, map[string]any{"bind_secret_id": false, "secret_id_bound_cidrs": "127.0.0.0/8"}), "problem vault_approle bind_secret_id"},
		"token for ever":      {s.writing(approle, map[string]any{"token_period": "768h"}), "problem vault_approle token_period"},
		"AppRole gone":        {s.deleting(approle), "problem vault_approle there is none"},
		"Transit deletion":    {s.writing(vault.DefaultTransit+"/keys/report/config", map[string]any{"deletion_allowed": true}), "problem vault_transit_key deletion_allowed"},
		"Transit rotation":    {s.writing(vault.DefaultTransit+"/keys/report/config", map[string]any{"auto_rotate_period": "24h"}), "problem vault_transit_key auto_rotate_period"},
		"audit off":           {s.deleting("sys/audit/file"), "warning vault_no_audit audit"},
		"another role":        {s.writing(m+"/roles/web", map[string]any{"allow_any_name": true}), "warning vault_other_roles web"},
	}
	for _, name := range []string{"use_csr_common_name", "use_csr_sans"} {
		all[name] = weakness{s.merge(role, map[string]any{name: true}), "problem vault_role_csr_names " + name}
	}
	for _, name := range []string{"allow_any_name", "allow_localhost", "allow_ip_sans", "allow_wildcard_certificates", "allow_subdomains", "allow_bare_domains", "allow_glob_domains"} {
		all[name] = weakness{s.merge(role, map[string]any{name: true}), "problem vault_role_names " + name}
	}
	for _, name := range []string{"server_flag", "code_signing_flag", "email_protection_flag"} {
		all[name] = weakness{s.merge(role, map[string]any{name: true}), "problem vault_role_usage " + name}
	}
	return all
}

// TestAttack_S8_Doctor loosens one thing after the other. Each is named, nothing
// else is, and bootstrap repairs it when told to.
func TestAttack_S8_Doctor(t *testing.T) {
	s := startAudited(t)
	doctor := s.doctor(t)
	if lines := s.wrong(t, doctor, time.Now); len(lines) != 0 {
		t.Fatalf("after bootstrap:\n%s", strings.Join(lines, "\n"))
	}
	all := s.weaknesses()
	for _, name := range slices.Sorted(maps.Keys(all)) {
		test := all[name]
		test.weaken(t)
		lines := s.wrong(t, doctor, time.Now)
		words := strings.SplitN(test.want, " ", 3)
		if !slices.ContainsFunc(lines, func(line string) bool {
			return strings.HasPrefix(line, words[0]+" "+words[1]+" ") && strings.Contains(line, words[2])
		}) {
			t.Errorf("%s: not found in:\n%s", name, strings.Join(lines, "\n"))
		}
		for _, line := range lines {
			if code := strings.Fields(line)[1]; code != words[1] && !related(code, words[1]) {
				t.Errorf("%s: %s", name, line)
			}
		}
		s.restore(t)
	}
	if lines := s.wrong(t, doctor, time.Now); len(lines) != 0 {
		t.Errorf("after the repairs:\n%s", strings.Join(lines, "\n"))
	}
}

// related findings come together: an edited policy also says so, and an AppRole
// with another policy too.
func related(have, want string) bool {
	return have == "vault_policy_edited" && strings.HasPrefix(want, "vault_policy") ||
		have == "vault_approle" && want == "vault_policy_grants"
}

func (s *setup) restore(t *testing.T) {
	t.Helper()
	s.bootstrap(t)
	s.deleting("sys/policies/acl/extra")(t)
	s.deleting(vault.DefaultMount + "/roles/web")(t)
	devices, err := s.admin.Sys().ListAuditWithContext(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(devices) == 0 {
		s.write(t, "sys/audit/file", map[string]any{"type": "file", "options": map[string]any{"file_path": filepath.Join(t.TempDir(), "audit.log")}})
	}
}

func TestDoctorSurroundings(t *testing.T) {
	s := startAudited(t)
	has := func(what string, lines []string, want string) {
		t.Helper()
		if !slices.ContainsFunc(lines, func(line string) bool { return strings.HasPrefix(line, want) }) {
			t.Errorf("%s: no %q in:\n%s", what, want, strings.Join(lines, "\n"))
		}
	}
	ahead := func(d time.Duration) func() time.Time { return func() time.Time { return time.Now().Add(d) } }
	has("clock ahead", s.wrong(t, s.doctor(t), ahead(2*time.Minute)), "problem vault_clock")
	has("clock behind", s.wrong(t, s.doctor(t), ahead(-2*time.Minute)), "problem vault_clock")
	has("clock a little off", s.wrong(t, s.doctor(t), ahead(20*time.Second)), "warning vault_clock")
	has("issuer near its end", s.wrong(t, s.doctor(t), ahead(10*365*24*time.Hour-30*24*time.Hour)), "warning vault_issuer_ends")
	has("issuer ended", s.wrong(t, s.doctor(t), ahead(11*365*24*time.Hour)), "problem vault_issuer ")

	// A key that may leave Vault stays so.
	key := vault.DefaultTransit + "/keys/report/config"
	s.write(t, key, map[string]any{"exportable": true})
	has("exportable key", s.wrong(t, s.doctor(t), time.Now), "problem vault_transit_key signing key report: exportable")
	outcome, err := vault.Bootstrap(t.Context(), s.admin, s.config, vault.Options{Repair: true})
	if err != nil {
		t.Fatal(err)
	}
	if i := slices.IndexFunc(outcome.Steps, func(s vault.Step) bool { return s.What == "signing key report" }); outcome.Steps[i].State != vault.Differs || outcome.Steps[i].Note == "" {
		t.Errorf("exportable key: %+v, want it left and said so", outcome.Steps[i])
	}

	// Without the permission to look, nothing is called fine.
	made := s.write(t, "auth/token/create", map[string]any{"policies": []string{"default"}})
	blind, err := vault.NewAdminClient(vault.Config{Address: s.server.Addr, CACert: s.server.CACert, Now: time.Now}, made.Auth.ClientToken)
	if err != nil {
		t.Fatal(err)
	}
	lines := s.wrong(t, blind, time.Now)
	for _, what := range []string{"audit devices", "role troth-device", "policy troth-ca", "AppRole troth", "signing key report", "CRL"} {
		has("blind", lines, "undecided vault_unread "+what)
	}
	s.server.Seal(t)
	has("sealed", s.wrong(t, blind, time.Now), "problem vault_unready")
}

// TestScript runs what --print-hcl prints with Vault's own program. What it sets
// up is what Bootstrap would.
func TestScript(t *testing.T) {
	for name, change := range map[string]func(*vault.BootstrapConfig){
		"root":         func(*vault.BootstrapConfig) {},
		"intermediate": func(c *vault.BootstrapConfig) { c.RootMount, c.NoTransit = "company", true },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := catest.StartVaultTLS(t)
			admin, err := vault.NewAdminClient(vault.Config{Address: server.Addr, CACert: server.CACert, Now: time.Now}, server.Token)
			if err != nil {
				t.Fatal(err)
			}
			s := &setup{server: server, admin: admin, config: vault.BootstrapConfig{TrustDomain: catest.TrustDomain, PublicURL: server.Addr}}
			change(&s.config)
			s.companyRoot(t)
			script, err := vault.Script(s.config)
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			command := exec.CommandContext(t.Context(), "sh", put(t, filepath.Join(dir, "script"), script))
			command.Dir = dir
			command.Env = []string{"HOME=" + dir, "PATH=" + filepath.Dir(server.Binary) + ":" + os.Getenv("PATH"),
				"VAULT_ADDR=" + server.Addr, "VAULT_TOKEN=" + server.Token, "VAULT_CACERT=" + server.CACert}
			if out, err := command.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			outcome, err := vault.Bootstrap(t.Context(), s.admin, s.config, vault.Options{DryRun: true})
			if err != nil {
				t.Fatal(err)
			}
			for _, step := range outcome.Steps {
				if step.State != vault.Unchanged {
					t.Errorf("%+v", step)
				}
			}
			s.config.RootMount = ""
			for _, line := range s.wrong(t, s.doctor(t), time.Now) {
				if !strings.HasPrefix(line, "warning vault_no_audit") {
					t.Error(line)
				}
			}
			if _, err := newCA(t, vault.Config{Address: server.Addr, CACert: server.CACert, Issuer: outcome.Issuer, AppRole: s.credentials(t), Now: time.Now}).
				Issue(t.Context(), catest.NewRequest(t, "device")); err != nil {
				t.Error(err)
			}
		})
	}
}

// companyRoot is a root in a mount of its own.
func (s *setup) companyRoot(t *testing.T) {
	t.Helper()
	s.write(t, "sys/mounts/company", map[string]any{"type": "pki", "config": map[string]any{"max_lease_ttl": "175200h"}})
	s.write(t, "company/root/generate/internal", map[string]any{"common_name": "company root", "ttl": "175200h", "key_type": "ec", "key_bits": 384, "not_before_duration": "1h"})
}
