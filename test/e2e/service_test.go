package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"troth/attest/attesttest"
	"troth/internal/api"
	"troth/internal/sim"
	"troth/tuf"
)

// The model of most devices here, and the firmware that the factory gives it.
const (
	model   = "meter-m1"
	factory = "1.0.0"
)

// service is a trothd process with an operator who is logged in.
type service struct {
	dir     string // configuration, log; data/ is the service's own
	config  string
	dsn     string       // of its database, for a look beside it
	process *sim.Service // nil: not running
	admin   *api.Client
	caFile  string
}

// quick makes devices check in every second, and silence show within seconds.
const quick = "check_in: {interval: 1s, fresh: 3s, sweep: 1s}\nfirmware: {refresh: 1s}\n"

// startService makes a service in dir that has published the factory's
// firmware. More is YAML that is added to its configuration.
func startService(dir, more string) (*service, error) {
	s := &service{dir: dir, config: filepath.Join(dir, "troth.yaml"), dsn: "sqlite:" + filepath.Join(dir, "data", "troth.db")}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := tuf.Init(s.path("data", "tuf"), tuf.InitOptions{KeysDir: s.path("data", "tuf-keys"), Now: time.Now()}); err != nil {
		return nil, err
	}
	if err := s.publish(factory, 1, false); err != nil {
		return nil, err
	}
	config := fmt.Sprintf("data_dir: %s\nlisten: 127.0.0.1:0\n%s", s.path("data"), more)
	if err := os.WriteFile(s.config, []byte(config), 0o600); err != nil {
		return nil, err
	}
	if err := s.start(); err != nil {
		return nil, err
	}
	return s, s.login()
}

// newService is startService for one test, with the shared manufacturer trusted.
func newService(t testing.TB, more string) *service {
	t.Helper()
	s := must(startService(t.TempDir(), more))(t)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of trothd:\n%s", s.logTail())
		}
		if err := s.close(); err != nil {
			t.Error(err)
		}
	})
	if err := s.trust(shared); err != nil {
		t.Fatal(err)
	}
	return s
}

// everyones is the service that tests share which neither kill nor configure it.
func everyones(t testing.TB) *service {
	t.Helper()
	return must(shared.serve())(t)
}

func (s *service) path(elem ...string) string {
	return filepath.Join(append([]string{s.dir}, elem...)...)
}

// start runs trothd, at the same address as before where it ran before.
func (s *service) start() error {
	bin, err := programs()
	if err != nil {
		return err
	}
	args := []string{"serve", "--config", s.config}
	if s.admin != nil {
		args = append(args, "--listen", strings.TrimPrefix(s.admin.Base, "https://"))
	}
	s.process, err = sim.StartService(context.Background(), filepath.Join(bin, "trothd"), s.path("trothd.log"), args...)
	if err != nil {
		return fmt.Errorf("%w\n%s", err, s.logTail())
	}
	s.caFile = s.process.CAFile
	return nil
}

// kill ends trothd as a power cut would.
func (s *service) kill() error {
	p := s.process
	s.process = nil
	return p.Kill()
}

func (s *service) close() error {
	if s.process == nil {
		return nil
	}
	p := s.process
	s.process = nil
	return p.Stop()
}

func (s *service) restart(t testing.TB) {
	t.Helper()
	if err := s.start(); err != nil {
		t.Fatal(err)
	}
	s.admin.HTTP.CloseIdleConnections()
}

func (s *service) login() error {
	httpClient, err := s.client(nil)
	if err != nil {
		return err
	}
	s.admin = &api.Client{Base: s.process.URL, HTTP: httpClient, Token: s.process.Token}
	var token api.Token
	if err := s.admin.Do(context.Background(), http.MethodPost, api.PathLogin, api.LoginRequest{Operator: "tester"}, &token); err != nil {
		return err
	}
	s.admin.Token = token.Token
	return nil
}

// client believes the service, and shows cert where there is one.
func (s *service) client(cert *tls.Certificate) (*http.Client, error) {
	pem, err := os.ReadFile(s.caFile)
	if err != nil {
		return nil, err
	}
	c := &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS13}
	if !c.RootCAs.AppendCertsFromPEM(pem) {
		return nil, errors.New("the service's CA file holds no certificate")
	}
	if cert != nil {
		c.Certificates = []tls.Certificate{*cert}
	}
	return &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{TLSClientConfig: c, ForceAttemptHTTP2: true}}, nil
}

// trust makes the shared manufacturer known to the service.
func (s *service) trust(b *bench) error {
	m, err := b.makeMaker()
	if err != nil {
		return err
	}
	pem, err := m.RootsPEM()
	if err != nil {
		return err
	}
	return s.admin.Do(context.Background(), http.MethodPost, api.PathManufacturers, api.ManufacturerRequest{Name: "acme", PEM: string(pem)}, nil)
}

// publish signs a release of the model with its reference values.
func (s *service) publish(version string, counter uint64, security bool) error {
	return s.publishImage(attesttest.NewImage(model, version), counter, security)
}

func (s *service) publishImage(image attesttest.Image, counter uint64, security bool) error {
	repository, err := tuf.Open(s.path("data", "tuf"), s.path("data", "tuf-keys"))
	if err != nil {
		return err
	}
	version := image.Version
	reference := &tuf.Reference{Bank: "sha256", PCRs: map[string]string{}}
	for index, value := range attesttest.Reference(attesttest.PlatformFor(model), image) {
		reference.PCRs[fmt.Sprint(index)] = fmt.Sprintf("%x", value)
	}
	for range 100 {
		_, err = repository.Publish(context.Background(), tuf.Release{
			Name: model + "/" + version + ".img", Model: model, Version: version, Counter: counter, Security: security, Reference: reference,
		}, strings.NewReader(string(image.Bytes())), time.Now())
		if !errors.Is(err, tuf.ErrLocked) {
			break
		}
		time.Sleep(20 * time.Millisecond) // the service is about to re-sign
	}
	return err
}

// tufRoot is the root that devices trust first.
func (s *service) tufRoot() string { return s.path("data", "tuf", "metadata", "1.root.json") }

func (s *service) get(t testing.TB, path string, out any) {
	t.Helper()
	if err := s.admin.Do(t.Context(), http.MethodGet, path, nil, out); err != nil {
		t.Fatalf("GET %s: %v", path, err)
	}
}

func (s *service) post(t testing.TB, path string, in, out any) {
	t.Helper()
	if err := s.admin.Do(t.Context(), http.MethodPost, path, in, out); err != nil {
		t.Fatalf("POST %s: %v", path, err)
	}
}

// device is a device as the service shows it.
func (s *service) device(t testing.TB, id string) api.Device {
	t.Helper()
	var d api.Device
	s.get(t, api.Path(api.PathDevice, id), &d)
	return d
}

// move quarantines, releases or retires a device.
func (s *service) move(t testing.TB, id, action string) {
	t.Helper()
	s.post(t, api.Path(api.PathDeviceAction, id, action), api.ReasonRequest{Reason: "a test wants it"}, nil)
}

// may asks /authz; the code says why not.
func (s *service) may(t testing.TB, id string) (yes bool, code string) {
	t.Helper()
	q := url.Values{"device": {id}, "action": {"publish"}, "resource": {"mqtt://readings"}}
	err := s.admin.Do(t.Context(), http.MethodGet, api.PathAuthz+"?"+q.Encode(), nil, &api.Access{})
	return err == nil, api.CodeOf(err)
}

// ready is what /readyz says is away; empty: nothing.
func (s *service) ready(t testing.TB) []string {
	t.Helper()
	err := s.admin.Do(t.Context(), http.MethodGet, api.PathReadyz, nil, nil)
	var p *api.Problem
	switch {
	case err == nil:
		return nil
	case errors.As(err, &p) && p.Code == "not_ready":
		return p.Errors
	case errors.As(err, &p) && p.Code == "http_status" && p.Status == http.StatusOK:
		return nil
	default:
		return []string{err.Error()}
	}
}

func (s *service) log() string {
	b, _ := os.ReadFile(s.path("trothd.log")) // what is not there cannot be shown
	return string(b)
}

func (s *service) logTail() string {
	log := s.log()
	return log[max(0, len(log)-4000):]
}

// eventually waits for a claim to come true.
func eventually(t testing.TB, limit time.Duration, claim string, holds func() (state string, ok bool)) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for {
		state, ok := holds()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s; last seen: %s", limit, claim, state)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// wantCode requires an answer to be the problem with the code.
func wantCode(t testing.TB, err error, code string) {
	t.Helper()
	if got := api.CodeOf(err); got != code {
		t.Fatalf("the answer has code %q, want %q: %v", got, code, err)
	}
}

var names atomic.Int64

// newName is a device name that no other test uses.
func newName() string { return fmt.Sprintf("device-%d", names.Add(1)) }
