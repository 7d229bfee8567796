package cli_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"troth/attest/ear"
	"troth/internal/api"
)

// resultBench is a directory with a key set, and a key to sign with.
type resultBench struct {
	t    *testing.T
	dir  string
	key  ear.Key
	keys string // file
}

// resultTime is the time that run gives its commands.
var resultTime = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func newResultBench(t *testing.T) *resultBench {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	b := &resultBench{t: t, dir: t.TempDir()}
	b.key, err = ear.NewKey(private)
	must(t, err)
	text, err := json.Marshal(ear.NewKeySet(b.key))
	must(t, err)
	b.keys = b.file("keys.json", string(text))
	return b
}

func (b *resultBench) file(name, content string) string {
	b.t.Helper()
	path := filepath.Join(b.dir, name)
	must(b.t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

func (b *resultBench) token(status ear.Tier, v ear.Vector) string {
	b.t.Helper()
	text, err := ear.Sign(b.key, ear.Result{
		Profile: ear.Profile, Status: status, Issuer: "spiffe://troth.example", Subject: "spiffe://troth.example/device/" + pressID,
		IssuedAt: resultTime.Unix(), ExpiresAt: resultTime.Unix() + 600, Nonce: "YSBub25jZSBvZiBvdXJz",
		Verifier: ear.VerifierID{Developer: "troth", Build: "1.2.3"},
		Submods: map[string]ear.Appraisal{"device": {Status: status, Vector: v, VerifierClaims: map[string]any{"troth": map[string]any{
			"verdict": evilWord, "appraised_at": 1_800_000_000,
		}}}},
	})
	must(b.t, err)
	return text
}

func TestResultVerify(t *testing.T) {
	b := newResultBench(t)
	good := b.file("good", b.token(ear.Affirming, ear.Vector{ear.Executables: 3})+"\n")
	warned := b.file("warned", b.token(ear.Warning, ear.Vector{ear.Executables: 33}))
	silent := b.file("silent", b.token(ear.None, ear.Vector{ear.Executables: 0}))
	text, err := os.ReadFile(good)
	must(t, err)
	header, rest, _ := strings.Cut(string(text), ".")
	altered := b.file("altered", header+"."+strings.Replace(rest, "A", "B", 1))
	for name, c := range map[string]struct {
		args   []string
		status int
		stderr string
	}{
		"good":                          {[]string{good, "--jwks", b.keys}, 0, ""},
		"as json":                       {[]string{good, "--jwks", b.keys, "-o", "json"}, 0, ""},
		"expected":                      {[]string{good, "--jwks", b.keys, "--issuer", "spiffe://troth.example", "--device", pressID, "--nonce", "YSBub25jZSBvZiBvdXJz"}, 0, ""},
		"by its SPIFFE id":              {[]string{good, "--jwks", b.keys, "--device", "spiffe://troth.example/device/" + pressID}, 0, ""},
		"another device":                {[]string{good, "--jwks", b.keys, "--device", kilnID}, 1, "token_subject"},
		"a device's ending":             {[]string{good, "--jwks", b.keys, "--device", pressID[1:]}, 1, "token_subject"},
		"another issuer":                {[]string{good, "--jwks", b.keys, "--issuer", "x"}, 1, "token_issuer"},
		"another nonce":                 {[]string{good, "--jwks", b.keys, "--nonce", "x"}, 1, "token_nonce"},
		"warned":                        {[]string{warned, "--jwks", b.keys}, 1, "not_affirming"},
		"silent":                        {[]string{silent, "--jwks", b.keys}, 3, "not_affirming"},
		"altered":                       {[]string{altered, "--jwks", b.keys}, 1, "token_"},
		"other keys":                    {[]string{good, "--jwks", newResultBench(t).keys}, 1, "token_key_unknown"},
		"no key set":                    {[]string{good, "--jwks", good}, 3, "key_set_malformed"},
		"no file":                       {[]string{good, "--jwks", filepath.Join(b.dir, "none")}, 2, "file"},
		"without --jwks":                {[]string{good}, 2, "usage"},
		"over plain http":               {[]string{good, "--jwks", "http://troth.example/jwks.json"}, 2, "usage"},
		"another scheme":                {[]string{good, "--jwks", "ftp://troth.example/x"}, 2, "usage"},
		"with a password":               {[]string{good, "--jwks", "https://a:b@troth.example/x"}, 2, "usage"},
		"a negative skew":               {[]string{good, "--jwks", b.keys, "--skew", "-1s"}, 2, "usage"},
		"a token too long":              {[]string{b.file("long", strings.Repeat("A", ear.MaxToken+10)), "--jwks", b.keys}, 2, "file"},
		"something that is not a token": {[]string{b.keys, "--jwks", b.keys}, 1, "token_malformed"},
	} {
		status, stdout, stderr := run(t, map[string]string{"TROTH_CONFIG": filepath.Join(b.dir, "config.yaml")}, "", append([]string{"result", "verify"}, c.args...)...)
		if status != c.status || !strings.Contains(stderr, c.stderr) || (c.stderr == "") != (stderr == "") {
			t.Errorf("%s: exit status %d, want %d: %s%s", name, status, c.status, stdout, stderr)
		}
		if strings.ContainsAny(stdout+stderr, "\x1b\u202e\a") {
			t.Errorf("%s: hostile words reach the terminal: %q", name, stdout)
		}
	}
	_, stdout, _ := run(t, nil, string(text), "result", "verify", "-", "--jwks", b.keys)
	for _, want := range []string{"affirming", "spiffe://troth.example/device/" + pressID, "in 10m", "executables"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("the answer does not say %q:\n%s", want, stdout)
		}
	}
}

// TestAttack_S7_KeySetServerGetsNoToken: the key set is fetched without a
// credential, and not from where a redirect leads.
func TestAttack_S7_KeySetServerGetsNoToken(t *testing.T) {
	b := newResultBench(t)
	set, err := os.ReadFile(b.keys)
	must(t, err)
	var asked, credentials atomic.Int32
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if r.Header.Get("Authorization") != "" {
			credentials.Add(1)
		}
		if r.URL.Path == "/away" {
			http.Redirect(w, r, "/keys", http.StatusFound)
			return
		}
		_, _ = w.Write(set)
	}))
	defer server.Close()
	ca := b.file("ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})))
	good := b.file("good", b.token(ear.Affirming, ear.Vector{ear.Executables: 3}))
	config := "current: prod\ncontexts:\n  prod:\n    server: " + server.URL + "\n    token: " + adminToken + "\n"
	env := map[string]string{"TROTH_TOKEN": adminToken, "TROTH_CONFIG": b.file("config.yaml", config)}
	if status, _, stderr := run(t, env, "", "result", "verify", good, "--jwks", server.URL+"/keys?x=1", "--ca", ca); status != 0 {
		t.Errorf("exit status %d: %s", status, stderr)
	}
	if status, _, stderr := run(t, env, "", "result", "verify", good, "--jwks", server.URL+"/away", "--ca", ca); status != 3 {
		t.Errorf("after a redirect: exit status %d: %s", status, stderr)
	}
	if status, _, stderr := run(t, env, "", "result", "verify", good, "--jwks", server.URL+"/keys"); status != 3 || !strings.Contains(stderr, "untrusted_server") {
		t.Errorf("from an untrusted server: exit status %d: %s", status, stderr)
	}
	if asked.Load() != 2 || credentials.Load() != 0 {
		t.Errorf("asked %d times, %d with a token", asked.Load(), credentials.Load())
	}
}

func TestDeviceResult(t *testing.T) {
	b := newResultBench(t)
	token := b.token(ear.Affirming, ear.Vector{ear.Executables: 3})
	var query atomic.Value
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		query.Store(r.URL.RequestURI())
		if r.Header.Get("Authorization") != "Bearer "+adminToken {
			problem(w, 401, "unauthorized", "the token is not known here")
			return
		}
		answer(w, api.Result{Token: token, Status: "affirming", ExpiresAt: resultTime.Add(10 * time.Minute)})
	}))
	defer server.Close()
	ca := b.file("ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})))
	env := map[string]string{"TROTH_TOKEN": adminToken, "TROTH_SERVER": server.URL, "TROTH_CA": ca, "TROTH_CONFIG": filepath.Join(b.dir, "config.yaml")}
	status, stdout, stderr := run(t, env, "", "device", "result", "press-7", "--nonce", "YSBub25jZSBvZiBvdXJz")
	if status != 0 || stdout != token+"\n" {
		t.Errorf("exit status %d: %q %s", status, stdout, stderr)
	}
	if got := query.Load(); got != "/v1/devices/press-7/result?nonce=YSBub25jZSBvZiBvdXJz" {
		t.Errorf("asked for %s", got)
	}
	if status, stdout, _ = run(t, env, "", "device", "result", "press-7", "-o", "json"); status != 0 || !strings.Contains(stdout, `"status": "affirming"`) {
		t.Errorf("exit status %d: %s", status, stdout)
	}
	if status, _, stderr = run(t, env, "", "device", "result", "press-7", "--nonce", "short"); status != 2 {
		t.Errorf("a short nonce: exit status %d: %s", status, stderr)
	}
}
