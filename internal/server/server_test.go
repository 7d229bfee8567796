package server_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"troth/internal/api"
	"troth/internal/server"
)

// output is what the service tells the person who started it.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// running is a service that serves.
type running struct {
	t       testing.TB
	service *server.Service
	out     *output
	stop    context.CancelFunc
	done    chan error
	client  *api.Client
}

var (
	serving   = regexp.MustCompile(`serving (https://\S+)`)
	bootstrap = regexp.MustCompile(`bootstrap token.*: (troth_\S+)`)
)

func start(t testing.TB, c server.Config) *running {
	t.Helper()
	c.Listen = "127.0.0.1:0"
	service, err := server.New(t.Context(), c, "test", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	r := &running{t: t, service: service, out: &output{}, stop: stop, done: make(chan error, 1)}
	go func() { r.done <- service.Run(ctx, r.out) }()
	for end := time.Now().Add(20 * time.Second); !strings.Contains(r.out.String(), "trothd: ready\n"); time.Sleep(5 * time.Millisecond) {
		if len(r.done) > 0 || time.Now().After(end) {
			t.Fatalf("it does not serve: %s", r.out.String())
		}
	}
	r.client = &api.Client{Base: serving.FindStringSubmatch(r.out.String())[1], HTTP: clientOf(t, c.DataDir)}
	return r
}

func clientOf(t testing.TB, dir string) *http.Client {
	t.Helper()
	roots := x509.NewCertPool()
	pem, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	if err != nil || !roots.AppendCertsFromPEM(pem) {
		t.Fatalf("ca.pem: %v", err)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 20 * time.Second}
}

// end stops the service as a signal does.
func (r *running) end() {
	r.t.Helper()
	r.stop()
	select {
	case err := <-r.done:
		if err != nil {
			r.t.Errorf("run: %v", err)
		}
	case <-time.After(20 * time.Second):
		r.t.Fatal("it does not stop")
	}
	if err := r.service.Close(); err != nil {
		r.t.Errorf("close: %v", err)
	}
}

// ready polls /readyz until it answers with the status.
func (r *running) ready(want int) api.Problem {
	r.t.Helper()
	var p api.Problem
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		resp, err := r.client.HTTP.Get(r.client.Base + api.PathReadyz)
		if err != nil {
			r.t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			r.t.Fatal(err)
		}
		if resp.StatusCode == want {
			if want != http.StatusOK {
				if err := json.Unmarshal(body, &p); err != nil {
					r.t.Fatal(err)
				}
			}
			return p
		}
		if time.Now().After(end) {
			r.t.Fatalf("readyz: %d %s, want %d", resp.StatusCode, body, want)
		}
	}
}

// A service with nothing but a directory works, stops, and is the same service
// when it comes again.
func TestRestartKeepsIdentity(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	first := start(t, server.Config{DataDir: dir})
	first.ready(http.StatusOK)
	token := bootstrap.FindStringSubmatch(first.out.String())
	if token == nil {
		t.Fatalf("no bootstrap token: %s", first.out.String())
	}
	first.client.Token = token[1]
	var admin api.Token
	if err := first.client.Do(t.Context(), "POST", api.PathLogin, api.LoginRequest{Operator: "ada"}, &admin); err != nil {
		t.Fatal(err)
	}
	before := files(t, dir)
	first.end()
	if _, err := first.client.HTTP.Get(first.client.Base + api.PathHealthz); err == nil {
		t.Error("it serves after its end")
	}
	for path, mode := range map[string]os.FileMode{".": 0o700, "nonce.key": 0o600, "troth.db": 0o600} {
		info, err := os.Stat(filepath.Join(dir, path))
		if err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v; want %o", path, info.Mode(), err, mode)
		}
	}

	second := start(t, server.Config{DataDir: dir})
	defer second.end()
	if bootstrap.MatchString(second.out.String()) {
		t.Error("a service that somebody has logged in to prints a token")
	}
	second.client.Token = admin.Token
	var who api.WhoAmI
	if err := second.client.Do(t.Context(), "GET", api.PathWhoAmI, nil, &who); err != nil || who.Operator != "ada" {
		t.Errorf("the token of before: %+v, %v", who, err)
	}
	if after := files(t, dir); !bytes.Equal(before["nonce.key"], after["nonce.key"]) || !bytes.Equal(before["ca.pem"], after["ca.pem"]) {
		t.Error("the keys are others after a restart")
	}
}

func files(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	for _, name := range []string{"nonce.key", "ca.pem"} {
		content, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || len(content) == 0 {
			t.Fatalf("%s: %v", name, err)
		}
		out[name] = content
	}
	return out
}

// readyz names what is away, and nothing of why.
func TestReadyzNamesWhatIsAway(t *testing.T) {
	base := t.TempDir()
	t.Setenv("TROTH_TEST_DATABASES", base) // ${VAR} in the configuration
	dir := filepath.Join(base, "data")
	r := start(t, server.Config{DataDir: dir, Database: "sqlite:${TROTH_TEST_DATABASES}/elsewhere.db"})
	r.ready(http.StatusOK)
	if _, err := os.Stat(filepath.Join(base, "elsewhere.db")); err != nil {
		t.Errorf("the database is not where the configuration says: %v", err)
	}
	if err := r.service.Close(); err != nil { // its database is gone
		t.Fatal(err)
	}
	p := r.ready(http.StatusServiceUnavailable)
	if p.Code != "not_ready" || !slices.Contains(p.Errors, "database") || strings.Contains(strings.Join(p.Errors, " "), "sql") {
		t.Errorf("%+v", p)
	}
	r.end()
}

func TestNewLeavesNothingOpen(t *testing.T) {
	dir := t.TempDir()
	for name, c := range map[string]server.Config{
		"no policies": {PolicyDir: t.TempDir()},
		"a database in a directory that does not exist": {Database: "sqlite:" + filepath.Join(dir, "no", "x.db")},
		"a database of no kind":                         {Database: "oracle://x"},
	} {
		c.DataDir = filepath.Join(dir, "data")
		if s, err := server.New(t.Context(), c, "test", slog.New(slog.DiscardHandler)); err == nil {
			s.Close()
			t.Errorf("%s: it starts", name)
		}
	}
	// Nothing that failed stands in the way of one that is right.
	r := start(t, server.Config{DataDir: filepath.Join(dir, "data")})
	r.end()
}

func TestListenAddressInUse(t *testing.T) {
	r := start(t, server.Config{DataDir: filepath.Join(t.TempDir(), "one")})
	defer r.end()
	other, err := server.New(t.Context(), server.Config{
		DataDir: filepath.Join(t.TempDir(), "two"), Listen: strings.TrimPrefix(r.client.Base, "https://"),
	}, "test", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	var out output
	if err := other.Run(t.Context(), &out); err == nil || out.String() != "" {
		t.Errorf("two services at one address: %v, %q", err, out.String())
	}
}
