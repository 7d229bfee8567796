package vault_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"

	"troth/ca"
	"troth/ca/catest"
	"troth/ca/vault"
)

// relay forwards everything to a Vault, and shows each request to observe.
func relay(t *testing.T, target string, observe func(*http.Request)) string {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	reverse := httputil.NewSingleHostReverseProxy(u)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		observe(r)
		reverse.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func (s *setup) write(t *testing.T, path string, data map[string]any) *api.Secret {
	t.Helper()
	answer, err := s.admin.Logical().WriteWithContext(t.Context(), path, data)
	if err != nil {
		t.Fatalf("write %s: %v", path, err)
	}
	return answer
}

func put(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// issueFor has a certificate issued now and then for some time, none of which may
// fail.
func issueFor(t *testing.T, issuer *vault.CA, d time.Duration) {
	t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(300 * time.Millisecond) {
		if _, err := issuer.Issue(t.Context(), catest.NewRequest(t, "device")); err != nil {
			t.Fatal(err)
		}
	}
}

// TestTokenLife: a token is renewed while Vault allows it, then replaced by a new
// login, and no request in between notices.
func TestTokenLife(t *testing.T) {
	t.Parallel()
	s := start(t)
	var logins, renewals atomic.Int32
	addr := relay(t, s.server.Addr, func(r *http.Request) {
		switch r.URL.Path {
		case "/v1/auth/approle/login":
			logins.Add(1)
		case "/v1/auth/token/renew-self":
			renewals.Add(1)
		}
	})
	role := "auth/approle/role/" + vault.DefaultAppRole
	s.write(t, role, map[string]any{"token_ttl": "6s", "token_max_ttl": "1h"})
	renewed := newCA(t, vault.Config{Address: addr, AppRole: s.credentials(t), Now: time.Now})
	issueFor(t, renewed, 8*time.Second)
	if l, r := logins.Load(), renewals.Load(); l != 1 || r < 2 {
		t.Errorf("8 s on a token of 6 s: %d logins and %d renewals, want one and at least two", l, r)
	}
	if err := renewed.Close(); err != nil {
		t.Error(err)
	}
	s.write(t, role, map[string]any{"token_ttl": "2s", "token_max_ttl": "2s"})
	logins.Store(0)
	replaced := newCA(t, vault.Config{Address: addr, AppRole: s.credentials(t), Now: time.Now})
	issueFor(t, replaced, 5*time.Second)
	if l := logins.Load(); l < 2 || l > 6 {
		t.Errorf("5 s on tokens of at most 2 s: %d logins", l)
	}
}

// TestTokenFileRenewed: a token that an operator gave is kept alive as well.
func TestTokenFileRenewed(t *testing.T) {
	t.Parallel()
	s := start(t)
	made := s.write(t, "auth/token/create", map[string]any{
		"policies": []string{vault.DefaultPolicy}, "no_default_policy": true, "ttl": "6s", "explicit_max_ttl": "1h"})
	file := put(t, filepath.Join(t.TempDir(), "token"), made.Auth.ClientToken+"\n")
	issuer := newCA(t, vault.Config{Address: s.server.Addr, TokenFile: file, Now: time.Now})
	issueFor(t, issuer, 8*time.Second)
}

// TestSecretIDRotation: the secret id's file is read again when a login is due.
func TestSecretIDRotation(t *testing.T) {
	s := start(t)
	first, second := s.credentials(t), s.credentials(t)
	file := put(t, filepath.Join(t.TempDir(), "secret-id"), first.SecretID)
	issuer := newCA(t, vault.Config{Address: s.server.Addr, Now: time.Now,
		AppRole: &vault.AppRole{RoleID: first.RoleID, SecretIDFile: file}})
	if err := issuer.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.write(t, "auth/approle/role/"+vault.DefaultAppRole+"/secret-id/destroy", map[string]any{"secret_id": first.SecretID})
	s.write(t, "sys/leases/revoke-prefix/auth/approle/login", nil)
	err := issuer.Check(t.Context())
	is(t, "secret id destroyed", err, ca.ErrUnavailable)
	if err == nil || !strings.Contains(err.Error(), "invalid role or secret ID") || strings.Contains(err.Error(), first.SecretID) {
		t.Errorf("secret id destroyed: %v does not carry Vault's sentence, or carries the secret", err)
	}
	put(t, file, second.SecretID)
	if err := issuer.Check(t.Context()); err != nil {
		t.Errorf("new secret id in the file: %v", err)
	}
}

func (s *setup) wrapped(t *testing.T) string {
	t.Helper()
	admin := client(t, s.server.Addr, s.server.Token)
	admin.SetWrappingLookupFunc(func(string, string) string { return "1m" })
	answer, err := admin.Logical().WriteWithContext(t.Context(), "auth/approle/role/"+vault.DefaultAppRole+"/secret-id", nil)
	if err != nil {
		t.Fatal(err)
	}
	return answer.WrapInfo.Token
}

// TestAttack_S8_WrappedSecretID: a wrapped secret id is opened once; one that
// somebody else opened first, or wrapped himself, is refused and said so.
func TestAttack_S8_WrappedSecretID(t *testing.T) {
	s := start(t)
	var unwraps atomic.Int32
	addr := relay(t, s.server.Addr, func(r *http.Request) {
		if r.URL.Path == "/v1/sys/wrapping/unwrap" {
			unwraps.Add(1)
		}
	})
	file := put(t, filepath.Join(t.TempDir(), "wrapped"), s.wrapped(t))
	config := vault.Config{Address: addr, Now: time.Now,
		AppRole: &vault.AppRole{RoleID: s.credentials(t).RoleID, WrappedSecretIDFile: file}}
	issuer := newCA(t, config)
	check := func(what string) {
		t.Helper()
		if err := issuer.Check(t.Context()); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	revoke := func() { s.write(t, "sys/leases/revoke-prefix/auth/approle/login", nil) }
	check("first login")
	revoke()
	check("second login with the same secret")
	if n := unwraps.Load(); n != 1 {
		t.Errorf("unwrapped %d times, want once", n)
	}
	revoke()
	put(t, file, s.wrapped(t))
	check("another wrapped secret")
	if n := unwraps.Load(); n != 2 {
		t.Errorf("unwrapped %d times, want twice", n)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	revoke()
	check("file taken away after use")

	stolen := s.wrapped(t)
	if _, err := client(t, s.server.Addr, "").Logical().UnwrapWithContext(t.Context(), stolen); err != nil {
		t.Fatal(err)
	}
	admin := client(t, s.server.Addr, s.server.Token)
	admin.SetWrappingLookupFunc(func(string, string) string { return "1m" })
	forged, err := admin.Logical().WriteWithContext(t.Context(), "sys/wrapping/wrap", map[string]any{"secret_id": s.credentials(t).SecretID})
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct{ token, says string }{
		"opened by somebody else": {stolen, "somebody else has the secret id"},
		"wrapped elsewhere":       {forged.WrapInfo.Token, "was not made by an AppRole"},
		"no token":                {"hvs.nothing", "spent or has expired"},
	} {
		put(t, file, test.token)
		err := newCA(t, config).Check(t.Context())
		is(t, name, err, ca.ErrUnavailable)
		if err == nil || !strings.Contains(err.Error(), test.says) || strings.Contains(err.Error(), test.token) {
			t.Errorf("%s: %v does not say %q, or says the token", name, err, test.says)
		}
	}
}

// TestNamespace: every request names the namespace, logins too.
func TestNamespace(t *testing.T) {
	s := start(t)
	var with, without atomic.Int32
	addr := relay(t, s.server.Addr, func(r *http.Request) {
		if r.Header.Get("X-Vault-Namespace") == "team/a" {
			with.Add(1)
			r.Header.Del("X-Vault-Namespace") // this Vault has none
		} else {
			without.Add(1)
		}
	})
	issuer := newCA(t, vault.Config{Address: addr, Namespace: "team/a", AppRole: s.credentials(t), Now: time.Now})
	if _, err := issuer.Issue(t.Context(), catest.NewRequest(t, "device")); err != nil {
		t.Fatal(err)
	}
	if with.Load() < 3 || without.Load() != 0 {
		t.Errorf("%d requests name the namespace, %d do not", with.Load(), without.Load())
	}
}

// TestRedirects: one redirect is followed, as a standby server sends it; a second
// is not, so that no chain of them carries our token away.
func TestRedirects(t *testing.T) {
	s := start(t)
	var tokens atomic.Int32
	far := relay(t, s.server.Addr, func(r *http.Request) {
		if r.Header.Get("X-Vault-Token") != "" {
			tokens.Add(1)
		}
	})
	standby := func(to string) string {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, to+r.URL.Path, http.StatusTemporaryRedirect)
		}))
		t.Cleanup(server.Close)
		return server.URL
	}
	once := standby(far)
	issuer := newCA(t, vault.Config{Address: once, AppRole: s.credentials(t), Now: time.Now})
	if _, err := issuer.Issue(t.Context(), catest.NewRequest(t, "device")); err != nil {
		t.Errorf("one redirect: %v", err)
	}
	tokens.Store(0)
	twice := newCA(t, vault.Config{Address: standby(once), Token: "t", Now: time.Now})
	if err := twice.Check(t.Context()); err == nil || tokens.Load() != 0 {
		t.Errorf("two redirects: %v, the token went along %d times", err, tokens.Load())
	}
}

// TestOneLogin: many who need a token at once cause one login, and whoever has no
// time to wait for it does not.
func TestOneLogin(t *testing.T) {
	s := start(t)
	var logins atomic.Int32
	addr := relay(t, s.server.Addr, func(r *http.Request) {
		if r.URL.Path == "/v1/auth/approle/login" {
			logins.Add(1)
			time.Sleep(time.Second)
		}
	})
	issuer := newCA(t, vault.Config{Address: addr, AppRole: s.credentials(t), Now: time.Now})
	const many = 50
	answers := make(chan error, many)
	for range many {
		request := catest.NewRequest(t, "device")
		go func() {
			_, err := issuer.Issue(t.Context(), request)
			answers <- err
		}()
	}
	for logins.Load() == 0 { // so that another than the hasty one logs in
		time.Sleep(time.Millisecond)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	began := time.Now()
	is(t, "no time to wait", issuer.Check(ctx), ca.ErrUnavailable)
	if took := time.Since(began); took > 900*time.Millisecond {
		t.Errorf("a deadline of 200 ms was kept after %v", took)
	}
	for range many {
		if err := <-answers; err != nil {
			t.Error(err)
		}
	}
	if n := logins.Load(); n != 1 {
		t.Errorf("%d logins, want one", n)
	}
}
