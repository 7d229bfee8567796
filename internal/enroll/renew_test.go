package enroll_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"troth/ca"
	"troth/internal/enroll"
	"troth/internal/fleet"
	"troth/policies"
	"troth/policy"
)

// enrolled is a device with a key in software, whose certificate was issued by
// the rig's CA: what a renewal begins with.
type enrolled struct {
	id    fleet.DeviceID
	key   *ecdsa.PrivateKey
	shown fleet.Certificate
}

func (r *rig) enrolled(t *testing.T, n int, edit func(*fleet.Device)) enrolled {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(spki)
	e := enrolled{id: fleet.DeviceID(fmt.Sprintf("%064x", n)), key: key}
	d := fleet.Device{
		ID: e.id, Model: "meter", Lifecycle: fleet.Active, EnrolledAt: r.clock, TLSPublic: spki,
		Verdict: fleet.Compliant, VerdictAt: r.clock, FreshUntil: r.clock.Add(time.Hour),
	}
	if edit != nil {
		edit(&d)
	}
	e.shown = fleet.Certificate{ID: fmt.Sprint("first-", n), Device: e.id, State: fleet.CertificateIntended, Key: sum[:], CreatedAt: r.clock}
	r.apply(t, fleet.Change{Devices: []fleet.Device{d}, Certificates: []fleet.Certificate{e.shown}})
	cert, err := r.Issuer.Issue(t.Context(), ca.Request{CSR: e.csr(t, r), PublicKey: &key.PublicKey, URI: r.URI(e.id)})
	if err != nil {
		t.Fatal(err)
	}
	e.shown.State, e.shown.Serial, e.shown.DER = fleet.CertificateIssued, cert.Serial, cert.DER
	e.shown.NotBefore, e.shown.NotAfter = cert.NotBefore, cert.NotAfter
	r.apply(t, fleet.Change{Certificates: []fleet.Certificate{e.shown}})
	return e
}

func (e enrolled) csr(t *testing.T, r *rig) []byte {
	t.Helper()
	uri, err := url.Parse(r.URI(e.id))
	if err != nil {
		t.Fatal(err)
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{URIs: []*url.URL{uri}}, e.key)
	if err != nil {
		t.Fatal(err)
	}
	return csr
}

func (r *rig) apply(t *testing.T, c fleet.Change) {
	t.Helper()
	if err := r.store.Apply(t.Context(), c); err != nil {
		t.Fatal(err)
	}
}

func (r *rig) renews(t *testing.T, e enrolled) (enroll.Credential, error) {
	t.Helper()
	return r.Renew(t.Context(), enroll.Renewal{Certificate: e.shown, CSR: e.csr(t, r)})
}

func (r *rig) states(t *testing.T, id fleet.DeviceID) map[fleet.CertificateState]int {
	t.Helper()
	list, err := r.store.Certificates(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	states := map[fleet.CertificateState]int{}
	for _, c := range list {
		states[c.State]++
	}
	return states
}

// with is the policy library with one file replaced.
func (r *rig) with(t *testing.T, name, content string) {
	t.Helper()
	files := fstest.MapFS{name: &fstest.MapFile{Data: []byte(content)}}
	err := fs.WalkDir(policies.FS, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || path == name || strings.HasSuffix(path, "_test.rego") {
			return err
		}
		b, err := fs.ReadFile(policies.FS, path)
		files[path] = &fstest.MapFile{Data: b}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	engine, err := policy.New(t.Context(), files, policy.Options{Deadline: 500 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	r.Policy = engine
}

const renewRule = "package troth.renew\ndecision := "

// Policy says who renews, for how long and with which key; whatever it says
// wrongly is no.
func TestRenewalByPolicy(t *testing.T) {
	for name, tt := range map[string]struct {
		module string
		code   string // empty: it is renewed
		life   time.Duration
	}{
		"as it is":       {"", "", 24 * time.Hour},
		"shorter":        {renewRule + `{"allow": true, "code": "", "reason": "Yes.", "rotate_key": false, "certificate_lifetime_seconds": 600}`, "", 10 * time.Minute},
		"the maximum":    {renewRule + `{"allow": true, "code": "", "reason": "Yes.", "rotate_key": false, "certificate_lifetime_seconds": 172800}`, "", 48 * time.Hour},
		"too long":       {renewRule + `{"allow": true, "code": "", "reason": "Yes.", "rotate_key": false, "certificate_lifetime_seconds": 172801}`, "lifetime_refused", 0},
		"with a new key": {renewRule + `{"allow": true, "code": "", "reason": "Yes.", "rotate_key": true}`, "key_rotation_required", 0},
		"its own no":     {renewRule + `{"allow": false, "code": "on_sundays", "reason": "No.", "rotate_key": false}`, "on_sundays", 0},
		"undefined":      {renewRule + `{"allow": true, "code": "", "reason": "Yes.", "rotate_key": false} if input.now == "never"`, "policy_error", 0},
		"malformed":      {renewRule + `{"allow": "yes"}`, "policy_error", 0},
		"too slow":       {renewRule + `{"allow": true, "code": "", "reason": sprintf("%d", [n]), "rotate_key": false} if n := count([1 | some i in numbers.range(1, 3000); some j in numbers.range(1, 3000); i == j])`, "policy_timeout", 0},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.MaxCertificateLife = 48 * time.Hour
			if tt.module != "" {
				r.with(t, "troth/renew/renew.rego", tt.module)
			}
			e := r.enrolled(t, 1, nil)
			c, err := r.renews(t, e)
			if tt.code != "" {
				if fleet.CodeOf(err) != tt.code || r.states(t, e.id)[fleet.CertificateIssued] != 1 || len(r.states(t, e.id)) != 1 {
					t.Fatalf("%v, certificates %v; want code %s and nothing new", err, r.states(t, e.id), tt.code)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if life := c.Certificate.NotAfter.Sub(r.clock); life != tt.life {
				t.Errorf("the certificate lives for %s, want %s", life, tt.life)
			}
			decisions, err := r.store.Decisions(t.Context(), e.id, 10)
			if err != nil || len(decisions) != 1 || decisions[0].Kind != "renew" || decisions[0].Answer != "allow" {
				t.Errorf("decisions kept: %+v, %v", decisions, err)
			}
			if r.states(t, e.id)[fleet.CertificateIssued] != 2 {
				t.Errorf("the certificate shown did not stay, whose successor's answer may be lost: %v", r.states(t, e.id))
			}
		})
	}
}

// What a quarantined device is given by a policy that allows it opens the device
// routes alone; a retired one is given nothing by any policy.
func TestRenewalWhateverPolicySays(t *testing.T) {
	r := newRig(t)
	r.with(t, "troth/renew/renew.rego", renewRule+`{"allow": true, "code": "", "reason": "Yes.", "rotate_key": false}`)
	q := r.enrolled(t, 1, func(d *fleet.Device) { d.Lifecycle, d.LifecycleReason = fleet.Quarantined, "altered" })
	if _, err := r.renews(t, q); err != nil || r.states(t, q.id)[fleet.CertificateRestricted] != 1 {
		t.Errorf("quarantined: %v, %v", err, r.states(t, q.id))
	}
	gone := r.enrolled(t, 2, func(d *fleet.Device) { d.Lifecycle = fleet.Retired })
	if _, err := r.renews(t, gone); fleet.CodeOf(err) != "device_retired" {
		t.Errorf("retired: %v", err)
	}
	ended := r.enrolled(t, 3, nil)
	ended.shown.State = fleet.CertificateRevoked
	if _, err := r.renews(t, ended); fleet.CodeOf(err) != "renewal_refused" {
		t.Errorf("by a revoked certificate: %v", err)
	}
	// The key of the request is that of the certificate shown, whoever asks.
	a, b := r.enrolled(t, 4, nil), r.enrolled(t, 5, nil)
	a.key = b.key
	if _, err := r.renews(t, a); fleet.CodeOf(err) != "csr_key_mismatch" {
		t.Errorf("by another key: %v", err)
	}
}

// crowded is a CA that counts how many are at it at once.
type crowded struct {
	ca.Issuer
	now, most atomic.Int32
	turn      chan struct{} // each signature takes one
}

func (c *crowded) Issue(ctx context.Context, r ca.Request) (ca.Certificate, error) {
	n := c.now.Add(1)
	defer c.now.Add(-1)
	for most := c.most.Load(); n > most && !c.most.CompareAndSwap(most, n); most = c.most.Load() {
	}
	<-c.turn
	return c.Issuer.Issue(ctx, r)
}

// A fleet that renews at the same instant does not crowd the CA. Who does not get
// a turn is told to come back, and has left no trace; what was issued is on
// record, and nothing else is.
func TestAFleetRenewsAtOnce(t *testing.T) {
	const devices, places = 300, 8
	r := newRig(t)
	fleetOf := make([]enrolled, devices)
	for i := range fleetOf {
		fleetOf[i] = r.enrolled(t, i+1, nil)
	}
	authority := &crowded{Issuer: r.Issuer, turn: make(chan struct{}, devices*10)}
	config := r.Config
	config.Issuer, config.Signing, config.SigningPatience = authority, places, time.Millisecond
	r.Service = enroll.New(config)
	round := func(wanting []enrolled) (again []enrolled) {
		var mu sync.Mutex
		var group sync.WaitGroup
		for _, e := range wanting {
			csr := e.csr(t, r)
			group.Go(func() {
				c, err := r.Renew(t.Context(), enroll.Renewal{Certificate: e.shown, CSR: csr})
				switch {
				case err == nil:
					record, err := r.store.CertificateBySerial(t.Context(), c.Certificate.Serial)
					if err != nil || record.State != fleet.CertificateIssued || record.Device != e.id {
						t.Errorf("issued and not on record: %+v, %v", record, err)
					}
				case fleet.CodeOf(err) == "ca_busy" && fleet.IsKind(err, fleet.Unavailable):
					mu.Lock()
					again = append(again, e)
					mu.Unlock()
				default:
					t.Error(err)
				}
			})
		}
		group.Wait()
		return again
	}
	done := make(chan []enrolled)
	go func() { done <- round(fleetOf) }()
	for authority.now.Load() < places { // all places are taken, and nobody leaves
		time.Sleep(time.Millisecond)
	}
	for range devices * 10 {
		authority.turn <- struct{}{}
	}
	again := <-done
	for _, e := range again {
		if s := r.states(t, e.id); s[fleet.CertificateIssued] != 1 || len(s) != 1 {
			t.Fatalf("turned away, and yet there is %v", s)
		}
	}
	config.SigningPatience = time.Minute
	r.Service = enroll.New(config)
	if left := round(again); len(left) > 0 {
		t.Errorf("%d of %d were turned away although they could wait", len(left), len(again))
	}
	if most := authority.most.Load(); most > places {
		t.Errorf("%d were at the CA at once, more than %d", most, places)
	}
	for _, e := range fleetOf {
		if s := r.states(t, e.id); s[fleet.CertificateIssued] != 2 || len(s) != 1 {
			t.Errorf("device %s has %v", e.id.Short(), s)
		}
	}
}

// deaf is a CA that does not revoke, for a reason.
type deaf struct {
	ca.Issuer
	err     error
	revoked []string
}

func (d *deaf) Revoke(ctx context.Context, der []byte) error {
	if d.err != nil {
		return d.err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return err
	}
	d.revoked = append(d.revoked, fmt.Sprintf("%x", leaf.SerialNumber))
	return d.Issuer.Revoke(ctx, der)
}

func (r *rig) alerts(t *testing.T) []fleet.Alert {
	t.Helper()
	list, err := r.store.Alerts(t.Context(), fleet.AlertFilter{Subject: "ca", Open: true})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func (r *rig) revokes(t *testing.T) {
	t.Helper()
	if err := r.Revoke(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// What ended here is told to the CA until it confirms it, ever more slowly, and
// people are told when that takes long.
func TestRevocationReachesTheCA(t *testing.T) {
	r := newRig(t)
	authority := &deaf{Issuer: r.Issuer, err: fmt.Errorf("sealed: %w", ca.ErrUnavailable)}
	r.Issuer = authority
	e, other := r.enrolled(t, 1, nil), r.enrolled(t, 2, nil)
	d, err := r.store.Device(t.Context(), e.id)
	if err != nil {
		t.Fatal(err)
	}
	if d, err = d.Quarantine("altered", r.clock); err != nil {
		t.Fatal(err)
	}
	r.apply(t, fleet.Change{Devices: []fleet.Device{d}, Restrict: d.ID})
	record := func(e enrolled) fleet.Certificate {
		c, err := r.store.CertificateBySerial(t.Context(), e.shown.Serial)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	attempts := 0
	for range 30 { // a quarter of an hour, and the second attempt is not at once
		r.revokes(t)
		if a := record(e).Authority; a.Attempts > attempts {
			attempts = a.Attempts
			if a.Problem != "away" || !a.ConfirmedAt.IsZero() {
				t.Fatalf("%+v", a)
			}
		}
		r.clock = r.clock.Add(30 * time.Second)
	}
	if attempts < 3 || attempts > 7 || len(r.alerts(t)) > 0 {
		t.Errorf("%d attempts in a quarter of an hour, alerts %v", attempts, r.alerts(t))
	}
	r.clock = r.clock.Add(time.Hour)
	for range 3 {
		r.revokes(t)
	}
	if open := r.alerts(t); len(open) != 1 || open[0].Key != fleet.KeyRevocation || open[0].Count != 1 {
		t.Fatalf("after an hour: %+v", open)
	}
	authority.err = nil
	r.clock = r.clock.Add(10 * time.Minute)
	for range 3 {
		r.revokes(t)
	}
	if c := record(e); c.State != fleet.CertificateRestricted || c.Authority.ConfirmedAt.IsZero() || c.Authority.Problem != "" {
		t.Errorf("%+v", c)
	}
	if len(authority.revoked) != 1 || len(r.alerts(t)) > 0 {
		t.Errorf("revoked %v, alerts %v", authority.revoked, r.alerts(t))
	}
	if c := record(other); c.State != fleet.CertificateIssued || !c.Authority.ConfirmedAt.IsZero() {
		t.Errorf("of another device: %+v", c)
	}

	// A refusal is told at once; it ends when the certificate has ended by itself.
	authority.err = fmt.Errorf("not mine: %w", ca.ErrRefused)
	r.apply(t, fleet.Change{RevokeOthers: &fleet.Certificate{Device: other.id, Reason: "lost", EndedAt: r.clock}})
	r.revokes(t)
	if open := r.alerts(t); len(open) != 1 || !strings.Contains(open[0].Reason, "not mine") {
		t.Fatalf("a refusal: %+v", open)
	}
	r.clock = r.clock.Add(25 * time.Hour)
	r.revokes(t)
	if open := r.alerts(t); len(open) > 0 || record(other).Authority.Attempts != 1 {
		t.Errorf("after its end: %+v, %+v", open, record(other).Authority)
	}
}

// refusing lets the store fail once, and the CA not revoke.
type refusing struct {
	enroll.Store
	fail func(fleet.Change) error
}

func (s *refusing) Apply(ctx context.Context, c fleet.Change) error {
	if err := s.fail(c); err != nil {
		return err
	}
	return s.Store.Apply(ctx, c)
}

// A certificate that was signed, could not be recorded as the device's, and could
// not be revoked either, is on record with what revoking it takes.
func TestWhatIsNeverDeliveredIsRevoked(t *testing.T) {
	r := newRig(t)
	e := r.enrolled(t, 1, nil)
	authority := &deaf{Issuer: r.Issuer, err: fmt.Errorf("sealed: %w", ca.ErrUnavailable)}
	lost := errors.New("the database is full")
	r.Issuer = authority
	r.Store = &refusing{Store: r.store, fail: func(c fleet.Change) error {
		if len(c.Devices) > 0 {
			return lost
		}
		return nil
	}}
	if _, err := r.renews(t, e); !errors.Is(err, lost) {
		t.Fatal(err)
	}
	if s := r.states(t, e.id); s[fleet.CertificateIssued] != 1 || s[fleet.CertificateInDoubt] != 1 {
		t.Fatalf("%v", s)
	}
	authority.err = nil
	r.revokes(t)
	if len(authority.revoked) != 1 || authority.revoked[0] == e.shown.Serial {
		t.Errorf("revoked: %v", authority.revoked)
	}

	// The write was done, and only its answer lost.
	before := len(authority.revoked)
	r.Store = &refusing{Store: r.store, fail: func(c fleet.Change) error {
		if len(c.Devices) == 0 {
			return nil
		}
		if err := r.store.Apply(t.Context(), c); err != nil {
			return err
		}
		return lost
	}}
	if _, err := r.renews(t, e); !errors.Is(err, lost) {
		t.Fatal(err)
	}
	if s := r.states(t, e.id); s[fleet.CertificateIssued] != 1 || s[fleet.CertificateRevoked] != 1 || len(authority.revoked) != before+1 {
		t.Errorf("%v, revoked %v", s, authority.revoked)
	}
}

// The old key ends when the new certificate is first used, or when its grace is
// over.
func TestSuccession(t *testing.T) {
	for name, end := range map[string]func(*testing.T, *rig, fleet.Certificate){
		"used": func(t *testing.T, r *rig, c fleet.Certificate) {
			for range 2 { // of two requests at once, one ends the others
				if err := r.Used(t.Context(), c); err != nil {
					t.Fatal(err)
				}
			}
		},
		"grace over": func(t *testing.T, r *rig, _ fleet.Certificate) {
			if err := r.Sweep(t.Context()); err != nil {
				t.Fatal(err)
			}
			r.clock = r.clock.Add(time.Hour + time.Second)
			for range 2 {
				if err := r.Sweep(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			e := r.enrolled(t, 1, nil)
			e.shown.State = fleet.CertificateRestricted // what succeeds it ends it
			c, err := r.renews(t, e)
			if err != nil {
				t.Fatal(err)
			}
			record, err := r.store.CertificateBySerial(t.Context(), c.Certificate.Serial)
			if err != nil || !record.Succeeds || r.states(t, e.id)[fleet.CertificateIssued] != 2 {
				t.Fatalf("%+v, %v", record, err)
			}
			end(t, r, record)
			if s := r.states(t, e.id); s[fleet.CertificateIssued] != 1 || s[fleet.CertificateRevoked] != 1 {
				t.Errorf("%v", s)
			}
			if record, err = r.store.CertificateBySerial(t.Context(), c.Certificate.Serial); err != nil || record.Succeeds || record.State != fleet.CertificateIssued {
				t.Errorf("%+v, %v", record, err)
			}
		})
	}
}
