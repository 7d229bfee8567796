package rollout_test

import (
	"strings"
	"testing"

	"troth/internal/fleet"
	"troth/internal/rollout"
)

// offering has the catalogue that a test wants, which it may change.
func offering(t *testing.T, releases ...fleet.Release) (*rig, *catalog) {
	t.Helper()
	r := newRig(t, 0)
	list := catalog(releases)
	r.Service = rollout.New(rollout.Config{Store: r.store, Releases: list, Plan: plan, Now: r.Now})
	return r, &list
}

// Devices below the minimum of a release are not told to install it.
func TestMinimumIsKept(t *testing.T) {
	r, _ := offering(t, fleet.Release{Model: "edge", Version: "2.0", Counter: 5, Target: "edge-2.0.img", Minimum: 3})
	r.add(0, func(d *fleet.Device) { d.FirmwareCounter = 1 })
	r.add(1, func(d *fleet.Device) { d.FirmwareVersion, d.FirmwareCounter = "", 0 })
	o := r.create()
	if _, err := r.Start(t.Context(), o.ID, "ada", plan); fleet.CodeOf(err) != "release_minimum" {
		t.Fatalf("nobody can install it, and it starts: %v", err)
	}
	r.add(2, func(d *fleet.Device) { d.FirmwareCounter = 3 })
	r.add(3, func(d *fleet.Device) { d.FirmwareCounter = 4 })
	o, err := r.Start(t.Context(), o.ID, "ada", plan)
	if err != nil {
		t.Fatal(err)
	}
	_, members, err := r.Get(t.Context(), o.ID)
	if err != nil || len(members) != 2 || members[0].Device != id(2) || members[1].Device != id(3) {
		t.Fatalf("members %+v, %v", members, err)
	}
	// It was set back since.
	d, err := r.store.Device(t.Context(), id(2))
	if err != nil {
		t.Fatal(err)
	}
	d.FirmwareCounter = 2
	if install, err := r.Observe(t.Context(), d, fleet.UpdateReport{}); err != nil || install != nil {
		t.Errorf("told to install %+v, %v", install, err)
	}
	_, members, err = r.Get(t.Context(), o.ID)
	if err != nil || members[0].State != fleet.MemberSkipped || !strings.HasPrefix(members[0].Reason, "release_minimum: ") {
		t.Errorf("%+v, %v", members, err)
	}
}

// A release that may take devices back is offered to those that it names.
func TestDowngradeOfASignedRelease(t *testing.T) {
	r, _ := offering(t, fleet.Release{Model: "edge", Version: "2.0", Counter: 2, Target: "edge-2.0.img", DowngradeFrom: 4})
	for i, counter := range []uint64{1, 2, 3, 4, 5} {
		r.add(i, func(d *fleet.Device) { d.FirmwareVersion, d.FirmwareCounter = "x", counter })
	}
	_, members, err := r.Get(t.Context(), r.start().ID)
	if err != nil || len(members) != 3 || members[0].Device != id(0) || members[1].Device != id(2) || members[2].Device != id(3) {
		t.Fatalf("members %+v, %v; want those with counters 1, 3 and 4", members, err)
	}
	if r.checkIn(2, "", "x") == nil {
		t.Error("a device that may go back is told nothing")
	}
}

// What is withdrawn or refused while it is rolled out is offered to nobody any
// more, and no rollout to it starts.
func TestWithdrawnReleaseIsNotOffered(t *testing.T) {
	r, list := offering(t, fleet.Release{Model: "edge", Version: "2.0", Counter: 2, Target: "edge-2.0.img"})
	for i := range 2 {
		r.add(i, func(*fleet.Device) {})
	}
	o := r.start()
	if r.checkIn(0, "", "1.0") == nil {
		t.Fatal("it is not offered")
	}
	(*list)[0].Version = "other"
	if install := r.checkIn(0, "", "1.0"); install != nil {
		t.Errorf("told to install %+v", install)
	}
	if _, err := r.Abort(t.Context(), o.ID, "ada"); err != nil {
		t.Fatal(err)
	}
	(*list)[0].Version = "2.0"
	o = r.create()
	(*list)[0].Version = "other"
	if _, err := r.Start(t.Context(), o.ID, "ada", plan); fleet.CodeOf(err) != "release_not_found" {
		t.Errorf("%v", err)
	}
}
