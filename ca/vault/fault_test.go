package vault_test

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"troth/ca"
	"troth/ca/catest"
	"troth/ca/vault"
)

// proxy stands between the issuer and a real Vault, counts sign requests, and
// does to each what fault says.
type proxy struct {
	*httptest.Server
	signs atomic.Int32 // sign requests that reached Vault
	mu    sync.Mutex
	fault func(forward func(http.ResponseWriter), w http.ResponseWriter)
}

func newProxy(t *testing.T, target string) *proxy {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	reverse := httputil.NewSingleHostReverseProxy(u)
	p := &proxy{}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.URL.Path, "/sign/") {
			reverse.ServeHTTP(w, r)
			return
		}
		forward := func(w http.ResponseWriter) {
			p.signs.Add(1)
			reverse.ServeHTTP(w, r)
		}
		p.mu.Lock()
		fault := p.fault
		p.mu.Unlock()
		if fault == nil {
			forward(w)
			return
		}
		fault(forward, w)
	}))
	t.Cleanup(p.Close)
	return p
}

func (p *proxy) set(fault func(forward func(http.ResponseWriter), w http.ResponseWriter)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault = fault
}

// cut closes the client's connection without an answer.
func cut(w http.ResponseWriter) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err == nil {
		conn.Close()
	}
}

// is checks which of the contract's errors err matches.
func is(t *testing.T, what string, err error, want ...error) {
	t.Helper()
	for _, kind := range []error{ca.ErrUnavailable, ca.ErrRefused, ca.ErrAmbiguous, ca.ErrMisissued} {
		wanted := slices.Contains(want, kind)
		if errors.Is(err, kind) != wanted {
			t.Errorf("%s: %v matches %q: %v, want %v", what, err, kind, !wanted, wanted)
		}
	}
}

// TestAttack_S8_AmbiguousSign tries each way to lose the answer of a sign
// request. It may have been signed, so it is sent once and said to be ambiguous.
func TestAttack_S8_AmbiguousSign(t *testing.T) {
	s := start(t)
	p := newProxy(t, s.server.Addr)
	issuer := s.issuer(t, p.URL)
	for name, test := range map[string]struct {
		fault func(forward func(http.ResponseWriter), w http.ResponseWriter)
		signs int32
	}{
		"cut after Vault signed": {func(forward func(http.ResponseWriter), w http.ResponseWriter) {
			forward(httptest.NewRecorder())
			cut(w)
		}, 1},
		"cut before Vault saw it": {func(_ func(http.ResponseWriter), w http.ResponseWriter) { cut(w) }, 0},
		"cut within the answer": {func(forward func(http.ResponseWriter), w http.ResponseWriter) {
			answer := httptest.NewRecorder()
			forward(answer)
			w.Header().Set("Content-Length", answer.Header().Get("Content-Length"))
			w.WriteHeader(http.StatusOK)
			_, _ = w.Write(answer.Body.Bytes()[:answer.Body.Len()/2])
			cut(w)
		}, 1},
		"an answer without a certificate": {func(forward func(http.ResponseWriter), w http.ResponseWriter) {
			forward(httptest.NewRecorder())
			_, _ = w.Write([]byte(`{"data":{}}`))
		}, 1},
		"an empty answer": {func(forward func(http.ResponseWriter), w http.ResponseWriter) {
			forward(httptest.NewRecorder())
		}, 1},
		"a proxy's time limit": {func(forward func(http.ResponseWriter), w http.ResponseWriter) {
			forward(httptest.NewRecorder())
			w.WriteHeader(http.StatusGatewayTimeout)
		}, 1},
	} {
		p.set(test.fault)
		before := p.signs.Load()
		_, err := issuer.Issue(t.Context(), catest.NewRequest(t, "device"))
		is(t, name, err, ca.ErrAmbiguous)
		if got := p.signs.Load() - before; got != test.signs {
			t.Errorf("%s: Vault was asked to sign %d times, want %d", name, got, test.signs)
		}
	}
	p.set(nil)
	if _, err := issuer.Issue(t.Context(), catest.NewRequest(t, "device")); err != nil {
		t.Errorf("after the faults: %v", err)
	}
}

func TestDeadlineWhileSigning(t *testing.T) {
	s := start(t)
	p := newProxy(t, s.server.Addr)
	issuer := s.issuer(t, p.URL)
	release := make(chan struct{})
	p.set(func(forward func(http.ResponseWriter), w http.ResponseWriter) {
		forward(httptest.NewRecorder())
		<-release
	})
	if _, err := issuer.Bundle(t.Context()); err != nil { // so that only the sign is slow
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, err := issuer.Issue(ctx, catest.NewRequest(t, "device"))
	close(release)
	is(t, "deadline", err, ca.ErrAmbiguous)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("deadline: %v, want DeadlineExceeded", err)
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("deadline of 300 ms was kept after %v", took)
	}
}

// TestRetry: what certainly did not happen is tried again, and only that often.
func TestRetry(t *testing.T) {
	s := start(t)
	p := newProxy(t, s.server.Addr)
	issuer := s.issuer(t, p.URL)
	for _, status := range []int{http.StatusServiceUnavailable, http.StatusTooManyRequests} {
		var refusals atomic.Int32
		refuse := func(times int32) {
			refusals.Store(0)
			p.set(func(forward func(http.ResponseWriter), w http.ResponseWriter) {
				if refusals.Add(1) <= times {
					http.Error(w, `{"errors":["busy"]}`, status)
					return
				}
				forward(w)
			})
		}
		refuse(vault.DefaultAttempts - 1)
		if _, err := issuer.Issue(t.Context(), catest.NewRequest(t, "device")); err != nil {
			t.Errorf("%d twice, then well: %v", status, err)
		}
		refuse(100)
		_, err := issuer.Issue(t.Context(), catest.NewRequest(t, "device"))
		is(t, "always busy", err, ca.ErrUnavailable)
		if got := refusals.Load(); got != vault.DefaultAttempts {
			t.Errorf("%d: %d attempts, want %d", status, got, vault.DefaultAttempts)
		}
	}
	p.set(func(_ func(http.ResponseWriter), w http.ResponseWriter) {
		http.Error(w, `{"errors":["storage is gone"]}`, http.StatusInternalServerError)
	})
	_, err := issuer.Issue(t.Context(), catest.NewRequest(t, "device"))
	is(t, "internal error", err, ca.ErrAmbiguous)
	if err == nil || !strings.Contains(err.Error(), "storage is gone") {
		t.Errorf("internal error: %v does not carry Vault's sentence", err)
	}
}

// TestAttack_S9_Vault: Vault sealed, gone and back again, without a person's help
// on our side.
func TestAttack_S9_Vault(t *testing.T) {
	s := start(t)
	issuer := s.issuer(t, s.server.Addr)
	request := catest.NewRequest(t, "device")
	certificate, err := issuer.Issue(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	all := func(what string, check func(string, error)) {
		_, err := issuer.Issue(t.Context(), request)
		check(what+": Issue", err)
		check(what+": Revoke", issuer.Revoke(t.Context(), certificate.DER))
		_, err = issuer.Bundle(t.Context())
		check(what+": Bundle", err)
		_, err = issuer.CRL(t.Context())
		check(what+": CRL", err)
		check(what+": Check", issuer.Check(t.Context()))
	}
	unavailable := func(what string, err error) { is(t, what, err, ca.ErrUnavailable) }
	fine := func(what string, err error) { is(t, what, err) }

	s.server.Seal(t)
	all("sealed", unavailable)
	if err := issuer.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "sealed") {
		t.Errorf("sealed: %v does not say so", err)
	}
	s.server.Unseal(t)
	all("unsealed", fine)
	s.server.Kill()
	// A request on a connection that was open when Vault died may have been read
	// before it died: then the answer is honest, and ambiguous.
	_, err = issuer.Issue(t.Context(), request)
	if !errors.Is(err, ca.ErrUnavailable) && !errors.Is(err, ca.ErrAmbiguous) {
		t.Errorf("just killed: Issue: %v", err)
	}
	all("killed", unavailable)
}

func TestUnreachable(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := "http://" + listener.Addr().String()
	listener.Close() // nobody listens there now
	issuer := newCA(t, vault.Config{Address: addr, Token: "t", Now: time.Now})
	_, err = issuer.Issue(t.Context(), catest.NewRequest(t, "device"))
	is(t, "nobody listens", err, ca.ErrUnavailable)
	is(t, "nobody listens", issuer.Check(t.Context()), ca.ErrUnavailable)

	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, err = issuer.Issue(ctx, catest.NewRequest(t, "device"))
	is(t, "deadline between attempts", err, ca.ErrUnavailable)
	if took := time.Since(began); took > time.Second {
		t.Errorf("a deadline of 100 ms was kept after %v", took)
	}
}

// TestTokenRevoked: a token that Vault no longer accepts is ErrUnavailable, not
// ErrRefused. The fault lies in this service's access and not in the device's
// request, which is granted as soon as an operator has repaired it; a refusal
// would be recorded against the device. With AppRole the issuer repairs it by
// itself.
func TestTokenRevoked(t *testing.T) {
	s := start(t)
	service := s.login(t)
	static := newCA(t, vault.Config{Address: s.server.Addr, Token: service.Token(), Now: time.Now})
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(service.Token()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	fromFile := newCA(t, vault.Config{Address: s.server.Addr, TokenFile: file, Now: time.Now})
	request := catest.NewRequest(t, "device")
	for _, issuer := range []*vault.CA{static, fromFile} {
		if _, err := issuer.Issue(t.Context(), request); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.admin.Auth().Token().RevokeTreeWithContext(t.Context(), service.Token()); err != nil {
		t.Fatal(err)
	}
	for name, issuer := range map[string]*vault.CA{"token": static, "token file": fromFile} {
		_, err := issuer.Issue(t.Context(), request)
		is(t, name+" revoked", err, ca.ErrUnavailable)
		if err == nil || !strings.Contains(err.Error(), "permission denied") {
			t.Errorf("%s revoked: %v does not carry Vault's sentence", name, err)
		}
		is(t, name+" revoked: Check", issuer.Check(t.Context()), ca.ErrUnavailable)
	}
	if err := os.WriteFile(file, []byte(s.login(t).Token()), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := fromFile.Issue(t.Context(), request); err != nil {
		t.Errorf("token file renewed: %v", err)
	}
}

func TestAppRole(t *testing.T) {
	s := start(t)
	p := newProxy(t, s.server.Addr)
	issuer := s.issuer(t, p.URL)
	request := catest.NewRequest(t, "device")
	if _, err := issuer.Issue(t.Context(), request); err != nil {
		t.Fatal(err)
	}
	// Every token of the AppRole is revoked; the next request logs in anew.
	if err := s.admin.Sys().RevokePrefixWithContext(t.Context(), "auth/approle/login"); err != nil {
		t.Fatal(err)
	}
	before := p.signs.Load()
	if _, err := issuer.Issue(t.Context(), request); err != nil {
		t.Errorf("tokens revoked: %v", err)
	}
	if got := p.signs.Load() - before; got != 2 {
		t.Errorf("tokens revoked: Vault saw %d sign requests, want a forbidden one and a granted one", got)
	}
	// The AppRole is gone: that is not a device's fault either.
	if _, err := s.admin.Logical().DeleteWithContext(t.Context(), "auth/approle/role/"+vault.DefaultAppRole); err != nil {
		t.Fatal(err)
	}
	_, err := s.admin.Logical().WriteWithContext(t.Context(), "sys/leases/revoke-prefix/auth/approle/login", nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = issuer.Issue(t.Context(), request)
	is(t, "AppRole deleted", err, ca.ErrUnavailable)
	is(t, "AppRole deleted: Check", issuer.Check(t.Context()), ca.ErrUnavailable)
}

// TestTokenRenewed: the issuer logs in again before its token ends by our clock,
// and goes on with the old one while it cannot.
func TestTokenRenewed(t *testing.T) {
	s := start(t)
	s.without(t, "auth/token/renew-self") // so that only our clock says when
	p := newProxy(t, s.server.Addr)
	var later atomic.Int64
	clock := func() time.Time { return time.Now().Add(time.Duration(later.Load())) }
	issuer := newCA(t, vault.Config{Address: p.URL, AppRole: s.credentials(t), Now: clock})
	if err := issuer.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	later.Store(int64(19 * time.Minute)) // of twenty
	accessors := func() int {
		answer, err := s.admin.Logical().ListWithContext(t.Context(), "auth/token/accessors")
		if err != nil {
			t.Fatal(err)
		}
		return len(answer.Data["keys"].([]any))
	}
	before := accessors()
	if err := issuer.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	if after := accessors(); after != before+1 {
		t.Errorf("%d tokens after nine tenths of its time, %d before, want one more", after, before)
	}
	if _, err := s.admin.Logical().DeleteWithContext(t.Context(), "auth/approle/role/"+vault.DefaultAppRole); err != nil {
		t.Fatal(err)
	}
	later.Store(int64(100 * time.Minute))
	if err := issuer.Check(t.Context()); err != nil {
		t.Errorf("login impossible but token still good: %v", err)
	}
}

// TestRevokeAnswerLost: a revocation is repeated until Vault's answer arrives,
// for both of its steps, and is then in the CRL once.
func TestRevokeAnswerLost(t *testing.T) {
	s := start(t)
	target, err := url.Parse(s.server.Addr)
	if err != nil {
		t.Fatal(err)
	}
	reverse := httputil.NewSingleHostReverseProxy(target)
	var revokes, rebuilds atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		first := strings.HasSuffix(r.URL.Path, "/revoke") && revokes.Add(1) == 1 ||
			strings.HasSuffix(r.URL.Path, "/crl/rotate") && rebuilds.Add(1) == 1
		if !first {
			reverse.ServeHTTP(w, r)
			return
		}
		reverse.ServeHTTP(httptest.NewRecorder(), r)
		cut(w)
	}))
	t.Cleanup(server.Close)
	issuer := s.issuer(t, server.URL)
	issued, err := issuer.Issue(t.Context(), catest.NewRequest(t, "device"))
	if err != nil {
		t.Fatal(err)
	}
	if err := issuer.Revoke(t.Context(), issued.DER); err != nil {
		t.Fatalf("both first answers lost: %v", err)
	}
	if revokes.Load() != 2 || rebuilds.Load() != 2 {
		t.Errorf("%d revocations and %d rebuilds, want two of each", revokes.Load(), rebuilds.Load())
	}
	der, err := issuer.CRL(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	list, err := x509.ParseRevocationList(der)
	if err != nil || len(list.RevokedCertificateEntries) != 1 {
		t.Errorf("the CRL has %d entries (%v), want one", len(list.RevokedCertificateEntries), err)
	}
	// Without the permission to rebuild, the revocation stands, and it is said that
	// the CRL lacks it.
	s.without(t, "crl/rotate")
	other, err := issuer.Issue(t.Context(), catest.NewRequest(t, "device"))
	if err != nil {
		t.Fatal(err)
	}
	err = issuer.Revoke(t.Context(), other.DER)
	is(t, "no rebuild", err, ca.ErrUnavailable)
	if err == nil || !strings.Contains(err.Error(), "revoked, but not yet in the CRL") {
		t.Errorf("no rebuild: %v", err)
	}
}

// without takes the permission on a path out of the service's policy.
func (s *setup) without(t *testing.T, path string) {
	t.Helper()
	name := "sys/policies/acl/" + vault.DefaultPolicy
	answer, err := s.admin.Logical().ReadWithContext(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	s.write(t, name, map[string]any{"policy": strings.ReplaceAll(answer.Data["policy"].(string), path, path+"/not")})
}
