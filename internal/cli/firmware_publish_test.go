package cli_test

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"troth/tuf/provenance"
	"troth/tuf/provenance/provenancetest"
)

// TestPublishWithRequirements publishes under a strict policy, with bundles that
// are really signed: by an authority whose root is trusted, by a stranger's, and
// with keys.
func TestPublishWithRequirements(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/publish",
		Setup: func(env *testscript.Env) error {
			image := []byte("firmware 2\n")
			known, stranger, key := provenancetest.NewAuthority(t), provenancetest.NewAuthority(t), provenancetest.NewKey(t)
			statement := provenancetest.Statement(image, "https://ci.example/builder", "git+https://git.example/fw")
			public, err := x509.MarshalPKIXPublicKey(key.Public)
			if err != nil {
				return err
			}
			for name, content := range map[string][]byte{
				"trusted_root.json":  known.Root(),
				"provenance.json":    known.Attest("builder@ci.example", "https://id.example", statement),
				"claimed.json":       known.Attest("mallory@ci.example", "https://id.example", statement),
				"stranger.json":      stranger.Attest("builder@ci.example", "https://id.example", statement),
				"another-image.json": known.Attest("builder@ci.example", "https://id.example", provenancetest.Statement([]byte("x"), "https://ci.example/builder", "")),
				"signature.json":     key.Sign(image),
				"signer.pub":         pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}),
			} {
				if err := os.WriteFile(filepath.Join(env.WorkDir, name), content, 0o600); err != nil {
					return err
				}
			}
			id, err := keyID(key)
			env.Setenv("KEY", id)
			env.Setenv("POLICIES", filepath.Join(repository(t), "policies"))
			env.Setenv("HOME", env.WorkDir)
			return err
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"status": status, "configure": configure},
	})
}

// keyID is how policy names the key.
func keyID(key *provenancetest.Key) (string, error) { return provenance.KeyID(key.Public) }

func repository(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// configure DIR JSON copies the policy library to DIR, with JSON as what publishing
// asks for.
func configure(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: configure DIR JSON")
	}
	dir := ts.MkAbs(args[0])
	ts.Check(os.CopyFS(dir, os.DirFS(ts.Getenv("POLICIES"))))
	file := filepath.Join(dir, "config", "data.json")
	text, err := os.ReadFile(file)
	ts.Check(err)
	var data map[string]json.RawMessage
	ts.Check(json.Unmarshal(text, &data))
	data["publish"] = json.RawMessage(args[1])
	text, err = json.Marshal(data)
	ts.Check(err)
	ts.Check(os.WriteFile(file, text, 0o600))
}
