package posture_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"troth/attest"
	"troth/internal/fleet"
	"troth/internal/posture"
)

var errRules = fleet.Errorf(fleet.Unavailable, "file_rules_unavailable", "its allow-list is damaged")

// ruled is the subject of alerts about the release that the device runs.
const ruled = "release:" + model + "/1.0.0"

// fileAlerts are the alerts about file rules, and the trail of the release.
func (r *rig) fileAlerts() (alerts []fleet.Alert, trail []string) {
	r.t.Helper()
	alerts, err := r.store.Alerts(r.t.Context(), fleet.AlertFilter{Key: fleet.KeyFileRules})
	if err != nil {
		r.t.Fatal(err)
	}
	events, err := r.store.Events(r.t.Context(), ruled, 0)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, e := range events {
		trail = append(trail, e.Action)
	}
	slices.Reverse(trail) // they come newest first
	return alerts, trail
}

func (r *rig) recheck() {
	r.t.Helper()
	if err := r.service.RecheckFiles(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
}

// Where it cannot be read what may run, nothing passes and nothing of the device
// changes; people are told once, and again when it is over.
func TestAttack_S9_FileRulesUnreadable(t *testing.T) {
	files := &allowed{}
	files.allow(t, "rules")
	r := newRig(t, good(), func(c *posture.Config) { c.Files = files })
	r.must(fleet.Compliant)
	before := r.stored()
	files.err = errRules
	refused := func() {
		t.Helper()
		r.clock = r.clock.Add(time.Minute)
		if _, err := r.checkIn(); !fleet.IsKind(err, fleet.Unavailable) || fleet.CodeOf(err) != "file_rules_unavailable" {
			t.Fatalf("got %v", err)
		}
	}
	refused()
	alerts, trail := r.fileAlerts()
	if len(alerts) != 1 || alerts[0].Subject != ruled || alerts[0].State != fleet.AlertOpen || alerts[0].Device != "" ||
		alerts[0].Reason != errRules.Message || !slices.Equal(trail, []string{"release.unreadable"}) {
		t.Fatalf("alerts %+v, events %v", alerts, trail)
	}
	first := alerts[0]
	seen, err := first.Acknowledge("ada", r.clock)
	if err != nil {
		t.Fatal(err)
	}
	r.apply(fleet.Change{Alerts: []fleet.Alert{seen}})
	refused()
	r.recheck()
	if alerts, trail := r.fileAlerts(); len(alerts) != 1 || alerts[0].Revision != 2 || alerts[0].State != fleet.AlertAcknowledged || len(trail) != 1 {
		t.Errorf("it was told again: %+v, %v", alerts, trail)
	}
	if s := r.stored(); s.device.Revision != before.device.Revision || s.decisions != before.decisions || len(s.open) > 0 {
		t.Errorf("of the device changed: %+v", s)
	}

	files.err = nil
	r.recheck()
	alerts, trail = r.fileAlerts()
	if len(alerts) != 1 || alerts[0].ID != first.ID || alerts[0].State != fleet.AlertResolved || !alerts[0].ResolvedAt.Equal(r.clock) ||
		!slices.Equal(trail, []string{"release.unreadable", "release.readable"}) {
		t.Errorf("readable again: %+v, %v", alerts, trail)
	}
	r.recheck()
	if _, again := r.fileAlerts(); len(again) != 2 {
		t.Errorf("it was resolved twice: %v", again)
	}
	r.must(fleet.Compliant)

	files.err = errRules
	refused()
	if alerts, _ := r.fileAlerts(); len(alerts) != 2 {
		t.Errorf("unreadable once more: %+v", alerts)
	}
}

// What no release names any more keeps nobody from being judged; a catalogue that
// is not read yet says nothing of that.
func TestFileRulesOfNoRelease(t *testing.T) {
	loaded := true
	files := &allowed{err: errRules}
	r := newRig(t, good(), func(c *posture.Config) { c.Files, c.Loaded = files, func() bool { return loaded } })
	if _, err := r.checkIn(); fleet.CodeOf(err) != "file_rules_unavailable" {
		t.Fatalf("got %v", err)
	}
	state := func() string {
		t.Helper()
		alerts, _ := r.fileAlerts()
		if len(alerts) != 1 {
			t.Fatalf("alerts %+v", alerts)
		}
		return string(alerts[0].State)
	}
	// Another failure is no answer: neither that they can be read, nor that they cannot.
	files.err = context.Canceled
	if err := r.service.RecheckFiles(t.Context()); !errors.Is(err, context.Canceled) || state() != "open" {
		t.Errorf("%v, and the alert is %s", err, state())
	}
	files.err = errRules
	r.catalog.list, loaded = nil, false
	if r.recheck(); state() != "open" {
		t.Error("resolved without a catalogue")
	}
	r.publish("2.0.0", 2, false)
	loaded, files.asked = true, nil
	if r.recheck(); state() != "resolved" || files.asked != nil {
		t.Errorf("the alert is %s after asking for %v", state(), files.asked)
	}
}

// Only what cannot be read is told of a release.
func TestOtherFailureOfFilesIsNotTold(t *testing.T) {
	files := &allowed{err: fleet.Errorf(fleet.Unavailable, "firmware_unavailable", "not now")}
	r := newRig(t, good(), func(c *posture.Config) { c.Files = files })
	_, err := r.checkIn()
	if alerts, trail := r.fileAlerts(); err == nil || len(alerts) > 0 || len(trail) > 0 {
		t.Errorf("%v; alerts %+v, events %v", err, alerts, trail)
	}
}

// untold is a store that takes no alert.
type untold struct {
	posture.Store
	err error
}

func (u *untold) Apply(ctx context.Context, c fleet.Change) error {
	if u.err != nil && len(c.Alerts) > 0 {
		return u.err
	}
	return u.Store.Apply(ctx, c)
}

// Replicas see the same release at once, and the store may be away: the refusal
// stays what it is.
func TestFileRulesAlertIsNotWritten(t *testing.T) {
	store, files := &untold{}, &allowed{err: errRules}
	r := newRig(t, good(), func(c *posture.Config) { store.Store = c.Store; c.Store, c.Files = store, files })
	for _, lost := range []error{fleet.ErrConflict, errors.New("disk is full")} {
		store.err = lost
		_, err := r.checkIn()
		var whole *fleet.Error
		if !errors.As(err, &whole) || whole.Code != "file_rules_unavailable" {
			t.Errorf("%v: got %v", lost, err)
		}
		if told := strings.Contains(err.Error(), "disk is full"); told == errors.Is(lost, fleet.ErrConflict) {
			t.Errorf("%v: got %v", lost, err)
		}
	}
	store.err = nil
	if _, err := r.checkIn(); err == nil {
		t.Fatal("it passed")
	}
	files.err, files.files = nil, attest.IMAFiles{}
	store.err = fleet.ErrConflict
	r.recheck() // another replica was faster
	store.err = errors.New("disk is full")
	if err := r.service.RecheckFiles(t.Context()); !errors.Is(err, store.err) {
		t.Errorf("got %v", err)
	}
}
