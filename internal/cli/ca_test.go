package cli_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"troth/ca/catest"
)

// TestCAScripts runs the commands against a real Vault. A script finds VAULT (its
// address), vault-ca.pem and admin-token (its root's), and Vault's own program
// as exec vault.
func TestCAScripts(t *testing.T) {
	server := catest.StartVaultTLS(t)
	root, err := os.ReadFile(server.CACert)
	must(t, err)
	testscript.Run(t, testscript.Params{
		Dir: "testdata/ca",
		Setup: func(env *testscript.Env) error {
			for name, content := range map[string][]byte{"vault-ca.pem": root, "admin-token": []byte(server.Token + "\n")} {
				if err := os.WriteFile(filepath.Join(env.WorkDir, name), content, 0o600); err != nil {
					return err
				}
			}
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("VAULT", server.Addr)
			env.Setenv("PATH", filepath.Dir(server.Binary)+string(filepath.ListSeparator)+env.Getenv("PATH"))
			env.Setenv("VAULT_ADDR", server.Addr)
			env.Setenv("VAULT_TOKEN", server.Token)
			env.Setenv("VAULT_CACERT", server.CACert)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"status": status, "harmless": harmless},
	})
}
