package httpapi_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"troth/ca"
	"troth/ca/local"
	"troth/internal/access"
	"troth/internal/alert"
	"troth/internal/api"
	"troth/internal/decision"
	"troth/internal/device"
	"troth/internal/enroll"
	"troth/internal/fleet"
	"troth/internal/httpapi"
	"troth/internal/nonce"
	"troth/internal/operator"
	"troth/internal/posture"
	"troth/internal/report"
	"troth/internal/rollout"
	"troth/internal/store"
	"troth/internal/vuln"
	"troth/policies"
	"troth/policy"
)

const domain = "test.troth"

// engine is built once: compiling the policies takes most of a second.
var engine = sync.OnceValues(func() (*policy.Engine, error) {
	return policy.New(context.Background(), policies.FS, policy.Options{Deadline: 10 * time.Second})
})

type catalog struct{ list fleet.Catalog }

func (c *catalog) Catalog() fleet.Catalog { return c.list }

func (c *catalog) SBOM(context.Context, fleet.Release) ([]byte, error) { return nil, nil }

// log collects what the service logs.
type log struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// service is the whole edge over a real store, real policies and a real CA,
// behind real TLS.
type service struct {
	t        *testing.T
	store    *store.Store
	ca       *local.CA
	handler  http.Handler
	server   *httptest.Server
	operator *operator.Service
	recorder *decision.Recorder
	catalog  *catalog
	ready    map[string]error
	log      *log
	clock    atomic.Int64 // nanoseconds after start
	ids      int
}

var start = time.Now().Truncate(time.Second)

func (s *service) now() time.Time { return start.Add(time.Duration(s.clock.Load())) }

// later lets time pass, for the service and for rate limits.
func (s *service) later(d time.Duration) { s.clock.Add(int64(d)) }

func newService(t *testing.T, change ...func(*httpapi.Config)) *service {
	t.Helper()
	s := &service{t: t, catalog: &catalog{}, log: &log{}, ready: map[string]error{}}
	dir := t.TempDir()
	var err error
	if s.store, err = store.Open(t.Context(), "sqlite:"+filepath.Join(dir, "troth.db")+"?synchronous=normal"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.store.Close() })
	if s.ca, err = local.Open(filepath.Join(dir, "ca"), local.Options{TrustDomain: domain, Now: s.now}); err != nil {
		t.Fatal(err)
	}
	c := s.config()
	for _, f := range change {
		f(&c)
	}
	s.handler = httpapi.New(c)
	s.serve()
	return s
}

func (s *service) config() httpapi.Config {
	e, err := engine()
	if err != nil {
		s.t.Fatal(err)
	}
	nonces, err := nonce.New(make([]byte, nonce.KeySize), 10*time.Minute)
	if err != nil {
		s.t.Fatal(err)
	}
	s.recorder = decision.NewRecorder(s.store)
	s.operator = &operator.Service{Store: s.store, Policy: decision.Operators{Policy: e, Log: s.recorder, Now: s.now}, Now: s.now}
	rollouts := rollout.New(rollout.Config{Store: s.store, Releases: s.catalog, Plan: fleet.DefaultPlan(), Now: s.now})
	return httpapi.Config{
		Enroll: enroll.New(enroll.Config{
			Store: s.store, Issuer: s.ca, Policy: e, Nonces: nonces, TrustDomain: domain,
			CertificateLife: time.Hour, ChallengeLife: time.Minute, Now: s.now,
		}),
		Posture: posture.New(posture.Config{
			Store: s.store, Policy: e, Releases: s.catalog, Rollouts: rollouts, Nonces: nonces,
			Interval: 5 * time.Minute, Fresh: 15 * time.Minute, Now: s.now,
		}),
		Devices: &device.Service{Store: s.store, Now: s.now}, Alerts: &alert.Service{Store: s.store, Now: s.now},
		Vulnerabilities: vuln.New(vuln.Config{Store: s.store, Releases: s.catalog, Now: s.now}),
		Rollouts:        rollouts, Access: &access.Service{Store: s.store, Policy: e, Log: s.recorder, Now: s.now}, Decided: &decision.Log{Store: s.store}, Operators: s.operator,
		Reports: &report.Service{Store: s.store, Policy: e.Digest, Now: s.now}, Catalog: s.catalog, Records: s.store, Results: s.results(), CA: s.authorities(),
		Firmware: fstest.MapFS{"metadata/1.root.json": {Data: []byte("{}")}, "targets/dir/image": {Data: []byte("image")}},
		Ready:    func(context.Context) map[string]error { return s.ready },
		Version:  "1.2.3", Log: slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug})), Now: s.now,
	}
}

// serve asks for client certificates as the real service does.
func (s *service) serve() {
	s.t.Helper()
	own, err := s.ca.ServerCertificate([]string{"127.0.0.1"}, 24*time.Hour) // outlives what devices have
	if err != nil {
		s.t.Fatal(err)
	}
	s.server = httptest.NewUnstartedServer(s.handler)
	s.server.TLS = &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{own},
		ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: s.roots(), Time: s.now,
	}
	s.server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)
	s.server.EnableHTTP2 = true
	s.server.StartTLS()
	s.t.Cleanup(s.server.Close)
}

func (s *service) roots() *x509.CertPool {
	bundle, err := s.ca.Bundle(context.Background())
	if err != nil {
		s.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	for _, c := range bundle {
		pool.AddCert(c)
	}
	return pool
}

// credential is what a caller shows.
type credential struct {
	header  string // Authorization
	cert    *tls.Certificate
	headers map[string]string // besides
}

func bearer(token string) credential { return credential{header: "Bearer " + token} }

// answer is a response with its body read.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (a answer) problem(t *testing.T) api.Problem {
	t.Helper()
	var p api.Problem
	if err := json.Unmarshal(a.body, &p); err != nil {
		t.Fatalf("status %d with a body that is no problem: %q", a.status, a.body)
	}
	return p
}

// do sends a request over TLS; err is a refusal in the handshake.
func (s *service) do(c credential, method, path, body string) (answer, error) {
	s.t.Helper()
	config := &tls.Config{RootCAs: s.roots(), Time: s.now, MinVersion: tls.VersionTLS13}
	if c.cert != nil {
		// Whatever the server asks for.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return c.cert, nil }
	}
	transport := &http.Transport{TLSClientConfig: config}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.server.URL+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.header != "" {
		req.Header.Set("Authorization", c.header)
	}
	for name, value := range c.headers {
		req.Header.Set(name, value)
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	return answer{status: resp.StatusCode, header: resp.Header, body: content}, err
}

// must is do for requests that reach the service.
func (s *service) must(c credential, method, path, body string) answer {
	s.t.Helper()
	a, err := s.do(c, method, path, body)
	if err != nil {
		s.t.Fatal(err)
	}
	return a
}

// token makes one for a role.
func (s *service) token(role fleet.Role) credential {
	s.t.Helper()
	text, _, err := s.operator.Create(s.t.Context(), "test", "ada", role, nil, time.Hour)
	if err != nil {
		s.t.Fatal(err)
	}
	return bearer(text)
}

func (s *service) apply(c fleet.Change) {
	s.t.Helper()
	if err := s.store.Apply(s.t.Context(), c); err != nil {
		s.t.Fatal(err)
	}
}

// newID is the id of a device that nobody has.
func (s *service) newID() fleet.DeviceID {
	s.ids++
	sum := sha256.Sum256(fmt.Append(nil, s.t.Name(), s.ids))
	return fleet.DeviceID(fmt.Sprintf("%x", sum))
}

// device stores one.
func (s *service) device(lifecycle fleet.Lifecycle, change ...func(*fleet.Device)) fleet.Device {
	s.t.Helper()
	d := fleet.Device{ID: s.newID(), Model: "edge-100", Lifecycle: lifecycle, Verdict: fleet.Unknown, EnrolledAt: s.now()}
	for _, f := range change {
		f(&d)
	}
	s.apply(fleet.Change{Devices: []fleet.Device{d}})
	d.Revision = 1
	return d
}

// issue has the CA sign for a device; where record is set, the certificate is
// put on record for that device, in the state.
func (s *service) issue(named fleet.DeviceID, record fleet.DeviceID, state fleet.CertificateState) credential {
	s.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		s.t.Fatal(err)
	}
	uri := &url.URL{Scheme: "spiffe", Host: domain, Path: "/device/" + string(named)}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{URIs: []*url.URL{uri}}, key)
	if err != nil {
		s.t.Fatal(err)
	}
	cert, err := s.ca.Issue(s.t.Context(), ca.Request{CSR: csr, PublicKey: &key.PublicKey, URI: uri.String(), Lifetime: time.Hour})
	if err != nil {
		s.t.Fatal(err)
	}
	if record != "" {
		s.record(record, cert, state)
	}
	return credential{cert: &tls.Certificate{Certificate: [][]byte{cert.DER}, PrivateKey: key}}
}

func (s *service) record(id fleet.DeviceID, cert ca.Certificate, state fleet.CertificateState) {
	s.t.Helper()
	c := fleet.Certificate{ID: fleet.NewID(), Device: id, State: fleet.CertificateIntended, CreatedAt: s.now()}
	s.apply(fleet.Change{Certificates: []fleet.Certificate{c}})
	c.State, c.Serial, c.DER, c.NotBefore, c.NotAfter = fleet.CertificateIssued, cert.Serial, cert.DER, cert.NotBefore, cert.NotAfter
	s.apply(fleet.Change{Certificates: []fleet.Certificate{c}})
	if state == fleet.CertificateRevoked {
		d, err := s.store.Device(s.t.Context(), id)
		if err != nil {
			s.t.Fatal(err)
		}
		s.apply(fleet.Change{Devices: []fleet.Device{d}, RevokeAll: id})
	}
}

// selfSigned names the device and is signed by nobody else.
func selfSigned(t *testing.T, id fleet.DeviceID) credential {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: start.Add(-time.Hour), NotAfter: start.Add(1000 * time.Hour),
		URIs:        []*url.URL{{Scheme: "spiffe", Host: domain, Path: "/device/" + string(id)}},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return credential{cert: &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}}
}

// local calls the handler without a network, as from the address.
func (s *service) local(method, path, body, from string) answer {
	s.t.Helper()
	req := httptest.NewRequestWithContext(s.t.Context(), method, path, strings.NewReader(body))
	req.Header.Set("Content-Type", "application/json")
	req.RemoteAddr = from
	rec := httptest.NewRecorder()
	s.handler.ServeHTTP(rec, req)
	return answer{rec.Code, rec.Header(), rec.Body.Bytes()}
}
