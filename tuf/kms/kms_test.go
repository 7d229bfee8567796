package kms_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"troth/ca/catest"
	"troth/tuf"
	"troth/tuf/client"
	"troth/tuf/kms"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// transit is a Vault with keys.
type transit struct {
	t           *testing.T
	addr, token string
	dir         string
}

func newTransit(t *testing.T) *transit {
	t.Helper()
	v := &transit{t: t, dir: t.TempDir()}
	v.addr, v.token = catest.StartVault(t)
	v.call("sys/mounts/transit", map[string]any{"type": "transit"})
	if err := os.WriteFile(v.tokenFile(), []byte(v.token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return v
}

func (v *transit) tokenFile() string { return filepath.Join(v.dir, "vault-token") }

func (v *transit) call(path string, body any) {
	v.t.Helper()
	data, err := json.Marshal(body)
	if err != nil {
		v.t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(v.t.Context(), http.MethodPost, v.addr+"/v1/"+path, bytes.NewReader(data))
	if err != nil {
		v.t.Fatal(err)
	}
	request.Header.Set("X-Vault-Token", v.token)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		v.t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode >= 300 {
		v.t.Fatalf("%s: %s", path, response.Status)
	}
}

func (v *transit) key(name, kind string) kms.Key {
	v.t.Helper()
	v.call("transit/keys/"+name, map[string]any{"type": kind})
	return kms.Key{URI: "hashivault://" + name, Version: 1, Address: v.addr, TokenFile: v.tokenFile()}
}

// describe writes the .kms file of a role into keys.
func (v *transit) describe(keys, role string, k kms.Key) {
	v.t.Helper()
	text, err := kms.Describe(k)
	if err != nil {
		v.t.Fatal(err)
	}
	if err := os.MkdirAll(keys, 0o700); err != nil {
		v.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(keys, role+tuf.KMSSuffix), text, 0o600); err != nil {
		v.t.Fatal(err)
	}
}

// A repository whose online keys are in Vault: made, published to, signed anew,
// after a rotation in Vault too, and read by a client. Keys that were not meant
// are refused.
func TestVaultTransitSigns(t *testing.T) {
	v := newTransit(t)
	base := t.TempDir()
	dir, keys := filepath.Join(base, "repo"), filepath.Join(base, "keys")
	snapshot := v.key("snapshot", "ecdsa-p256")
	v.describe(keys, "snapshot", snapshot)
	v.describe(keys, "timestamp", v.key("timestamp", "ed25519"))
	if err := tuf.Init(dir, tuf.InitOptions{KeysDir: keys, Now: start, Remote: kms.Open}); err != nil {
		t.Fatal(err)
	}
	repo, err := tuf.OpenWith(dir, tuf.Keys{Dir: keys, Remote: kms.Open})
	if err != nil {
		t.Fatal(err)
	}
	publish := func(counter uint64) error {
		_, err := repo.Publish(t.Context(), tuf.Release{
			Name: fmt.Sprintf("fw-%d", counter), Model: "edge", Version: "1", Counter: counter,
			Reference: &tuf.Reference{Bank: "sha256", PCRs: map[string]string{"4": fmt.Sprintf("%064x", counter)}},
		}, strings.NewReader("x"), start)
		return err
	}
	if err := publish(1); err != nil {
		t.Fatal(err)
	}
	v.call("transit/keys/snapshot/rotate", nil)
	v.call("transit/keys/timestamp/rotate", nil)
	if err := publish(2); err != nil {
		t.Fatalf("after a rotation in Vault, with the version pinned: %v", err)
	}
	if err := repo.Refresh(start.Add(5 * 24 * time.Hour)); err != nil {
		t.Fatal(err)
	}
	root, err := repo.Root()
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.New(client.Config{
		Dir: filepath.Join(base, "client"), Root: root, Now: func() time.Time { return start.Add(5 * 24 * time.Hour) },
		MetadataURL: "file://" + filepath.Join(dir, "metadata"), TargetsURL: "file://" + filepath.Join(dir, "targets"),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Find("fw-2"); err != nil {
		t.Error(err)
	}

	t.Run("another version", func(t *testing.T) {
		text, err := os.ReadFile(filepath.Join(keys, "snapshot.kms"))
		if err != nil {
			t.Fatal(err)
		}
		moved := strings.Replace(string(text), "version: 1", "version: 2", 1)
		if moved == string(text) {
			t.Fatalf("no version in %s", text)
		}
		if err := os.WriteFile(filepath.Join(keys, "snapshot.kms"), []byte(moved), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := publish(3); err == nil || !strings.Contains(err.Error(), "verify signature of key") {
			t.Errorf("signed with another version than the described: %v", err)
		}
		if err := os.WriteFile(filepath.Join(keys, "snapshot.kms"), text, 0o600); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("token withdrawn", func(t *testing.T) {
		if err := os.WriteFile(v.tokenFile(), []byte("wrong"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := publish(3); err == nil || !strings.Contains(err.Error(), "403") {
			t.Errorf("%v", err)
		}
	})
	for _, k := range []kms.Key{
		{URI: "hashivault://snapshot", Version: 9, Address: v.addr, TokenFile: v.tokenFile()},
		{URI: "hashivault://nothing", Version: 1, Address: v.addr, TokenFile: v.tokenFile()},
		v.key("rsa", "rsa-2048"),
	} {
		if text, err := kms.Describe(k); err == nil {
			t.Errorf("described %s: %s", k.URI, text)
		}
	}
}

func TestParse(t *testing.T) {
	for _, tc := range []struct{ text, want string }{
		{"uri: hashivault://a\nversion: 3\n", ""},
		{"uri: awskms:///alias/a\n", ""},
		{"uri: hashivault://a\n", "version"},
		{"uri: hashivault://a\nversion: -1\n", "version"},
		{"uri: a\nversion: 1\n", "uri"},
		{"uri: hashivault://a\nversion: 1\nsurprise: 1\n", "surprise"},
		{"", "uri"},
		{"[", "parse"},
	} {
		_, err := kms.Parse([]byte(tc.text))
		if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("%q: %v, want %q", tc.text, err, tc.want)
		}
	}
	if _, err := kms.Open("x.kms", []byte("uri: hashivault://a\nversion: 3\n")); err == nil || !strings.Contains(err.Error(), "public_key") {
		t.Errorf("opened without a public key: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("uri: hashivault://a\nversion: 3\npublic_key: x\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if k, err := kms.Parse(text); err == nil && !strings.Contains(k.URI, "://") {
			t.Errorf("accepted %+v", k)
		}
	})
}
