package fleet_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"troth/internal/fleet"
)

func ids(n int) []fleet.DeviceID {
	out := make([]fleet.DeviceID, n)
	for i := range out {
		out[i] = fleet.DeviceID(fmt.Sprintf("%064x", i+1))
	}
	return out
}

func waves(percent ...int) []fleet.Wave {
	out := make([]fleet.Wave, len(percent))
	for i, p := range percent {
		out[i].Percent = p
	}
	return out
}

func plan(percent ...int) fleet.Plan {
	return fleet.Plan{Waves: waves(percent...), MaxFailurePercent: 20, Soak: 10 * time.Minute, DeviceTimeout: time.Hour}
}

func proposed(p fleet.Plan) fleet.Rollout {
	return fleet.Rollout{ID: "r", Model: "edge", Version: "2.0", Counter: 2, State: fleet.RolloutProposed, Plan: p}
}

// started is a running rollout to n devices.
func started(t *testing.T, p fleet.Plan, n int) (fleet.Rollout, []fleet.Member) {
	t.Helper()
	r, members, err := proposed(p).Start(ids(n), "ada", now)
	if err != nil {
		t.Fatal(err)
	}
	return r, members
}

func sizes(members []fleet.Member, n int) []int {
	out := make([]int, n)
	for _, m := range members {
		out[m.Wave]++
	}
	return out
}

// end puts the i-th members into a state.
func end(members []fleet.Member, s fleet.MemberState, at ...int) {
	for _, i := range at {
		members[i].State = s
	}
}

func TestWaves(t *testing.T) {
	tests := []struct {
		waves []int
		n     int
		want  []int
	}{
		{[]int{100}, 3, []int{3}},
		{[]int{10, 100}, 10, []int{1, 9}},
		{[]int{10, 100}, 1, []int{1, 0}},
		{[]int{10, 100}, 11, []int{2, 9}},
		{[]int{50, 50}, 3, []int{2, 1}},
		{[]int{1, 1, 1}, 2, []int{1, 1, 0}},
		{[]int{10, 20}, 10, []int{1, 9}}, // the last takes all that are left
		{[]int{100, 100}, 4, []int{4, 0}},
	}
	for _, tt := range tests {
		_, members := started(t, plan(tt.waves...), tt.n)
		if got := sizes(members, len(tt.waves)); !slices.Equal(got, tt.want) {
			t.Errorf("%v of %d devices: %v, want %v", tt.waves, tt.n, got, tt.want)
		}
		for _, m := range members {
			if offered := !m.OfferedAt.IsZero(); offered != (m.Wave == 0) {
				t.Errorf("%v of %d devices: wave %d offered at the start: %v", tt.waves, tt.n, m.Wave, offered)
			}
		}
	}
}

func TestStartIsRefused(t *testing.T) {
	running := proposed(plan(100))
	running.State = fleet.RolloutRunning
	tests := []struct {
		name       string
		rollout    fleet.Rollout
		candidates []fleet.DeviceID
		code       string
	}{
		{"running already", running, ids(1), "wrong_rollout_state"},
		{"nobody to move", proposed(plan(100)), nil, "rollout_empty"},
		{"no waves", proposed(plan()), ids(1), "invalid_plan"},
		{"too many waves", proposed(plan(make([]int, 101)...)), ids(1), "invalid_plan"},
		{"an empty wave", proposed(plan(0)), ids(1), "invalid_plan"},
		{"more than all", proposed(plan(101)), ids(1), "invalid_plan"},
		{"no timeout", proposed(fleet.Plan{Waves: waves(100)}), ids(1), "invalid_plan"},
		{"negative soak", proposed(fleet.Plan{Waves: waves(100), DeviceTimeout: 1, Soak: -1}), ids(1), "invalid_plan"},
		{"threshold", proposed(fleet.Plan{Waves: waves(100), DeviceTimeout: 1, MaxFailurePercent: 101}), ids(1), "invalid_plan"},
	}
	for _, tt := range tests {
		r, members, err := tt.rollout.Start(tt.candidates, "ada", now)
		if fleet.CodeOf(err) != tt.code || members != nil || r.State != tt.rollout.State {
			t.Errorf("%s: %v with %d members, want %s", tt.name, err, len(members), tt.code)
		}
	}
	if err := fleet.DefaultPlan().Validate(); err != nil {
		t.Errorf("the default plan: %v", err)
	}
}

// A release in two waves, from the offer to the end.
func TestTwoWaves(t *testing.T) {
	r, members := started(t, plan(40, 60), 5)
	end(members, fleet.MemberSuccess, 0)
	if next, changed := r.Step(members, now); next.Wave != 0 || len(changed) != 0 || !next.WaveDone.IsZero() {
		t.Fatalf("with one of two done: %+v", next)
	}
	end(members, fleet.MemberSuccess, 1)
	r, changed := r.Step(members, now.Add(time.Minute))
	if len(changed) != 0 || r.Wave != 0 || !r.WaveDone.Equal(now.Add(time.Minute)) {
		t.Fatalf("the wave is done and must soak: %+v", r)
	}
	if r, changed = r.Step(members, now.Add(11*time.Minute-1)); len(changed) != 0 || r.Wave != 0 {
		t.Fatalf("a moment too early: %+v", r)
	}
	r, changed = r.Step(members, now.Add(11*time.Minute))
	if r.Wave != 1 || len(changed) != 3 || !changed[0].OfferedAt.Equal(now.Add(11*time.Minute)) {
		t.Fatalf("after the soak: wave %d, %d offered", r.Wave, len(changed))
	}
	end(members, fleet.MemberSuccess, 2, 3)
	end(members, fleet.MemberSkipped, 4)
	r, _ = r.Step(members, now.Add(12*time.Minute))
	if r.State != fleet.RolloutCompleted || !r.EndedAt.Equal(now.Add(12*time.Minute)) {
		t.Errorf("the end: %+v", r)
	}
}

func TestThreshold(t *testing.T) {
	tests := []struct {
		name   string
		failed int
		skip   int
		halts  bool
	}{
		{"none", 0, 0, false},
		{"at the threshold", 1, 0, false}, // 20 % of 5
		{"above it", 2, 0, true},
		{"of the devices that remain", 1, 1, true}, // 25 % of 4
	}
	for _, tt := range tests {
		r, members := started(t, plan(100), 5)
		for i := range tt.failed {
			end(members, []fleet.MemberState{fleet.MemberFailure, fleet.MemberRolledBack}[i%2], i)
		}
		for i := range tt.skip {
			end(members, fleet.MemberSkipped, 4-i)
		}
		r, _ = r.Step(members, now)
		if got := r.State == fleet.RolloutHalted; got != tt.halts {
			t.Errorf("%s: halted %v, want %v", tt.name, got, tt.halts)
		}
	}
}

func TestSilenceCounts(t *testing.T) {
	r, members := started(t, plan(40, 60), 5)
	end(members, fleet.MemberInstalling, 1)
	if r, changed := r.Step(members, now.Add(time.Hour)); len(changed) != 0 || r.State != fleet.RolloutRunning {
		t.Fatalf("at the very timeout: %+v", changed)
	}
	r, changed := r.Step(members, now.Add(time.Hour+1))
	if len(changed) != 2 || changed[1].State != fleet.MemberFailure || changed[1].Reason == "" || r.State != fleet.RolloutHalted {
		t.Errorf("past the timeout: %s, %+v", r.State, changed)
	}
	if r.Offers(members[0]) || r.Offers(members[2]) {
		t.Error("a halted rollout offers")
	}
}

// A wave whose devices have all left, or that never had any, holds nobody up.
func TestEmptyWaveIsPassedAtOnce(t *testing.T) {
	r, members := started(t, plan(100, 50, 50), 2)
	end(members, fleet.MemberSuccess, 0, 1)
	r, _ = r.Step(members, now)
	r, _ = r.Step(members, now.Add(10*time.Minute))
	if r.State != fleet.RolloutCompleted {
		t.Errorf("it waits in wave %d, which is empty", r.Wave)
	}
}

// While a rollout is paused nobody is told to install, so nobody can be late.
func TestPauseIsNotSilence(t *testing.T) {
	r, members := started(t, plan(40, 60), 5)
	end(members, fleet.MemberInstalling, 1)
	r, err := r.Pause("ada")
	if err != nil {
		t.Fatal(err)
	}
	later := now.Add(5 * time.Hour)
	r, changed, err := r.Resume(members, "ada", later)
	if err != nil || len(changed) != 1 || changed[0].Device != members[0].Device || !changed[0].OfferedAt.Equal(later) {
		t.Fatalf("resumed with %+v, %v; want the member that had not begun", changed, err)
	}
	members[0] = changed[0]
	if _, changed = r.Step(members, later); len(changed) != 1 || changed[0].Device != members[1].Device {
		t.Errorf("late are %+v; want only the one that was installing all the time", changed)
	}
}

func TestObserve(t *testing.T) {
	r := proposed(plan(100))
	r.State = fleet.RolloutRunning
	say := func(s fleet.MemberState, version string) fleet.UpdateReport {
		return fleet.UpdateReport{State: s, Version: version, Error: "disk full"}
	}
	tests := []struct {
		name   string
		from   fleet.MemberState
		report fleet.UpdateReport
		proven string
		want   fleet.MemberState
	}{
		{"silence", fleet.MemberPending, fleet.UpdateReport{}, "1.0", fleet.MemberPending},
		{"progress", fleet.MemberPending, say(fleet.MemberInstalling, "2.0"), "1.0", fleet.MemberInstalling},
		{"its word is no proof", fleet.MemberVerifying, say(fleet.MemberSuccess, "2.0"), "1.0", fleet.MemberVerifying},
		{"proof", fleet.MemberVerifying, say(fleet.MemberVerifying, "2.0"), "2.0", fleet.MemberSuccess},
		{"proof and word", fleet.MemberRebooting, say(fleet.MemberSuccess, "2.0"), "2.0", fleet.MemberSuccess},
		{"proof while it is not confirmed", fleet.MemberRebooting, say(fleet.MemberRebooting, "2.0"), "2.0", fleet.MemberRebooting},
		{"proof without a word", fleet.MemberPending, fleet.UpdateReport{}, "2.0", fleet.MemberSuccess},
		{"failure", fleet.MemberInstalling, say(fleet.MemberFailure, "2.0"), "1.0", fleet.MemberFailure},
		{"failure on the new release", fleet.MemberVerifying, say(fleet.MemberRolledBack, "2.0"), "2.0", fleet.MemberRolledBack},
		{"an older update's failure", fleet.MemberPending, say(fleet.MemberRolledBack, "1.0"), "1.0", fleet.MemberPending},
		{"a state nobody knows", fleet.MemberPending, say("exploded", "2.0"), "1.0", fleet.MemberPending},
		{"claims to be skipped", fleet.MemberPending, say(fleet.MemberSkipped, "2.0"), "1.0", fleet.MemberPending},
		{"ended", fleet.MemberFailure, say(fleet.MemberSuccess, "2.0"), "2.0", fleet.MemberFailure},
	}
	for _, tt := range tests {
		m, changed := r.Observe(fleet.Member{State: tt.from, OfferedAt: now}, tt.report, tt.proven, now)
		if m.State != tt.want || changed != (tt.from != tt.want) {
			t.Errorf("%s: %s changed %v, want %s", tt.name, m.State, changed, tt.want)
		}
	}
	if _, changed := r.Observe(fleet.Member{State: fleet.MemberPending}, say(fleet.MemberInstalling, "2.0"), "2.0", now); changed {
		t.Error("a device that was offered nothing moved")
	}
}

func TestRolloutStates(t *testing.T) {
	all := []fleet.RolloutState{
		fleet.RolloutProposed, fleet.RolloutRunning, fleet.RolloutPaused, fleet.RolloutHalted, fleet.RolloutCompleted, fleet.RolloutAborted,
	}
	acts := []struct {
		name string
		act  func(fleet.Rollout) (fleet.Rollout, error)
		from string
		to   fleet.RolloutState
	}{
		{"pause", func(r fleet.Rollout) (fleet.Rollout, error) { return r.Pause("ada") }, "running", fleet.RolloutPaused},
		{"resume", func(r fleet.Rollout) (fleet.Rollout, error) {
			r, _, err := r.Resume(nil, "ada", now)
			return r, err
		}, "paused", fleet.RolloutRunning},
		{"abort", func(r fleet.Rollout) (fleet.Rollout, error) { return r.Abort("ada", now) }, "proposed running paused halted", fleet.RolloutAborted},
	}
	for _, a := range acts {
		for _, from := range all {
			r := proposed(plan(100))
			r.State = from
			got, err := a.act(r)
			if slices.Contains(fields(a.from), string(from)) {
				if err != nil || got.State != a.to {
					t.Errorf("%s %s: %s, %v", a.name, from, got.State, err)
				}
			} else if fleet.CodeOf(err) != "wrong_rollout_state" || got.State != from {
				t.Errorf("%s %s: %s, %v; want it refused", a.name, from, got.State, err)
			}
		}
	}
	for _, s := range all {
		r := proposed(plan(100))
		r.State = s
		if got := r.Offers(fleet.Member{State: fleet.MemberPending, OfferedAt: now}); got != (s == fleet.RolloutRunning) {
			t.Errorf("a %s rollout offers: %v", s, got)
		}
		if s != fleet.RolloutRunning {
			if next, changed := r.Step([]fleet.Member{{State: fleet.MemberPending, OfferedAt: now}}, now.Add(24*time.Hour)); next.State != s || changed != nil {
				t.Errorf("a %s rollout steps to %s", s, next.State)
			}
		}
	}
}
