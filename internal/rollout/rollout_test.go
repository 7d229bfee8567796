package rollout_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"troth/internal/fleet"
	"troth/internal/rollout"
	"troth/internal/store"
)

type catalog fleet.Catalog

func (c catalog) Catalog() fleet.Catalog { return fleet.Catalog(c) }

var plan = fleet.Plan{Waves: []fleet.Wave{{Percent: 50}, {Percent: 100}}, MaxFailurePercent: 10, Soak: 10 * time.Minute, DeviceTimeout: time.Hour}

// rig is the service over a real store with n devices of one model.
type rig struct {
	*rollout.Service
	t     *testing.T
	store *store.Store
	clock time.Time
}

func newRig(t *testing.T, n int) *rig {
	t.Helper()
	s, err := store.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "troth.db")+"?synchronous=normal")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	r := &rig{t: t, store: s, clock: time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)}
	r.Service = rollout.New(rollout.Config{
		Store: s, Plan: plan, Now: func() time.Time { return r.clock },
		Releases: catalog{{Model: "edge", Version: "1.0", Counter: 1}, {Model: "edge", Version: "2.0", Counter: 2, Target: "edge-2.0.img"}, {Model: "hub", Version: "2.0", Counter: 2}},
	})
	for i := range n {
		r.add(i, func(*fleet.Device) {})
	}
	return r
}

func id(i int) fleet.DeviceID { return fleet.DeviceID(fmt.Sprintf("%064x", i+1)) }

func (r *rig) add(i int, change func(*fleet.Device)) {
	r.t.Helper()
	d := fleet.Device{ID: id(i), Model: "edge", Lifecycle: fleet.Active, Verdict: fleet.Compliant, FirmwareVersion: "1.0", FirmwareCounter: 1}
	change(&d)
	if err := r.store.Apply(r.t.Context(), fleet.Change{Devices: []fleet.Device{d}}); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) create() fleet.Rollout {
	r.t.Helper()
	o, err := r.Create(r.t.Context(), "edge", "2.0", "patch", "ada", plan)
	if err != nil {
		r.t.Fatal(err)
	}
	return o
}

func (r *rig) start() fleet.Rollout {
	r.t.Helper()
	o := r.create()
	o, err := r.Start(r.t.Context(), o.ID, "ada", plan)
	if err != nil {
		r.t.Fatal(err)
	}
	return o
}

// states are those of the members, in the order of their ids.
func (r *rig) states(o fleet.Rollout) (fleet.Rollout, []fleet.MemberState) {
	r.t.Helper()
	o, members, err := r.Get(r.t.Context(), o.ID)
	if err != nil {
		r.t.Fatal(err)
	}
	var out []fleet.MemberState
	for _, m := range members {
		out = append(out, m.State)
	}
	return o, out
}

// checkIn is what a check-in of the i-th device shows.
func (r *rig) checkIn(i int, state fleet.MemberState, proven string) *fleet.Rollout {
	r.t.Helper()
	d, err := r.store.Device(r.t.Context(), id(i))
	if err != nil {
		r.t.Fatal(err)
	}
	d.FirmwareVersion = proven
	install, err := r.Observe(r.t.Context(), d, fleet.UpdateReport{State: state, Version: "2.0"})
	if err != nil {
		r.t.Fatal(err)
	}
	return install
}

func (r *rig) tick(d time.Duration) {
	r.t.Helper()
	r.clock = r.clock.Add(d)
	if err := r.Tick(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
}

func TestTwoWavesToTheEnd(t *testing.T) {
	r := newRig(t, 4)
	o := r.start()
	if in := r.checkIn(0, "", "1.0"); in == nil || in.ID != o.ID || in.Target != "edge-2.0.img" {
		t.Fatalf("the first wave is told %+v", in)
	}
	if r.checkIn(2, "", "1.0") != nil {
		t.Error("the second wave is told to install")
	}
	if r.checkIn(0, fleet.MemberInstalling, "1.0") == nil {
		t.Error("an installing device is told nothing")
	}
	for _, i := range []int{0, 1} {
		if r.checkIn(i, fleet.MemberVerifying, "2.0") != nil {
			t.Errorf("device %d proved the release and is told to install it", i)
		}
	}
	r.tick(10*time.Minute - time.Second)
	if r.checkIn(2, "", "1.0") != nil {
		t.Error("the second wave begins during the soak")
	}
	r.tick(time.Second)
	if r.checkIn(2, "", "1.0") == nil {
		t.Error("the second wave does not begin")
	}
	r.checkIn(2, fleet.MemberVerifying, "2.0")
	r.checkIn(3, fleet.MemberVerifying, "2.0")
	o, states := r.states(o)
	if o.State != fleet.RolloutCompleted || slices.ContainsFunc(states, func(s fleet.MemberState) bool { return s != fleet.MemberSuccess }) {
		t.Errorf("%s with %v", o.State, states)
	}
	if r.checkIn(2, "", "1.0") != nil {
		t.Error("a completed rollout installs")
	}
}

func TestCandidates(t *testing.T) {
	r := newRig(t, 1)
	r.add(1, func(d *fleet.Device) { d.FirmwareCounter = 2 })
	r.add(2, func(d *fleet.Device) { d.FirmwareCounter = 3 })
	r.add(3, func(d *fleet.Device) { d.Lifecycle = fleet.Quarantined })
	r.add(4, func(d *fleet.Device) { d.Lifecycle = fleet.Pending })
	r.add(5, func(d *fleet.Device) { d.Lifecycle = fleet.Retired })
	r.add(6, func(d *fleet.Device) { d.Model = "hub" })
	r.add(7, func(d *fleet.Device) { d.FirmwareVersion, d.FirmwareCounter = "", 0 })
	_, members, err := r.Get(t.Context(), r.start().ID)
	if err != nil || len(members) != 2 || members[0].Device != id(0) || members[1].Device != id(7) {
		t.Errorf("members %+v, %v; want the active devices of the model that have not proven it", members, err)
	}
}

func TestProposeOnce(t *testing.T) {
	r := newRig(t, 2)
	ctx := t.Context()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if err := r.Propose(ctx, "edge", "2.0", "outdated", false); err != nil {
				t.Errorf("propose: %v", err)
			}
		})
	}
	all.Wait()
	list, err := r.List(ctx)
	if err != nil || len(list) != 1 || list[0].State != fleet.RolloutProposed || list[0].CreatedBy != "policy" {
		t.Fatalf("proposed at once by eight check-ins: %+v, %v", list, err)
	}
	if _, err := r.Abort(ctx, list[0].ID, "ada"); err != nil {
		t.Fatal(err)
	}
	if err := r.Propose(ctx, "edge", "2.0", "outdated", true); err != nil {
		t.Fatal(err)
	}
	if list, _ = r.List(ctx); len(list) != 1 {
		t.Error("what a person aborted is proposed again")
	}
	if err := r.Propose(ctx, "edge", "7.0", "outdated", false); fleet.CodeOf(err) != "release_not_found" {
		t.Errorf("a release that is not published: %v", err)
	}
}

func TestProposeAndStart(t *testing.T) {
	r := newRig(t, 2)
	if err := r.Propose(t.Context(), "edge", "2.0", "outdated", true); err != nil {
		t.Fatal(err)
	}
	if list, _ := r.List(t.Context()); len(list) != 1 || list[0].State != fleet.RolloutRunning || list[0].StartedBy != "policy" {
		t.Errorf("%+v", list)
	}
	// One that cannot start stays for a person.
	if err := r.Propose(t.Context(), "edge", "1.0", "odd", true); err != nil {
		t.Fatal(err)
	}
	if list, _ := r.List(t.Context()); len(list) != 2 || list[0].State == list[1].State {
		t.Errorf("%+v", list)
	}
}

func TestRefusals(t *testing.T) {
	r := newRig(t, 2)
	ctx := t.Context()
	o := r.start()
	other, err := r.Create(ctx, "edge", "1.0", "back", "ada", plan)
	if err != nil {
		t.Fatal(err)
	}
	empty, err := r.Create(ctx, "hub", "2.0", "", "ada", plan)
	if err != nil {
		t.Fatal(err)
	}
	_, busy := r.Start(ctx, other.ID, "ada", plan)
	_, again := r.Start(ctx, o.ID, "ada", plan)
	_, nobody := r.Start(ctx, empty.ID, "ada", plan)
	_, unknown := r.Start(ctx, "nothing", "ada", plan)
	_, unpublished := r.Create(ctx, "edge", "9.9", "", "ada", plan)
	_, planless := r.Create(ctx, "edge", "2.0", "", "ada", fleet.Plan{})
	_, resumed := r.Resume(ctx, o.ID, "ada")
	for name, tt := range map[string]struct {
		err  error
		code string
	}{
		"the model is busy": {busy, "model_busy"}, "started twice": {again, "model_busy"}, "no candidates": {nobody, "rollout_empty"},
		"no such rollout": {unknown, "not_found"}, "no such release": {unpublished, "release_not_found"},
		"no plan": {planless, "invalid_plan"}, "not paused": {resumed, "wrong_rollout_state"},
	} {
		if fleet.CodeOf(tt.err) != tt.code {
			t.Errorf("%s: %v, want %s", name, tt.err, tt.code)
		}
	}
}

func TestPauseAndResume(t *testing.T) {
	r := newRig(t, 2)
	ctx := t.Context()
	o := r.start()
	if _, err := r.Pause(ctx, o.ID, "ada"); err != nil {
		t.Fatal(err)
	}
	if r.checkIn(0, "", "1.0") != nil {
		t.Error("a paused rollout installs")
	}
	r.tick(5 * time.Hour)
	if _, err := r.Resume(ctx, o.ID, "ada"); err != nil {
		t.Fatal(err)
	}
	r.tick(time.Minute)
	if o, states := r.states(o); o.State != fleet.RolloutRunning || states[0] != fleet.MemberPending {
		t.Errorf("after the pause: %s with %v", o.State, states)
	}
	if r.checkIn(0, "", "1.0") == nil {
		t.Error("a resumed rollout installs nothing")
	}
}

func TestTooManyFailuresHaltAndAlert(t *testing.T) {
	r := newRig(t, 4)
	o := r.start()
	r.checkIn(0, fleet.MemberRolledBack, "1.0")
	o, states := r.states(o)
	if o.State != fleet.RolloutHalted || states[0] != fleet.MemberRolledBack || states[2] != fleet.MemberPending {
		t.Fatalf("%s with %v", o.State, states)
	}
	r.tick(time.Hour)
	alerts, err := r.store.Alerts(t.Context(), fleet.AlertFilter{Subject: o.Subject(), Open: true})
	if err != nil || len(alerts) != 1 || alerts[0].Key != fleet.KeyRolloutHalted || alerts[0].Count != 1 {
		t.Errorf("alerts %+v, %v", alerts, err)
	}
	if r.checkIn(1, "", "1.0") != nil {
		t.Error("a halted rollout installs")
	}
}

func TestSilenceHalts(t *testing.T) {
	r := newRig(t, 4)
	o := r.start()
	r.tick(time.Hour + time.Second)
	if o, states := r.states(o); o.State != fleet.RolloutHalted || states[0] != fleet.MemberFailure || states[3] != fleet.MemberPending {
		t.Errorf("%s with %v", o.State, states)
	}
}

// A device that is heard of again only when its time is over has failed, and is
// not told to install what would count as a failure.
func TestTooLateIsNotOffered(t *testing.T) {
	r := newRig(t, 4)
	tolerant := plan
	tolerant.MaxFailurePercent = 100
	o := r.create()
	if _, err := r.Start(t.Context(), o.ID, "ada", tolerant); err != nil {
		t.Fatal(err)
	}
	r.clock = r.clock.Add(2 * time.Hour)
	if r.checkIn(0, fleet.MemberDownloading, "1.0") != nil {
		t.Error("a member that has just failed by time is told to install")
	}
	if _, states := r.states(o); states[0] != fleet.MemberFailure {
		t.Errorf("%v", states)
	}
}

func TestDevicesThatLeave(t *testing.T) {
	r := newRig(t, 4)
	o := r.start()
	d, err := r.store.Device(t.Context(), id(0))
	if err != nil {
		t.Fatal(err)
	}
	d.Lifecycle = fleet.Quarantined
	install, err := r.Observe(t.Context(), d, fleet.UpdateReport{})
	if err != nil || install != nil {
		t.Errorf("a quarantined device is told %v, %v", install, err)
	}
	if o, states := r.states(o); states[0] != fleet.MemberSkipped || o.State != fleet.RolloutRunning {
		t.Errorf("%s with %v", o.State, states)
	}
	later, err := r.store.Device(t.Context(), id(1))
	if err != nil {
		t.Fatal(err)
	}
	later.FirmwareVersion, later.FirmwareCounter = "9.0.0", o.Counter+1
	if install, err := r.Observe(t.Context(), later, fleet.UpdateReport{}); err != nil || install != nil {
		t.Errorf("a device past the release is told %v, %v", install, err)
	}
	if o, states := r.states(o); states[1].Failed() || o.State == fleet.RolloutHalted {
		t.Errorf("a device past the release counts against it: %s with %v", o.State, states)
	}
	d.ID = "stranger"
	if install, err := r.Observe(t.Context(), d, fleet.UpdateReport{}); err != nil || install != nil {
		t.Errorf("a device of no rollout is told %v, %v", install, err)
	}
}

// Check-ins of a whole wave at once: none is lost.
func TestCheckInsAtOnce(t *testing.T) {
	r := newRig(t, 6)
	o := r.start()
	var all sync.WaitGroup
	for i := range 3 {
		all.Go(func() {
			d := fleet.Device{ID: id(i), Model: "edge", Lifecycle: fleet.Active, FirmwareVersion: "2.0"}
			if _, err := r.Observe(t.Context(), d, fleet.UpdateReport{}); err != nil && !fleet.IsKind(err, fleet.Conflict) {
				t.Errorf("device %d: %v", i, err)
			}
		})
	}
	all.Wait()
	for i := range 3 { // one that lost five races says it again at its next check-in
		r.checkIn(i, "", "2.0")
	}
	o, states := r.states(o)
	if !slices.Equal(states[:3], []fleet.MemberState{fleet.MemberSuccess, fleet.MemberSuccess, fleet.MemberSuccess}) || o.WaveDone.IsZero() {
		t.Errorf("%v, wave done at %s", states, o.WaveDone)
	}
}
