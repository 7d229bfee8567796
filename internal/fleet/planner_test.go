package fleet_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"troth/internal/fleet"
)

func fields(s string) []string { return strings.Fields(s) }

// planner drives a rollout with whatever devices, operators and time do, and
// holds it to its promises after each step.
type planner struct {
	rollout fleet.Rollout
	members []fleet.Member
	asked   []fleet.DeviceID // the candidates, sorted
	now     time.Time
}

func (p *planner) start(t *rapid.T) {
	n := rapid.IntRange(1, 12).Draw(t, "devices")
	plan := fleet.Plan{
		MaxFailurePercent: rapid.SampledFrom([]int{0, 10, 50, 100}).Draw(t, "threshold"),
		Soak:              time.Duration(rapid.IntRange(0, 3).Draw(t, "soak")) * time.Minute,
		DeviceTimeout:     time.Duration(rapid.IntRange(1, 10).Draw(t, "timeout")) * time.Minute,
	}
	for range rapid.IntRange(1, 4).Draw(t, "waves") {
		plan.Waves = append(plan.Waves, fleet.Wave{Percent: rapid.IntRange(1, 100).Draw(t, "percent")})
	}
	p.now, p.asked = now, ids(n)
	shuffled := rapid.Permutation(p.asked).Draw(t, "candidates")
	r, members, err := proposed(plan).Start(shuffled, "ada", p.now)
	if err != nil {
		t.Fatalf("start: %v", err)
	}
	p.rollout, p.members = r, members
}

// observe is a check-in of one device, followed by a step, as the service does it.
func (p *planner) observe(t *rapid.T) {
	i := rapid.IntRange(0, len(p.members)-1).Draw(t, "member")
	report := fleet.UpdateReport{
		State: rapid.SampledFrom([]fleet.MemberState{
			"", fleet.MemberDownloading, fleet.MemberInstalling, fleet.MemberRebooting, fleet.MemberVerifying,
			fleet.MemberSuccess, fleet.MemberFailure, fleet.MemberRolledBack, fleet.MemberSkipped, fleet.MemberPending, "nonsense",
		}).Draw(t, "state"),
		Version: rapid.SampledFrom([]string{"", "1.0", "2.0"}).Draw(t, "reported"),
	}
	proven := rapid.SampledFrom([]string{"", "1.0", "2.0"}).Draw(t, "proven")
	if m, changed := p.rollout.Observe(p.members[i], report, proven, p.now); changed {
		if m.State == fleet.MemberSuccess && proven != p.rollout.Version {
			t.Fatalf("success without proof: %+v", report)
		}
		p.members[i] = m
		p.step(t)
	}
}

func (p *planner) pass(t *rapid.T) {
	p.now = p.now.Add(time.Duration(rapid.IntRange(0, 300).Draw(t, "seconds")) * time.Second)
	p.step(t)
}

// step moves the rollout and checks what is promised of a single step.
func (p *planner) step(t *rapid.T) {
	r, before := p.rollout, slices.Clone(p.members)
	next, changed := r.Step(p.members, p.now)
	wrote := map[fleet.DeviceID]fleet.Member{}
	for _, m := range changed {
		wrote[m.Device] = m
	}
	for i, m := range p.members {
		if m != before[i] && wrote[m.Device] != m {
			t.Fatalf("member %d changed and was not returned to be written: %+v", i, m)
		}
		if !m.OfferedAt.IsZero() && before[i].OfferedAt.IsZero() {
			p.mayBegin(t, r, m.Wave, next)
		}
	}
	if r.State == fleet.RolloutRunning && next.State == fleet.RolloutRunning && p.tooMany(next.Wave) {
		t.Fatalf("too many failures in wave %d, and it goes on", next.Wave)
	}
	if next.State == fleet.RolloutHalted && r.State != fleet.RolloutHalted && !p.tooMany(next.Wave) {
		t.Fatalf("halted without cause in wave %d", next.Wave)
	}
	p.rollout = next
}

// mayBegin checks that all waves before this one had ended, and the last of them
// soaked.
func (p *planner) mayBegin(t *rapid.T, r fleet.Rollout, wave int, next fleet.Rollout) {
	if r.State != fleet.RolloutRunning || wave > next.Wave {
		t.Fatalf("wave %d was offered in a %s rollout at wave %d", wave, r.State, next.Wave)
	}
	var last time.Time
	for _, m := range p.members {
		if m.Wave < wave && !m.State.Ended() {
			t.Fatalf("wave %d began while %s of wave %d was %s", wave, m.Device.Short(), m.Wave, m.State)
		}
		if m.Wave == wave-1 && m.ChangedAt.After(last) {
			last = m.ChangedAt
		}
	}
	if p.now.Before(last.Add(r.Plan.Soak)) {
		t.Fatalf("wave %d began %s after the last one ended; the soak is %s", wave, p.now.Sub(last), r.Plan.Soak)
	}
}

func (p *planner) tooMany(wave int) bool {
	total, failed := 0, 0
	for _, m := range p.members {
		if m.Wave == wave && m.State != fleet.MemberSkipped {
			total++
			if m.State.Failed() {
				failed++
			}
		}
	}
	return failed*100 > p.rollout.Plan.MaxFailurePercent*total
}

// check holds after every action.
func (p *planner) check(t *rapid.T, ended map[fleet.DeviceID]fleet.Member) {
	if len(p.members) != len(p.asked) {
		t.Fatalf("%d members of %d candidates", len(p.members), len(p.asked))
	}
	open := 0
	for i, m := range p.members {
		if m.Device != p.asked[i] {
			t.Fatalf("%s is no candidate, or out of order", m.Device)
		}
		if was, ok := ended[m.Device]; ok && m != was {
			t.Fatalf("a member that had ended changed: %+v, was %+v", m, was)
		}
		if m.State.Ended() {
			ended[m.Device] = m
		} else {
			open++
		}
		if m.Wave > p.rollout.Wave && (p.rollout.Offers(m) || m.State != fleet.MemberPending) {
			t.Fatalf("%s of wave %d is %s while wave %d is on", m.Device.Short(), m.Wave, m.State, p.rollout.Wave)
		}
		if p.rollout.State != fleet.RolloutRunning && p.rollout.Offers(m) {
			t.Fatalf("a %s rollout offers", p.rollout.State)
		}
	}
	if p.rollout.State == fleet.RolloutCompleted && open > 0 {
		t.Fatalf("completed with %d members that have not ended", open)
	}
}

func (p *planner) resume(*rapid.T) {
	r, changed, err := p.rollout.Resume(p.members, "ada", p.now)
	if err != nil {
		return
	}
	p.rollout = r
	for _, m := range changed {
		p.members[slices.Index(p.asked, m.Device)] = m
	}
}

func (p *planner) operate(act func(fleet.Rollout) (fleet.Rollout, error)) func(*rapid.T) {
	return func(*rapid.T) {
		if r, err := act(p.rollout); err == nil {
			p.rollout = r
		}
	}
}

// Whatever devices report and operators do, in any order and at any pace.
func TestPlannerKeepsItsPromises(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := &planner{}
		p.start(t)
		ended := map[fleet.DeviceID]fleet.Member{}
		var last fleet.RolloutState
		t.Repeat(map[string]func(*rapid.T){
			"check in": p.observe,
			"time":     p.pass,
			"pause":    p.operate(func(r fleet.Rollout) (fleet.Rollout, error) { return r.Pause("ada") }),
			"resume":   p.resume,
			"abort": func(t *rapid.T) {
				if rapid.IntRange(0, 9).Draw(t, "sure") == 0 { // or few rollouts would get anywhere
					p.operate(func(r fleet.Rollout) (fleet.Rollout, error) { return r.Abort("ada", p.now) })(t)
				}
			},
			"": func(t *rapid.T) {
				p.check(t, ended)
				over := last == fleet.RolloutCompleted || last == fleet.RolloutAborted
				if over && p.rollout.State != last {
					t.Fatalf("%s became %s", last, p.rollout.State)
				}
				last = p.rollout.State
			},
		})
	})
}

// Left alone, a running rollout ends: by completion, or halted by time-outs.
func TestPlannerEnds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := &planner{}
		p.start(t)
		for range 20 {
			p.now = p.now.Add(time.Hour)
			p.step(t)
		}
		if s := p.rollout.State; s != fleet.RolloutCompleted && s != fleet.RolloutHalted {
			t.Fatalf("after 20 hours of silence it is %s in wave %d", s, p.rollout.Wave)
		}
	})
}
