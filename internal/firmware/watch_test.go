package firmware_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"troth/internal/firmware"
	"troth/internal/fleet"
	"troth/internal/store"
	"troth/tuf"
)

// watched is a repository whose service has a real store for its alerts.
func watched(t *testing.T) (*rig, func() []string) {
	t.Helper()
	db, err := store.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "troth.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	r := newRig(t, func(c *firmware.Config) { c.Alerts = db })
	return r, func() []string {
		t.Helper()
		open, err := db.Alerts(t.Context(), fleet.AlertFilter{Subject: firmware.AlertSubject, Open: true})
		if err != nil {
			t.Fatal(err)
		}
		var keys []string
		for _, a := range open {
			keys = append(keys, a.Key)
		}
		slices.Sort(keys)
		return keys
	}
}

func wantAlerts(t *testing.T, when string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: open alerts %v, want %v", when, got, want)
	}
}

// A role that only people can renew alerts well before it expires, and the alert
// ends when they did.
func TestAttack_T7_ExpiryIsToldInTime(t *testing.T) {
	r, open := watched(t)
	r.init()
	r.publish("1.0", 1)
	r.refresh()
	wantAlerts(t, "fresh", open())
	r.clock = r.clock.Add(70 * 24 * time.Hour) // of 90
	r.refresh()
	wantAlerts(t, "twenty days before targets expire", open(), "tuf_expiry:targets")
	r.clock = r.clock.Add(time.Hour)
	r.refresh()
	wantAlerts(t, "an hour later", open(), "tuf_expiry:targets")
	r.publish("2.0", 2)
	r.clock = r.clock.Add(time.Hour)
	r.refresh()
	wantAlerts(t, "signed anew", open())
	r.clock = r.clock.Add(80 * 24 * time.Hour)
	if err := r.Refresh(t.Context()); err != nil {
		t.Logf("as it should: %v", err)
	}
	wantAlerts(t, "later", open(), "tuf_expiry:targets")
}

// Online keys that are gone, or that a key service withholds, alert at the first
// attempt, and again when the signatures are about to end.
func TestAttack_T7_ResigningThatFailsIsTold(t *testing.T) {
	r, open := watched(t)
	r.init()
	r.publish("1.0", 1)
	r.refresh()
	kept := filepath.Join(t.TempDir(), "timestamp.pem")
	if err := os.Rename(filepath.Join(r.keys, "timestamp.pem"), kept); err != nil {
		t.Fatal(err)
	}
	r.clock = r.clock.Add(13 * time.Hour)
	if err := r.Refresh(t.Context()); err == nil || !strings.Contains(err.Error(), "timestamp key is missing") {
		t.Errorf("%v", err)
	}
	wantAlerts(t, "at half of its life", open(), "tuf_resign")
	r.clock = r.clock.Add(7 * time.Hour)
	if err := r.Refresh(t.Context()); err == nil {
		t.Error("re-signed without a key")
	}
	wantAlerts(t, "four hours before it expires", open(), "tuf_expiry:timestamp", "tuf_resign")
	if err := os.Rename(kept, filepath.Join(r.keys, "timestamp.pem")); err != nil {
		t.Fatal(err)
	}
	r.refresh()
	r.clock = r.clock.Add(2 * time.Minute)
	r.refresh()
	wantAlerts(t, "once the key is back", open())
}

// Replicas that share the directory and the database sign once, and tell once.
func TestReplicasSignOnce(t *testing.T) {
	r, open := watched(t)
	r.init()
	r.refresh()
	r.clock = r.clock.Add(70 * 24 * time.Hour)
	done := make(chan error)
	const replicas = 4
	for i := range replicas {
		c := r.Config
		c.TrustDir = filepath.Join(t.TempDir(), "trust")
		other := firmware.NewRepository(c)
		go func() { _ = i; done <- other.Refresh(t.Context()) }()
	}
	for range replicas {
		if err := <-done; err != nil && !strings.Contains(err.Error(), "expired") {
			t.Error(err) // a replica may read before another has signed
		}
	}
	repository, err := tuf.Open(r.dir, "")
	if err != nil {
		t.Fatal(err)
	}
	status, err := repository.Status()
	if err != nil {
		t.Fatal(err)
	}
	if status[2].Version != 2 || status[3].Version != 2 {
		t.Errorf("snapshot %d and timestamp %d, both were due once", status[2].Version, status[3].Version)
	}
	wantAlerts(t, "four replicas", open(), "tuf_expiry:targets")
}
