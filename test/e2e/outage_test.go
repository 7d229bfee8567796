package e2e

import (
	"bytes"
	"encoding/json"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"troth/internal/api"
	"troth/internal/fleet"
	"troth/internal/pgtest"
)

// away requires that a call is answered with 503, the code, and when to come
// back.
func (s *service) away(t testing.TB, c *api.Client, method, path string, in any, code string) {
	t.Helper()
	body := must(json.Marshal(in))(t)
	r := must(http.NewRequestWithContext(t.Context(), method, c.Base+path, bytes.NewReader(body)))(t)
	r.Header.Set("Content-Type", "application/json")
	if c.Token != "" {
		r.Header.Set("Authorization", "Bearer "+c.Token)
	}
	answer := must(c.HTTP.Do(r))(t)
	defer answer.Body.Close()
	var p api.Problem
	if err := json.NewDecoder(answer.Body).Decode(&p); err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	if answer.StatusCode != http.StatusServiceUnavailable || p.Code != code || answer.Header.Get("Retry-After") == "" {
		t.Fatalf("%s %s: status %d, code %s, Retry-After %q: %s", method, path, answer.StatusCode, p.Code, answer.Header.Get("Retry-After"), p.Detail)
	}
}

// readyAgain waits until nothing is away.
func (s *service) readyAgain(t testing.TB) {
	t.Helper()
	eventually(t, 20*time.Second, "the service is ready", func() (string, bool) {
		away := s.ready(t)
		return strings.Join(away, ", "), len(away) == 0
	})
}

// postgres is a database, and the cable that leads to it.
func postgres(t testing.TB) (dsn string, c *cable) {
	t.Helper()
	u := must(url.Parse(pgtest.New(t)))(t)
	c = newCable(t, "unix", filepath.Join(u.Query().Get("host"), ".s.PGSQL.5432"))
	host, port, err := net.SplitHostPort(c.addr)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	q.Set("host", host)
	q.Set("port", port)
	u.RawQuery = q.Encode()
	return u.String(), c
}

func TestAttack_S9_DatabaseUnreachable(t *testing.T) {
	t.Parallel()
	dsn, cable := postgres(t)
	s := newServiceOn(t, dsn, "")
	a, b := newAttacker(t, s), newAttacker(t, s)
	a.enroll()
	a.mustCheckIn("compliant")
	before := s.kept(t, a.id)
	c := b.mustBegin()
	proof := b.proof(b.answer(c))
	checkIn := api.CheckInRequest{Nonce: a.nonce, Evidence: a.quote(a.statement("checkin", a.nonce, selection()))}

	cable.unplug()
	introduction := api.EnrollRequest{EKCertificate: b.ek.Certificate, AKPublic: b.ak.Public, TLSPublic: b.tls.Public, Model: model, Name: b.name}
	s.away(t, b.anyone, http.MethodPost, api.PathEnrollments, introduction, "store_unavailable")
	s.away(t, b.anyone, http.MethodPost, api.Path(api.PathEnrollComplete, c.ID), proof, "store_unavailable")
	s.away(t, a.client, http.MethodPost, api.PathNonce, nil, "store_unavailable")
	s.away(t, a.client, http.MethodPost, api.PathCheckIn, checkIn, "store_unavailable")
	s.away(t, a.client, http.MethodGet, api.PathTUF+"metadata/1.root.json", nil, "store_unavailable")
	s.away(t, s.admin, http.MethodGet, api.PathDevices, nil, "store_unavailable")
	s.away(t, s.admin, http.MethodGet, api.PathAuthz+"?action=x&device="+a.id, nil, "store_unavailable")
	if away := s.ready(t); !slices.Contains(away, "database") {
		t.Fatalf("/readyz does not name the database: %v", away)
	}
	resp := must(s.admin.HTTP.Get(s.admin.Base + api.PathHealthz))(t)
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("/healthz says %s: the process itself is well", resp.Status)
	}

	cable.plug()
	s.readyAgain(t)
	same(t, "while the database was away", before, s.kept(t, a.id))
	answer := must(a.send(checkIn))(t) // the very request that was turned away
	if answer.Verdict != "compliant" {
		t.Fatalf("verdict %s", answer.Verdict)
	}
	b.hold(must(b.complete(c.ID, proof))(t)) // and the challenge that was not taken
	b.enrolledOnce()
	b.nonce = b.credential.Nonce
	b.mustCheckIn("compliant")
}

// newServiceOn is newService with another database.
func newServiceOn(t testing.TB, dsn, more string) *service {
	t.Helper()
	s := newService(t, "database: "+dsn+"\n"+more)
	s.dsn = dsn
	return s
}

// A database that takes questions and never answers is away too: callers are
// told so in time.
func TestAttack_S9_DatabaseHangs(t *testing.T) {
	t.Parallel()
	dsn, cable := postgres(t)
	s := newServiceOn(t, dsn, "")
	a := newAttacker(t, s)
	a.enroll()
	a.mustCheckIn("compliant")
	before := s.kept(t, a.id)
	checkIn := api.CheckInRequest{Nonce: a.nonce, Evidence: a.quote(a.statement("checkin", a.nonce, selection()))}
	release := cable.hang()
	start := time.Now()
	s.away(t, a.client, http.MethodPost, api.PathCheckIn, checkIn, "timeout")
	if took := time.Since(start); took > 25*time.Second {
		t.Errorf("the answer took %s", took)
	}
	if away := s.ready(t); !slices.Contains(away, "database") {
		t.Errorf("/readyz does not name the database: %v", away)
	}
	release()
	s.readyAgain(t)
	same(t, "while the database hung", before, s.kept(t, a.id))
	must(a.send(checkIn))(t)
}

// The connection to the database breaks at some moment of an enrolment: all of
// it is kept, or nothing.
func TestAttack_S9_DatabaseCutDuringEnrolment(t *testing.T) {
	t.Parallel()
	dsn, cable := postgres(t)
	s := newServiceOn(t, dsn, "")
	a := newAttacker(t, s)
	begun := time.Now()
	a.enroll()
	took := time.Since(begun) / 2
	for i := range 8 {
		c := a.mustBegin()
		proof := a.proof(a.answer(c))
		done := make(chan error, 1)
		var told api.Credential
		go func() {
			var err error
			told, err = a.complete(c.ID, proof)
			done <- err
		}()
		time.Sleep(took * time.Duration(i) / 8)
		cable.unplug()
		err := <-done
		cable.plug()
		s.readyAgain(t)
		t.Logf("cut after %v: %v", took*time.Duration(i)/8, err)
		switch code := api.CodeOf(err); {
		case err == nil:
			a.hold(told)
		case code != "store_unavailable" && code != "challenge_unknown":
			t.Fatalf("the answer is %v", err)
		default:
			a.persist()
		}
		a.enrolledOnce()
		a.mustCheckIn("compliant")
	}
}

// Where the firmware repository is away at a start, nobody is judged by an empty
// catalogue.
func TestAttack_S9_FirmwareRepositoryGone(t *testing.T) {
	t.Parallel()
	s := newService(t, quick)
	a := newAttacker(t, s)
	a.enroll()
	a.mustCheckIn("compliant")
	if err := s.kill(); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(s.path("data", "tuf"), s.path("data", "unmounted")); err != nil {
		t.Fatal(err)
	}
	s.restart(t)
	a.client.HTTP.CloseIdleConnections()
	_, err := a.checkIn()
	wantCode(t, err, "firmware_unavailable")
	if d := s.device(t, a.id); d.Lifecycle != "active" {
		t.Fatalf("the device is %s: %s", d.Lifecycle, d.LifecycleReason)
	}
	if away := s.ready(t); !slices.Contains(away, "firmware catalogue") {
		t.Fatalf("/readyz does not name the catalogue: %v", away)
	}
	if err := os.Rename(s.path("data", "unmounted"), s.path("data", "tuf")); err != nil {
		t.Fatal(err)
	}
	s.readyAgain(t)
	a.mustCheckIn("compliant")
	for _, alert := range s.kept(t, a.id).Alerts {
		if alert.Key != fleet.KeySilent {
			t.Errorf("an alert about a device that did nothing: %+v", alert)
		}
	}
}
