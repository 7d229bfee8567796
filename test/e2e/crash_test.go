package e2e

import (
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"testing"
	"time"

	"troth/ca"
	"troth/internal/agent"
	"troth/internal/api"
	"troth/internal/enroll"
	"troth/internal/fleet"
	"troth/internal/store"
)

// killDuring kills the service (SIGKILL) a moment after a call began, runs it
// again, and returns what the call met.
func (s *service) killDuring(t testing.TB, moment time.Duration, call func() error) error {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- call() }()
	time.Sleep(moment)
	if err := s.kill(); err != nil {
		t.Fatal(err)
	}
	err := <-done
	s.restart(t)
	return err
}

// enrolledOnce requires that an enrolled device holds the only certificate that
// lives, whatever was tried before.
func (a *attacker) enrolledOnce() {
	a.t.Helper()
	k := a.service.kept(a.t, a.id)
	if k.Device == nil || k.Device.Lifecycle != fleet.Active {
		a.t.Fatalf("the device is not enrolled: %+v", k.Device)
	}
	if live := k.live(); len(live) != 1 || live[0] != a.serial {
		a.t.Fatalf("live certificates are %v, the device holds %s", live, a.serial)
	}
	if len(k.Certificates) != k.in("issued")+k.in("revoked")+k.in("intended")+k.in("ambiguous")+k.in("failed") {
		a.t.Fatalf("certificates in states that nobody knows: %+v", k.Certificates)
	}
	var list api.DeviceList
	a.service.get(a.t, api.PathDevices, &list)
	rows := 0
	for _, d := range list.Devices {
		if d.ID == a.id || d.Name == a.name {
			rows++
		}
	}
	if rows != 1 {
		a.t.Fatalf("the device has %d rows", rows)
	}
}

// persist enrols as the agent does: again and again, until it is told that it is.
func (a *attacker) persist() {
	a.t.Helper()
	a.anyone.HTTP.CloseIdleConnections()
	eventually(a.t, 15*time.Second, "the device is enrolled", func() (string, bool) {
		c, err := a.tryEnroll()
		if err != nil {
			return err.Error(), false
		}
		a.hold(c)
		return "", true
	})
}

func TestAttack_S9_ServiceKilledDuringEnrolment(t *testing.T) {
	t.Parallel()
	s := newService(t, "")
	first := newAttacker(t, s)
	c := first.mustBegin()
	proof := first.proof(first.answer(c))
	start := time.Now()
	first.hold(must(first.complete(c.ID, proof))(t))
	took := time.Since(start)
	devices := []*attacker{first}

	t.Run("before begin's answer", func(t *testing.T) {
		for _, moment := range []time.Duration{0, took / 8} {
			a := newAttacker(t, s)
			err := s.killDuring(t, moment, func() error { _, err := a.begin(); return err })
			t.Logf("after %v: %v", moment, err)
			s.strange(t, a.id)
			a.persist()
			a.enrolledOnce()
		}
	})
	t.Run("between begin and complete", func(t *testing.T) {
		a := newAttacker(t, s)
		c := a.mustBegin()
		proof := a.proof(a.answer(c))
		if err := s.kill(); err != nil {
			t.Fatal(err)
		}
		s.restart(t)
		a.anyone.HTTP.CloseIdleConnections()
		a.hold(must(a.complete(c.ID, proof))(t)) // the challenge was kept
		a.enrolledOnce()
		a.mustCheckIn("compliant")
	})
	for i := range 7 {
		moment := took * time.Duration(i) / 6
		t.Run(fmt.Sprintf("while complete runs %d", i), func(t *testing.T) {
			a := newAttackerFor(t, s, &devices)
			c := a.mustBegin()
			proof := a.proof(a.answer(c))
			var told api.Credential
			err := s.killDuring(t, moment, func() (err error) { told, err = a.complete(c.ID, proof); return err })
			k := s.kept(t, a.id)
			t.Logf("killed after %v: answer %v; %d intended, %d issued", moment, err, k.in("intended"), k.in("issued"))
			if err == nil {
				a.hold(told)
			} else {
				a.persist()
			}
			a.enrolledOnce()
			a.mustCheckIn("compliant")
		})
	}
	t.Run("after complete", func(t *testing.T) {
		a := newAttacker(t, s)
		a.enroll()
		if err := s.kill(); err != nil {
			t.Fatal(err)
		}
		s.restart(t)
		a.client.HTTP.CloseIdleConnections()
		a.mustCheckIn("compliant")
		a.enrolledOnce()
	})
	first.client.HTTP.CloseIdleConnections()
	first.mustCheckIn("compliant")
	sweepIntents(t, s, devices)
}

// newAttackerFor is newAttacker for a device that is looked at again later.
func newAttackerFor(t testing.TB, s *service, all *[]*attacker) *attacker {
	t.Helper()
	a := newAttacker(t, s)
	*all = append(*all, a)
	return a
}

// sweepIntents does what the service's sweep does ten minutes later: intents
// that a crash left open are recorded as in doubt, and nothing else changes.
func sweepIntents(t *testing.T, s *service, devices []*attacker) {
	t.Helper()
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
	db := must(store.Open(t.Context(), s.dsn))(t)
	defer db.Close()
	sweeper := enroll.New(enroll.Config{Store: db, Issuer: noIssuer{}, Now: func() time.Time { return time.Now().Add(11 * time.Minute) }})
	open := map[string]int{}
	for _, a := range devices {
		open[a.id] = keptIn(t, db, fleet.DeviceID(a.id)).in("intended")
	}
	if err := sweeper.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, a := range devices {
		k := keptIn(t, db, fleet.DeviceID(a.id))
		if k.in("intended") != 0 || k.in("ambiguous") != open[a.id] || len(k.live()) != 1 {
			t.Fatalf("after the sweep: %+v", k.Certificates)
		}
	}
	if left := must(db.Intents(t.Context(), time.Now().Add(time.Hour)))(t); len(left) > 0 {
		t.Fatalf("intents stay open: %+v", left)
	}
}

// noIssuer is for a sweep, which asks no CA for anything.
type noIssuer struct{ ca.Issuer }

// runAgent runs the agent that runs on hardware over the attacker's TPM, until
// stop is called or it ends by itself.
func (a *attacker) runAgent(stateDir string, edit func(*agent.Config)) (stop func() error) {
	a.t.Helper()
	_ = a.link.Close() // swtpm serves one connection at a time
	dir := a.t.TempDir()
	for name, content := range map[string][]byte{"event_log": a.logs.EventLog, "ima": a.logs.IMA} {
		if err := os.WriteFile(dir+"/"+name, content, 0o600); err != nil {
			a.t.Fatal(err)
		}
	}
	c := agent.Config{
		Server: a.service.admin.Base, ServerCA: a.service.caFile, StateDir: stateDir, TPM: a.chip.Spec(), Model: model, Name: a.name,
		EventLog: dir + "/event_log", IMA: dir + "/ima", Version: "test", Log: slog.New(slog.NewTextHandler(a.t.Output(), nil)), Now: time.Now,
	}
	if edit != nil {
		edit(&c)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- agent.Run(ctx, c) }()
	stop = sync.OnceValue(func() error {
		cancel()
		err := <-ended
		a.connect()
		return err
	})
	a.t.Cleanup(func() { _ = stop() }) // for a test that failed before it did
	return stop
}

// The agent outlives its certificate: where the service was away for longer
// than the certificate's life, it enrols again by itself.
func TestAgentOutlivesItsCertificate(t *testing.T) {
	t.Parallel()
	s := newService(t, quick+"certificates: {lifetime: 6s}\n")
	a := newAttacker(t, s)
	stop := a.runAgent(t.TempDir(), nil)
	serial := func() string {
		if live := s.kept(t, a.id).live(); len(live) == 1 {
			return live[0]
		}
		return ""
	}
	var first string
	eventually(t, 15*time.Second, "the device is enrolled", func() (string, bool) { first = serial(); return first, first != "" })
	eventually(t, 25*time.Second, "the device has another certificate", func() (string, bool) {
		now := serial()
		return now, now != "" && now != first
	})
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	for _, c := range s.kept(t, a.id).Certificates {
		if c.State == fleet.CertificateIssued {
			leaf := must(x509.ParseCertificate(c.DER))(t)
			if leaf.NotAfter.Sub(c.CreatedAt) > 7*time.Second {
				t.Errorf("the certificate lives until %s, which is not what is configured", leaf.NotAfter)
			}
		}
	}
}

// A certificate that has ended opens nothing, not even on a connection that was
// made before its end.
func TestAttack_S1_CertificateEndsOnAnOpenConnection(t *testing.T) {
	t.Parallel()
	s := newService(t, "certificates: {lifetime: 4s}\n")
	a := newAttacker(t, s)
	a.enroll()
	if _, err := a.ask(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Until(a.credential.NotAfter) + 1500*time.Millisecond)
	_, err := a.ask()
	wantCode(t, err, "certificate_expired")
}

// A measurement log that is there and empty is no log.
func TestAgentWithEmptyLogs(t *testing.T) {
	t.Parallel()
	s := newService(t, quick)
	a := newAttacker(t, s)
	a.logs.IMA = []byte{}
	stop := a.runAgent(t.TempDir(), nil)
	eventually(t, 15*time.Second, "the device has a posture that says what is missing", func() (string, bool) {
		k := s.kept(t, a.id)
		return "no posture", k.Posture != nil
	})
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if _, found := a.failing()["ima-list"]; !found {
		t.Fatalf("the empty list is not missed: %v", a.failing())
	}
}
