package enroll_test

import (
	"bytes"
	"crypto/sha256"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"troth/ca/local"
	"troth/internal/enroll"
	"troth/internal/fleet"
	"troth/internal/nonce"
	"troth/internal/store"
	"troth/policies"
	"troth/policy"
)

// What needs a TPM is tried in test/e2e, on the whole service. Here is what a
// clock, a lost answer and an operator do.

var id = fleet.DeviceID(strings.Repeat("ab", 32))

type rig struct {
	*enroll.Service
	store *store.Store
	clock time.Time
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{clock: time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)}
	now := func() time.Time { return r.clock }
	dir := t.TempDir()
	var err error
	if r.store, err = store.Open(t.Context(), "sqlite:"+filepath.Join(dir, "troth.db")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.store.Close() })
	authority, err := local.Open(filepath.Join(dir, "ca"), local.Options{TrustDomain: "test", Now: now})
	if err != nil {
		t.Fatal(err)
	}
	engine, err := policy.New(t.Context(), policies.FS, policy.Options{})
	if err != nil {
		t.Fatal(err)
	}
	nonces, err := nonce.New(bytes.Repeat([]byte{1}, nonce.KeySize), 10*time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	r.Service = enroll.New(enroll.Config{
		Store: r.store, Issuer: authority, Policy: engine, Nonces: nonces, TrustDomain: "test",
		CertificateLife: 24 * time.Hour, ChallengeLife: 2 * time.Minute, Now: now,
	})
	return r
}

func (r *rig) challenge(t *testing.T, name string) {
	t.Helper()
	secret := sha256.Sum256([]byte("the secret"))
	e := fleet.Enrollment{
		ID: name, Device: id, Model: "meter", SecretSHA256: secret[:], Nonce: []byte("nonce"),
		CreatedAt: r.clock, ExpiresAt: r.clock.Add(2 * time.Minute),
	}
	if err := r.store.SaveEnrollment(t.Context(), e); err != nil {
		t.Fatal(err)
	}
}

func (r *rig) completes(t *testing.T, name string, p enroll.Proof, code string) {
	t.Helper()
	if _, err := r.Complete(t.Context(), name, p); fleet.CodeOf(err) != code {
		t.Fatalf("complete %s: %v, want code %s", name, err, code)
	}
	devices, err := r.store.Devices(t.Context(), fleet.DeviceFilter{})
	if err != nil {
		t.Fatal(err)
	}
	certificates, err := r.store.Certificates(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if len(devices)+len(certificates) > 0 {
		t.Fatalf("a refused enrolment left %d devices and %d certificates", len(devices), len(certificates))
	}
}

// TestAttack_K2_ChallengeBurns: whatever was wrong with an answer, there is no
// second one.
func TestAttack_K2_ChallengeBurns(t *testing.T) {
	r := newRig(t)
	r.completes(t, "never-was", enroll.Proof{}, "challenge_unknown")

	r.challenge(t, "guessed")
	r.completes(t, "guessed", enroll.Proof{Secret: []byte("a guess")}, "activation_failed")
	r.completes(t, "guessed", enroll.Proof{Secret: []byte("the secret")}, "challenge_unknown")

	r.challenge(t, "late")
	r.clock = r.clock.Add(2*time.Minute + time.Second)
	r.completes(t, "late", enroll.Proof{Secret: []byte("the secret")}, "challenge_expired")
	r.completes(t, "late", enroll.Proof{Secret: []byte("the secret")}, "challenge_unknown")
}

func TestRefusedIntroductions(t *testing.T) {
	r := newRig(t)
	for name, tt := range map[string]struct {
		claim enroll.Claim
		code  string
	}{
		"nothing at all":      {enroll.Claim{}, "ek_not_template"},
		"a certificate of no": {enroll.Claim{EKCertificate: []byte("no certificate")}, "ek_malformed"},
		"a public area of no": {enroll.Claim{EKPublic: bytes.Repeat([]byte{0xff}, 300)}, "ek_not_template"},
	} {
		if _, err := r.Begin(t.Context(), tt.claim); fleet.CodeOf(err) != tt.code {
			t.Errorf("%s: %v, want code %s", name, err, tt.code)
		}
	}
}

// A crash between asking the CA and recording its answer leaves an intent. It is
// closed as what it is: nobody knows whether the CA signed.
func TestSweepClosesWhatACrashLeft(t *testing.T) {
	r := newRig(t)
	old := fleet.Certificate{ID: "old", Device: id, State: fleet.CertificateIntended, Key: []byte("key"), CreatedAt: r.clock}
	if err := r.store.Apply(t.Context(), fleet.Change{Certificates: []fleet.Certificate{old}}); err != nil {
		t.Fatal(err)
	}
	r.challenge(t, "unanswered")
	r.clock = r.clock.Add(11 * time.Minute)
	fresh := old
	fresh.ID, fresh.CreatedAt = "fresh", r.clock
	if err := r.store.Apply(t.Context(), fleet.Change{Certificates: []fleet.Certificate{fresh}}); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second finds nothing to do
		if err := r.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]fleet.CertificateState{"old": fleet.CertificateInDoubt, "fresh": fleet.CertificateIntended} {
		if c, err := r.store.Certificate(t.Context(), name); err != nil || c.State != want {
			t.Errorf("certificate %s is %s, %v; want %s", name, c.State, err, want)
		}
	}
	if _, err := r.Complete(t.Context(), "unanswered", enroll.Proof{Secret: []byte("the secret")}); fleet.CodeOf(err) != "challenge_unknown" {
		t.Errorf("an expired challenge after the sweep: %v", err)
	}
}

// Only an active device whose verdict is compliant and fresh is given a new
// certificate.
func TestRenewalIsRefused(t *testing.T) {
	r := newRig(t)
	good := fleet.Device{
		ID: id, Lifecycle: fleet.Active, EnrolledAt: r.clock, Verdict: fleet.Compliant, VerdictAt: r.clock, FreshUntil: r.clock.Add(time.Minute),
	}
	code := map[string]string{
		"quarantined": "renewal_refused", "retired": "device_retired", "pending": "renewal_refused",
		"noncompliant": "renewal_refused", "undecided": "renewal_refused", "stale": "renewal_refused",
	}
	for name, change := range map[string]func(*fleet.Device){
		"quarantined":  func(d *fleet.Device) { d.Lifecycle = fleet.Quarantined },
		"retired":      func(d *fleet.Device) { d.Lifecycle = fleet.Retired },
		"pending":      func(d *fleet.Device) { d.Lifecycle = fleet.Pending },
		"noncompliant": func(d *fleet.Device) { d.Verdict = fleet.Noncompliant },
		"undecided":    func(d *fleet.Device) { d.Verdict = fleet.Undecided },
		"stale":        func(d *fleet.Device) { d.FreshUntil = r.clock.Add(-time.Second) },
	} {
		t.Run(name, func(t *testing.T) {
			r, d := newRig(t), good
			change(&d)
			if err := r.store.Apply(t.Context(), fleet.Change{Devices: []fleet.Device{d}}); err != nil {
				t.Fatal(err)
			}
			shown := fleet.Certificate{Device: d.ID, State: fleet.CertificateIssued}
			if _, err := r.Renew(t.Context(), enroll.Renewal{Certificate: shown}); fleet.CodeOf(err) != code[name] {
				t.Errorf("renewal: %v", err)
			}
			if certificates, err := r.store.Certificates(t.Context(), d.ID); err != nil || len(certificates) > 0 {
				t.Errorf("a refused renewal left %v, %v", certificates, err)
			}
		})
	}
}
