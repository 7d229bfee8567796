package posture_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2/transport"

	"troth/attest"
	"troth/attest/attesttest"
	"troth/attest/tpm"
	"troth/internal/evidence"
	"troth/internal/fleet"
	"troth/internal/nonce"
	"troth/internal/posture"
	"troth/internal/store"
	"troth/policies"
	"troth/policy"
)

const model = "edge-100"

var start = time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)

// engine is built once: compiling the policies takes most of a second.
var engine = sync.OnceValues(func() (*policy.Engine, error) {
	return policy.New(context.Background(), policies.FS, policy.Options{Deadline: 10 * time.Second})
})

// machine is the one software TPM of these tests, with its keys. Tests that use
// it do not run in parallel.
var machine struct {
	dir     string
	swtpm   *attesttest.SWTPM
	channel transport.TPMCloser
	tpm     *tpm.TPM
	ak      tpm.Key
}

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	code := m.Run()
	if machine.swtpm != nil {
		machine.tpm.Close()
		machine.swtpm.Close()
		os.RemoveAll(machine.dir)
	}
	return code
}

// rig is a device of one kind or another before the real service and store.
type rig struct {
	t        testing.TB
	service  *posture.Service
	store    *store.Store
	nonces   *nonce.Issuer
	catalog  *catalog
	rollouts *rollouts
	clock    time.Time
	device   fleet.DeviceID
	key      []byte // PKIX SPKI of the client certificate
	logs     attesttest.BootLogs
	report   string // what the device says of itself
	nonce    []byte
}

type catalog struct{ list fleet.Catalog }

func (c *catalog) Catalog() fleet.Catalog { return c.list }

// rollouts remembers what was proposed.
type rollouts struct {
	proposed []string
	seen     []fleet.UpdateReport
	install  *fleet.Rollout
	err      error
}

func (r *rollouts) Observe(_ context.Context, _ fleet.Device, report fleet.UpdateReport) (*fleet.Rollout, error) {
	r.seen = append(r.seen, report)
	return r.install, r.err
}

func (r *rollouts) Propose(_ context.Context, model, version, reason string, start bool) error {
	r.proposed = append(r.proposed, fmt.Sprintf("%s %s %v", model, version, start))
	if reason == "" {
		return fmt.Errorf("proposed without a reason")
	}
	return nil
}

// boot starts the TPM anew with an image: real PCRs, real logs.
func boot(t testing.TB, image attesttest.Image) attesttest.BootLogs {
	t.Helper()
	for _, tool := range []string{"swtpm", "swtpm_setup", "swtpm_localca"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip("NOT TESTED: check-ins with a software TPM, as " + tool + " is not installed")
		}
	}
	if machine.swtpm == nil {
		manufacture(t)
	} else {
		machine.tpm.Close()
		if err := machine.swtpm.PowerCycle(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	var err error
	if machine.channel, err = tpm.Open(machine.swtpm.Spec()); err != nil {
		t.Fatal(err)
	}
	machine.tpm = tpm.New(machine.channel)
	if machine.ak.Public == nil {
		if machine.ak, err = machine.tpm.CreateAK(); err != nil {
			t.Fatal(err)
		}
	}
	logs, err := attesttest.Boot(machine.channel, attesttest.PlatformFor(model), image)
	if err != nil {
		t.Fatal(err)
	}
	return logs
}

func manufacture(t testing.TB) {
	t.Helper()
	var err error
	if machine.dir, err = os.MkdirTemp("", "tr"); err != nil {
		t.Fatal(err)
	}
	maker, err := attesttest.NewManufacturer(filepath.Join(machine.dir, "m"), "acme")
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	if machine.swtpm, err = maker.NewTPM(ctx, filepath.Join(machine.dir, "s")); err != nil {
		t.Fatal(err)
	}
	if err := machine.swtpm.Start(ctx); err != nil {
		t.Fatal(err)
	}
}

func newRig(t testing.TB, image attesttest.Image, change ...func(*posture.Config)) *rig {
	t.Helper()
	r := &rig{t: t, catalog: &catalog{}, rollouts: &rollouts{}, clock: start, logs: boot(t, image)}
	r.device = fleet.DeviceID(fmt.Sprintf("%064x", 0xaa))
	r.report = `{"firmware":{"version":"` + image.Version + `"}}`
	r.publish("1.0.0", 1, false)
	var err error
	if r.store, err = store.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "troth.db")+"?synchronous=normal"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.store.Close() })
	if r.nonces, err = nonce.New(make([]byte, nonce.KeySize), 10*time.Minute); err != nil {
		t.Fatal(err)
	}
	e, err := engine()
	if err != nil {
		t.Fatal(err)
	}
	c := posture.Config{
		Store: r.store, Policy: e, Releases: r.catalog, Rollouts: r.rollouts, Nonces: r.nonces,
		Interval: 5 * time.Minute, Fresh: 12 * time.Minute, Now: func() time.Time { return r.clock },
	}
	for _, f := range change {
		f(&c)
	}
	r.service = posture.New(c)
	r.enrol()
	return r
}

// publish adds a release whose reference values are those of its image.
func (r *rig) publish(version string, counter uint64, security bool) {
	reference := fleet.ReferencePCRs{}
	for i, v := range attesttest.Reference(attesttest.PlatformFor(model), attesttest.NewImage(model, version)) {
		reference[i] = hex.EncodeToString(v)
	}
	r.catalog.list = append(r.catalog.list, fleet.Release{Model: model, Version: version, Counter: counter, Security: security, Reference: reference})
}

// enrol stores the device as an enrolment leaves it.
func (r *rig) enrol() {
	r.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		r.t.Fatal(err)
	}
	if r.key, err = x509.MarshalPKIXPublicKey(&key.PublicKey); err != nil {
		r.t.Fatal(err)
	}
	d := fleet.Device{
		ID: r.device, Name: "pump", Model: model, Lifecycle: fleet.Active, EnrolledAt: r.clock,
		AKPublic: machine.ak.Public, TLSPublic: r.key, Verdict: fleet.Unknown,
	}
	intent := fleet.Certificate{ID: fleet.NewID(), Device: d.ID, State: fleet.CertificateIntended, CreatedAt: r.clock}
	issued := intent
	issued.State, issued.Serial, issued.NotAfter = fleet.CertificateIssued, "01", r.clock.Add(1000*time.Hour)
	r.apply(fleet.Change{Devices: []fleet.Device{d}, Certificates: []fleet.Certificate{intent}})
	r.apply(fleet.Change{Certificates: []fleet.Certificate{issued}})
}

func (r *rig) apply(c fleet.Change) {
	r.t.Helper()
	if err := r.store.Apply(r.t.Context(), c); err != nil {
		r.t.Fatal(err)
	}
}

// evidence is a real quote over what the device is and says.
func (r *rig) evidence(challenge []byte) evidence.Submission {
	r.t.Helper()
	s := r.quote(attest.Binding{
		Purpose: "checkin", Nonce: challenge, DeviceID: string(r.device), ClientKey: r.key, Reported: []byte(r.report),
		EventLog: sha256.Sum256(r.logs.EventLog), IMA: sha256.Sum256(r.logs.IMA),
	})
	s.EventLog, s.IMA = logOf(r.logs.EventLog), logOf(r.logs.IMA)
	return s
}

// withoutLogs is evidence of a device that sends none.
func (r *rig) withoutLogs(challenge []byte) evidence.Submission {
	r.t.Helper()
	return r.quote(attest.Binding{
		Purpose: "checkin", Nonce: challenge, DeviceID: string(r.device), ClientKey: r.key, Reported: []byte(r.report),
	})
}

func (r *rig) quote(binding attest.Binding) evidence.Submission {
	r.t.Helper()
	q, err := machine.tpm.Quote(machine.ak, binding.QualifyingData(), evidence.Selection())
	if err != nil {
		r.t.Fatal(err)
	}
	pcrs := map[string]map[int]string{}
	for bank, values := range q.PCRs {
		pcrs[bank] = map[int]string{}
		for i, v := range values {
			pcrs[bank][i] = hex.EncodeToString(v)
		}
	}
	return evidence.Submission{Quote: q.Attest, Signature: q.Signature, PCRs: pcrs, Reported: []byte(r.report)}
}

func logOf(content []byte) *evidence.Log {
	sum := sha256.Sum256(content)
	return &evidence.Log{SHA256: hex.EncodeToString(sum[:]), Content: content}
}

// checkIn checks in properly, but for what change spoils.
func (r *rig) checkIn(change ...func(*posture.CheckIn)) (posture.Answer, error) {
	r.t.Helper()
	n, err := r.service.Nonce(r.t.Context(), r.device)
	if err != nil {
		r.t.Fatal(err)
	}
	c := posture.CheckIn{Device: r.device, ClientKey: r.key, Nonce: n.Nonce, Evidence: r.evidence(n.Nonce)}
	for _, f := range change {
		f(&c)
	}
	r.nonce = c.Nonce
	return r.service.CheckIn(r.t.Context(), c)
}

// must is checkIn for those that are to be accepted.
func (r *rig) must(want fleet.Verdict) posture.Answer {
	r.t.Helper()
	a, err := r.checkIn()
	if err != nil {
		r.t.Fatal(err)
	}
	if a.Posture.Verdict != want || a.Device.Verdict != want {
		r.t.Fatalf("verdict %s, want %s; findings %v", a.Posture.Verdict, want, findings(a.Posture))
	}
	return a
}

func findings(p fleet.Posture) map[string]string {
	found := map[string]string{}
	for _, c := range p.Controls {
		if c.Failing() {
			found[c.ID] = string(c.Outcome) + ": " + c.Reason
		}
	}
	return found
}

// stored is what the store holds of the device.
type stored struct {
	device    fleet.Device
	open      []string // keys of open alerts
	decisions int
	events    []string
}

func (r *rig) stored() stored {
	r.t.Helper()
	ctx := r.t.Context()
	var s stored
	var err error
	if s.device, err = r.store.Device(ctx, r.device); err != nil {
		r.t.Fatal(err)
	}
	alerts, err := r.store.Alerts(ctx, fleet.AlertFilter{Subject: string(r.device), Open: true})
	if err != nil {
		r.t.Fatal(err)
	}
	for _, a := range alerts {
		s.open = append(s.open, a.Key)
	}
	slices.Sort(s.open)
	decisions, err := r.store.Decisions(ctx, r.device, 0)
	if err != nil {
		r.t.Fatal(err)
	}
	s.decisions = len(decisions)
	events, err := r.store.Events(ctx, string(r.device), 0)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, e := range events {
		s.events = append(s.events, e.Action)
	}
	return s
}

func sorted(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }
