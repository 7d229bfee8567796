package e2e

import (
	"database/sql"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib" // the drivers that the store uses
	_ "modernc.org/sqlite"

	"troth/internal/api"
	"troth/internal/fleet"
	"troth/internal/store"
)

// kept is all that a service remembers of one device.
type kept struct {
	Device       *fleet.Device
	Certificates []fleet.Certificate
	Posture      *fleet.Posture
	Decisions    []fleet.Decision
	Alerts       []fleet.Alert
	Events       []fleet.Event
	Challenges   int // that wait for an answer
}

// kept reads what the service remembers of the device from its database, beside
// the running process.
func (s *service) kept(t testing.TB, id string) kept {
	t.Helper()
	driver, dsn := "pgx", s.dsn
	if path, ok := strings.CutPrefix(s.dsn, "sqlite:"); ok {
		driver, dsn = "sqlite", path
	}
	st := must(store.Open(t.Context(), s.dsn))(t)
	defer st.Close()
	k := keptIn(t, st, fleet.DeviceID(id))
	db := must(sql.Open(driver, dsn))(t)
	defer db.Close()
	if err := db.QueryRowContext(t.Context(), "SELECT count(*) FROM enrollments WHERE device = $1", id).Scan(&k.Challenges); err != nil {
		t.Fatal(err)
	}
	return k
}

func keptIn(t testing.TB, db *store.Store, id fleet.DeviceID) (k kept) {
	t.Helper()
	ctx := t.Context()
	device, err := db.Device(ctx, id)
	if !fleet.IsKind(err, fleet.NotFound) {
		k.Device = &device
	}
	posture, postureErr := db.Posture(ctx, id)
	if !fleet.IsKind(postureErr, fleet.NotFound) {
		k.Posture = &posture
	}
	k.Certificates = must(db.Certificates(ctx, id))(t)
	k.Decisions = must(db.Decisions(ctx, id, 1000))(t)
	k.Alerts = must(db.Alerts(ctx, fleet.AlertFilter{Subject: string(id)}))(t)
	k.Events = must(db.Events(ctx, string(id), 1000))(t)
	for _, e := range []error{err, postureErr} {
		if e != nil && !fleet.IsKind(e, fleet.NotFound) {
			t.Fatal(e)
		}
	}
	return k
}

// nothing requires that no trace of a device is left.
func (k kept) nothing(t testing.TB) {
	t.Helper()
	same(t, "of a device that was refused", kept{}, k)
}

// same requires that nothing changed between two looks.
func same(t testing.TB, what string, before, after any) {
	t.Helper()
	b, a := must(json.Marshal(before))(t), must(json.Marshal(after))(t)
	if string(b) != string(a) {
		t.Fatalf("what is kept %s changed:\nbefore: %s\nafter:  %s", what, b, a)
	}
}

// withoutAlarm leaves out what a refused check-in may add: the alert and its
// event.
func (k kept) withoutAlarm() kept {
	k.Alerts = nil
	events := []fleet.Event{}
	for _, e := range k.Events {
		if e.Action != "evidence.refused" {
			events = append(events, e)
		}
	}
	k.Events = events
	return k
}

// open is the alert of the key that is not resolved.
func (k kept) open(key string) (fleet.Alert, bool) {
	for _, a := range k.Alerts {
		if a.Key == key && a.State != fleet.AlertResolved {
			return a, true
		}
	}
	return fleet.Alert{}, false
}

// live are the certificates that still open something.
func (k kept) live() (serials []string) {
	for _, c := range k.Certificates {
		if c.State == fleet.CertificateIssued {
			serials = append(serials, c.Serial)
		}
	}
	return serials
}

// in counts the certificates of a state.
func (k kept) in(state fleet.CertificateState) int {
	n := 0
	for _, c := range k.Certificates {
		if c.State == state {
			n++
		}
	}
	return n
}

// strange requires that the API does not know a device either.
func (s *service) strange(t testing.TB, id string) {
	t.Helper()
	err := s.admin.Do(t.Context(), http.MethodGet, api.Path(api.PathDevice, id), nil, nil)
	var p *api.Problem
	if !errors.As(err, &p) || p.Status != http.StatusNotFound {
		t.Fatalf("device %s is known: %v", id, err)
	}
}
