package e2e

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"troth/attest"
	"troth/attest/tpm"
	"troth/ca/vault"
	"troth/internal/agent"
	"troth/internal/api"
	"troth/internal/fleet"
	"troth/policies"
)

// certificates as an operator sees them, newest first.
func (s *service) certificates(t testing.TB, id string) []api.DeviceCertificate {
	t.Helper()
	var list api.DeviceCertificates
	if err := s.admin.Do(t.Context(), http.MethodGet, api.Path(api.PathCertificates, id), nil, &list); err != nil {
		t.Fatal(err)
	}
	return list.Certificates
}

func (s *service) certificate(t testing.TB, id, serial string) api.DeviceCertificate {
	t.Helper()
	for _, c := range s.certificates(t, id) {
		if c.Serial == serial {
			return c
		}
	}
	t.Fatalf("no certificate of %s has the serial %s", id, serial)
	return api.DeviceCertificate{}
}

// revokedAtVault reports whether the CRL of the Vault at addr lists a serial.
func revokedAtVault(t testing.TB, addr, serial string) bool {
	t.Helper()
	resp := must(http.Get("http://" + addr + "/v1/" + vault.DefaultMount + "/crl/pem"))(t)
	defer resp.Body.Close()
	content := must(io.ReadAll(resp.Body))(t)
	block, _ := pem.Decode(content)
	if block == nil {
		t.Fatalf("Vault's CRL is none: %s", content)
	}
	list := must(x509.ParseRevocationList(block.Bytes))(t)
	return slices.ContainsFunc(list.RevokedCertificateEntries, func(e x509.RevocationListEntry) bool {
		return hex.EncodeToString(e.SerialNumber.Bytes()) == serial
	})
}

// rotation is a renewal with a new key, to be lied in.
type rotation struct {
	key       tpm.Key // that is sent
	certifier tpm.Key
	certified tpm.Key
	csrKey    tpm.Key
	binding   attest.Binding
	after     func(*api.RenewRequest)
}

func (a *attacker) rotate(edit func(*rotation)) (api.Credential, tpm.Key, error) {
	a.t.Helper()
	n := must(a.ask())(a.t)
	a.nonce = nil
	key := must(a.tpm.CreateTLSKey())(a.t)
	r := &rotation{key: key, certifier: a.ak, certified: key, csrKey: key, binding: attest.Binding{Purpose: "certify", Nonce: n.Nonce, DeviceID: a.id}}
	if edit != nil {
		edit(r)
	}
	uri := &url.URL{Scheme: "spiffe", Host: "troth.internal", Path: "/device/" + a.id}
	signer := must(a.tpm.Signer(r.csrKey))(a.t)
	request := api.RenewRequest{
		CSR:    must(x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{URIs: []*url.URL{uri}}, signer))(a.t),
		NewKey: &api.NewKey{Nonce: r.binding.Nonce, TLSPublic: r.key.Public},
	}
	var err error
	if request.NewKey.CertifyInfo, request.NewKey.CertifySignature, err = a.tpm.Certify(r.certifier, r.certified, r.binding.QualifyingData()); err != nil {
		a.t.Fatal(err)
	}
	if r.after != nil {
		r.after(&request)
	}
	var c api.Credential
	err = a.client.Do(a.t.Context(), http.MethodPost, api.PathRenew, request, &c)
	return c, r.key, err
}

// The CA is told of a quarantine and of a retirement, and a device in quarantine
// keeps its own routes; released, it gets a certificate that others accept.
func TestRevokedAtVault(t *testing.T) {
	t.Parallel()
	config, cable := vaultPKI(t)
	s := newService(t, quick+config)
	a, b := newAttacker(t, s), newAttacker(t, s)
	for _, d := range []*attacker{a, b} {
		d.enroll()
		d.mustCheckIn("compliant")
	}
	first := a.serial
	s.move(t, a.id, "quarantine")
	s.move(t, b.id, "retire")
	if c := s.certificate(t, a.id, first); c.State != "restricted" {
		t.Fatalf("in quarantine: %+v", c)
	}
	eventually(t, 10*time.Second, "Vault's CRL lists both", func() (string, bool) {
		return "", revokedAtVault(t, cable.addr, first) && revokedAtVault(t, cable.addr, b.serial)
	})
	eventually(t, 10*time.Second, "the confirmation is on record", func() (string, bool) {
		return "", s.certificate(t, a.id, first).RevokedAtCA != nil && s.certificate(t, b.id, b.serial).RevokedAtCA != nil
	})
	_, err := b.checkIn()
	wantCode(t, err, "certificate_revoked")
	a.mustCheckIn("compliant")
	_, err = a.renew()
	wantCode(t, err, "renewal_refused")

	s.move(t, a.id, "release")
	if yes, code := s.may(t, a.id); yes || code != "certificate_revoked" {
		t.Errorf("with a certificate that others refuse, /authz says %v, %s", yes, code)
	}
	if out := a.mustCheckIn("compliant"); out.Certificate != "renew" {
		t.Errorf("released, the device is told %q about its certificate", out.Certificate)
	}
	a.hold(must(a.renew())(t))
	a.mustCheckIn("compliant")
	if yes, code := s.may(t, a.id); !yes {
		t.Errorf("released and renewed: %s", code)
	}
	if c := s.certificate(t, a.id, first); c.State != "revoked" || revokedAtVault(t, cable.addr, a.serial) {
		t.Errorf("what was restricted is now %+v", c)
	}

	// Ended by an operator, the device attests anew.
	s.move(t, a.id, "revoke")
	_, err = a.checkIn()
	wantCode(t, err, "certificate_revoked")
	ended := a.serial
	eventually(t, 10*time.Second, "Vault's CRL lists it", func() (string, bool) { return "", revokedAtVault(t, cable.addr, ended) })
	a.enroll()
	a.mustCheckIn("compliant")
}

// What one replica revokes, the others refuse at the next request, on connections
// that are open already.
func TestAttack_S1_RevokedInEveryReplica(t *testing.T) {
	t.Parallel()
	dsn, _ := postgres(t)
	one := newServiceOn(t, dsn, "")
	two := secondOf(t, one)
	a, b := newAttacker(t, one), newAttacker(t, one)
	for _, d := range []*attacker{a, b} {
		d.enroll()
		d.mustCheckIn("compliant")
		d.service = two
		d.client = d.present(d.credential)
		d.client.Base = two.admin.Base
		if _, err := d.ask(); err != nil {
			t.Fatalf("at the other replica: %v", err)
		}
	}
	one.move(t, a.id, "quarantine")
	one.move(t, b.id, "retire")
	if yes, code := two.may(t, a.id); yes || code != "device_quarantined" {
		t.Errorf("quarantined here, the other replica says %v, %s", yes, code)
	}
	_, err := a.renew()
	wantCode(t, err, "renewal_refused")
	_, err = b.ask()
	wantCode(t, err, "certificate_revoked")
	one.move(t, a.id, "revoke")
	_, err = a.ask()
	wantCode(t, err, "certificate_revoked")
}

// secondOf is another process on the same database, with the same keys.
func secondOf(t testing.TB, one *service) *service {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "data"), os.DirFS(one.path("data"))); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(filepath.Join(dir, "data"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		return os.Chmod(path, 0o600) // CopyFS keeps no modes
	})
	if err != nil {
		t.Fatal(err)
	}
	two := &service{dir: dir, config: filepath.Join(dir, "troth.yaml"), dsn: one.dsn}
	content := strings.ReplaceAll(string(must(os.ReadFile(one.config))(t)), one.path("data"), two.path("data"))
	if err := os.WriteFile(two.config, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := two.start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := two.close(); err != nil {
			t.Error(err)
		}
	})
	client := must(two.client(nil))(t)
	two.admin = &api.Client{Base: two.process.URL, HTTP: client, Token: one.admin.Token}
	return two
}

// A renewal may bring a new key. The old one lives until the new certificate is
// first used, so that a lost answer locks nobody out.
func TestKeyRotation(t *testing.T) {
	t.Parallel()
	s := everyones(t)
	a := newAttacker(t, s)
	a.enroll()
	a.mustCheckIn("compliant")
	first := a.serial
	s.move(t, a.id, "rotate-key")
	if out := a.mustCheckIn("compliant"); out.Certificate != "rotate_key" {
		t.Fatalf("the device is told %q about its certificate", out.Certificate)
	}
	_, err := a.renew()
	wantCode(t, err, "key_rotation_required")

	// The answer is lost: the old key works on, and is not renewed.
	_, _, err = a.rotate(nil)
	if err != nil {
		t.Fatal(err)
	}
	if out := a.mustCheckIn("compliant"); out.Certificate != "rotate_key" || s.certificate(t, a.id, first).State != "issued" {
		t.Fatalf("after a lost answer: %q, %+v", out.Certificate, s.certificate(t, a.id, first))
	}
	c, key, err := a.rotate(nil)
	if err != nil {
		t.Fatal(err)
	}
	old := a.client
	a.tls = key
	a.hold(c)
	if out := a.mustCheckIn("compliant"); out.Certificate != "" {
		t.Errorf("rotated, the device is told %q", out.Certificate)
	}
	err = old.Do(t.Context(), http.MethodPost, api.PathNonce, nil, nil)
	wantCode(t, err, "certificate_revoked")
	if live := s.kept(t, a.id).live(); len(live) != 1 || live[0] != a.serial {
		t.Errorf("in force: %v", live)
	}
	if _, told := s.kept(t, a.id).open(fleet.KeyNewKeys); told {
		t.Error("a rotation that was asked for raises an alert")
	}
	a.hold(must(a.renew())(t)) // with the new key, as ever
	a.mustCheckIn("compliant")
}

// A new key counts only where this TPM's AK certified it just now, and the request
// is by that key.
func TestAttack_K6_RotationToAKeyThatIsNotProven(t *testing.T) {
	t.Parallel()
	a := newAttacker(t, everyones(t))
	a.enroll()
	a.mustCheckIn("compliant")
	stale := must(a.ask())(t)
	a.nonce = nil
	a.mustCheckIn("compliant") // a later nonce is used up
	otherAK := must(a.tpm.CreateAK())(t)
	otherKey := must(a.tpm.CreateTLSKey())(t)
	for name, lie := range map[string]struct {
		edit func(*rotation)
		code string
	}{
		"by another AK":             {func(r *rotation) { r.certifier = otherAK }, "signature_invalid"},
		"of another key":            {func(r *rotation) { r.certified = otherKey }, "certify_name"},
		"for another purpose":       {func(r *rotation) { r.binding.Purpose = "checkin" }, "nonce_mismatch"},
		"for another device":        {func(r *rotation) { r.binding.DeviceID = strings.Repeat("ab", 32) }, "nonce_mismatch"},
		"by a nonce used up":        {func(r *rotation) { r.binding.Nonce = stale.Nonce }, "nonce_replayed"},
		"by a nonce of its own":     {func(r *rotation) { r.binding.Nonce = []byte("mine") }, "nonce_invalid"},
		"request by another key":    {func(r *rotation) { r.csrKey = otherKey }, "csr_key_mismatch"},
		"the old key as a new one":  {func(r *rotation) { r.key, r.certified, r.csrKey = a.tls, a.tls, a.tls }, "key_not_new"},
		"a restricted key":          {func(r *rotation) { r.key, r.certified = otherAK, otherAK }, ""},
		"a public area of nonsense": {func(r *rotation) { r.after = func(q *api.RenewRequest) { q.NewKey.TLSPublic = []byte{1, 2} } }, ""},
	} {
		before := a.service.kept(t, a.id).live()
		_, _, err := a.rotate(lie.edit)
		if code := api.CodeOf(err); code == "" || (lie.code != "" && code != lie.code) {
			t.Errorf("%s: %v, want code %s", name, err, lie.code)
		}
		if after := a.service.kept(t, a.id).live(); len(after) != len(before) {
			t.Errorf("%s: certificates in force %v, before %v", name, after, before)
		}
	}
	a.mustCheckIn("compliant")
}

// dying ends the agent's goroutine where its log says the words, as kill -9 would
// end the process: nothing after them is done.
type dying struct {
	slog.Handler
	words string
	once  *sync.Once
}

func (d dying) Enabled(context.Context, slog.Level) bool { return true }

func (d dying) Handle(ctx context.Context, r slog.Record) error {
	if r.Message == d.words {
		die := false
		d.once.Do(func() { die = true })
		if die {
			runtime.Goexit()
		}
	}
	return d.Handler.Handle(ctx, r)
}

// Wherever an agent is killed in a rotation, the next start goes on to the end of
// it, with one enrolment in all.
func TestAgentKilledInARotation(t *testing.T) {
	t.Parallel()
	s := newService(t, quick+"policy_dir: "+renewAll(t)+"\n")
	for _, words := range []string{
		"rotation: new key made", "rotation: new key certified", "rotation: answered", "rotation: credential arrived",
		"rotation: new credential used", "rotation: credential taken over",
	} {
		t.Run(strings.ReplaceAll(words, " ", "-"), func(t *testing.T) {
			t.Parallel()
			a := newAttacker(t, s)
			state := t.TempDir()
			a.runs(state, 1, nil)
			first := s.kept(t, a.id).live()[0]
			s.move(t, a.id, "rotate-key")
			a.killed(state, words)
			j := &journal{}
			stop := a.runAgent(state, func(c *agent.Config) { c.Log = j.logger() })
			eventually(t, 15*time.Second, "the key is rotated", func() (string, bool) {
				certificates := s.certificates(t, a.id)
				newest := certificates[0]
				return fmt.Sprintf("%+v\n%s", certificates, j.text()),
					s.certificate(t, a.id, first).State == "revoked" && newest.State == "issued" && len(s.kept(t, a.id).live()) == 1
			})
			seen := s.kept(t, a.id).Device.LastSeen
			eventually(t, 10*time.Second, "and the device checks in", func() (string, bool) {
				return j.text(), s.kept(t, a.id).Device.LastSeen.After(seen)
			})
			if err := stop(); err != nil {
				t.Fatal(err)
			}
			k := s.kept(t, a.id)
			enrolments := 0
			for _, e := range k.Events {
				if e.Action == "device.enroll" {
					enrolments++
				}
			}
			if _, told := k.open(fleet.KeyNewKeys); told || enrolments != 1 {
				t.Errorf("%d enrolments, alerts %+v", enrolments, k.Alerts)
			}
		})
	}
}

// renewAll is the policy library by which every active device may renew: one
// without firmware slots, as here, does not say what it runs, and is noncompliant.
func renewAll(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, policies.FS); err != nil {
		t.Fatal(err)
	}
	rule := `package troth.renew
default decision := {"allow": false, "code": "not_active", "reason": "It is not active.", "rotate_key": false}
decision := {"allow": true, "code": "", "reason": "It is active.", "rotate_key": false} if input.device.lifecycle == "active"
`
	path := filepath.Join(dir, "troth", "renew", "renew.rego")
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(rule), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// killed runs the agent until its log says the words, which end it.
func (a *attacker) killed(state, words string) {
	a.t.Helper()
	_ = a.link.Close()
	c := agent.Config{
		Server: a.service.admin.Base, ServerCA: a.service.caFile, StateDir: state, TPM: a.chip.Spec(), Model: model, Name: a.name,
		EventLog: filepath.Join(a.t.TempDir(), "event_log"), IMA: filepath.Join(a.t.TempDir(), "ima"), Version: "test", Now: time.Now,
		Log: slog.New(dying{slog.NewTextHandler(io.Discard, nil), words, &sync.Once{}}),
	}
	for path, content := range map[string][]byte{c.EventLog: a.logs.EventLog, c.IMA: a.logs.IMA} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			a.t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := agent.Run(ctx, c); err != nil || ctx.Err() != nil {
			a.t.Errorf("the agent was not killed at %q: %v", words, err)
		}
	}()
	<-ended
	a.connect()
}

// A quarantined device whose certificate has ended attests again by itself: it
// stays in quarantine, and its certificate is good for its own routes alone. Its
// keys are the same, so nobody is told anything new. A retired device never comes
// back.
func TestBackAfterItsCertificateEnded(t *testing.T) {
	t.Parallel()
	s := newService(t, quick+"certificates: {lifetime: 5s}\n")
	a, b := newAttacker(t, s), newAttacker(t, s)
	for _, d := range []*attacker{a, b} {
		d.enroll()
		must(d.checkIn())(t) // so short a certificate is a finding
	}
	s.move(t, a.id, "quarantine")
	s.move(t, b.id, "retire")
	time.Sleep(time.Until(a.credential.NotAfter) + time.Second)
	first := a.serial
	a.enroll()
	must(a.checkIn())(t)
	if c := s.certificate(t, a.id, a.serial); c.State != "restricted" || a.serial == first {
		t.Errorf("in quarantine: %+v", c)
	}
	k := s.kept(t, a.id)
	if _, told := k.open(fleet.KeyNewKeys); told || k.Device.Lifecycle != fleet.Quarantined || len(k.live()) > 0 {
		t.Errorf("the device is %s, alerts %+v, in force %v", k.Device.Lifecycle, k.Alerts, k.live())
	}
	if yes, code := s.may(t, a.id); yes || code != "device_quarantined" {
		t.Errorf("/authz says %v, %s", yes, code)
	}
	eventually(t, 5*time.Second, "the CA is told", func() (string, bool) { return "", s.certificate(t, a.id, a.serial).RevokedAtCA != nil })
	_, err := b.tryEnroll()
	wantCode(t, err, "device_retired")
}

// A device whose clock is wrong throws nothing away, says what to do, and goes on
// by itself when the clock is right.
func TestAgentWithAWrongClock(t *testing.T) {
	t.Parallel()
	s := newService(t, quick)
	for name, tt := range map[string]struct {
		year  int
		works bool
	}{"1970": {1970, true}, "2100": {2100, false}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAttacker(t, s)
			state, j := t.TempDir(), &journal{}
			a.runs(state, 1, nil)
			before := must(os.ReadFile(filepath.Join(state, "credential.json")))(t)
			wrong := time.Date(tt.year, 1, 1, 0, 0, 0, 0, time.UTC)
			seen := s.kept(t, a.id).Device.LastSeen
			stop := a.runAgent(state, func(c *agent.Config) {
				c.Log, c.Now = j.logger(), func() time.Time { return wrong }
			})
			if tt.works { // the time of the last certificate is known to be past
				eventually(t, 15*time.Second, "the device checks in all the same", func() (string, bool) {
					return j.text(), s.kept(t, a.id).Device.LastSeen.After(seen)
				})
			} else {
				eventually(t, 15*time.Second, "the agent says what is wrong", func() (string, bool) {
					return j.text(), j.has("this device's clock says 2100")
				})
			}
			if err := stop(); err != nil {
				t.Fatal(err)
			}
			if after := must(os.ReadFile(filepath.Join(state, "credential.json")))(t); string(after) != string(before) {
				t.Error("the credential is not what it was")
			}
			a.runs(state, 1, nil) // no other enrolment
		})
	}
}
