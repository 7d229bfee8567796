package fleet

import (
	"sort"
	"time"
)

// RolloutState is where a rollout stands.
type RolloutState string

// The states of a rollout.
const (
	RolloutProposed  RolloutState = "proposed" // waits for a person
	RolloutRunning   RolloutState = "running"
	RolloutPaused    RolloutState = "paused"
	RolloutHalted    RolloutState = "halted" // stopped by itself: too many failures
	RolloutCompleted RolloutState = "completed"
	RolloutAborted   RolloutState = "aborted"
)

// Open reports whether the rollout still holds its model: no other one may
// start on it.
func (s RolloutState) Open() bool {
	return s == RolloutRunning || s == RolloutPaused || s == RolloutHalted
}

// Wave is a share of a rollout's devices. The last wave takes all that are left.
type Wave struct {
	Percent int `json:"percent"` // of all members, 1 to 100, rounded up
}

// Plan is how a rollout moves.
type Plan struct {
	Waves             []Wave        `json:"waves"`
	MaxFailurePercent int           `json:"max_failure_percent"` // of a wave; more stops the rollout
	Soak              time.Duration `json:"soak"`                // between a finished wave and the next
	DeviceTimeout     time.Duration `json:"device_timeout"`      // from the offer to a proven installation
}

// DefaultPlan is one careful wave and then the rest.
func DefaultPlan() Plan {
	return Plan{Waves: []Wave{{Percent: 10}, {Percent: 100}}, MaxFailurePercent: 10, Soak: 10 * time.Minute, DeviceTimeout: time.Hour}
}

// Validate refuses a plan that contradicts itself.
func (p Plan) Validate() error {
	if len(p.Waves) == 0 || len(p.Waves) > 100 {
		return Errorf(Invalid, "invalid_plan", "a rollout has 1 to 100 waves, not %d", len(p.Waves))
	}
	for _, w := range p.Waves {
		if w.Percent < 1 || w.Percent > 100 {
			return Errorf(Invalid, "invalid_plan", "a wave has 1 to 100 per cent of the devices, not %d", w.Percent)
		}
	}
	if p.MaxFailurePercent < 0 || p.MaxFailurePercent > 100 {
		return Errorf(Invalid, "invalid_plan", "the failure threshold is 0 to 100 per cent, not %d", p.MaxFailurePercent)
	}
	if p.Soak < 0 || p.DeviceTimeout <= 0 {
		return Errorf(Invalid, "invalid_plan", "soak time cannot be negative and the device timeout must be positive")
	}
	return nil
}

// Rollout moves the devices of a model to a release, wave after wave.
type Rollout struct {
	ID        string
	Model     string
	Version   string
	Counter   uint64 // of the release
	Target    string // TUF target path
	State     RolloutState
	Reason    string // why it was proposed, or stopped
	Plan      Plan
	Wave      int // the current one, from 0
	WaveDone  time.Time
	CreatedBy string
	CreatedAt time.Time
	StartedBy string
	StartedAt time.Time
	EndedAt   time.Time
	Revision  int64
}

// MemberState is what one device does in a rollout; the names are those that
// the update clients of the field use.
type MemberState string

// The states of a member.
const (
	MemberPending     MemberState = "pending"
	MemberDownloading MemberState = "downloading"
	MemberInstalling  MemberState = "installing"
	MemberRebooting   MemberState = "rebooting"
	MemberVerifying   MemberState = "verifying"
	MemberSuccess     MemberState = "success"
	MemberFailure     MemberState = "failure"
	MemberRolledBack  MemberState = "rolled-back"
	MemberSkipped     MemberState = "skipped" // left the fleet, or may not be touched
)

var progress = map[MemberState]bool{
	MemberDownloading: true, MemberInstalling: true, MemberRebooting: true, MemberVerifying: true,
}

// Ended reports whether nothing more is expected of the member.
func (s MemberState) Ended() bool {
	return s == MemberSuccess || s == MemberFailure || s == MemberRolledBack || s == MemberSkipped
}

// Failed reports whether the member counts against its wave.
func (s MemberState) Failed() bool { return s == MemberFailure || s == MemberRolledBack }

// Member is one device of a rollout.
type Member struct {
	Rollout   string
	Device    DeviceID
	Wave      int
	State     MemberState
	Reason    string
	OfferedAt time.Time // zero: its wave has not started
	ChangedAt time.Time
}

// UpdateReport is what a device says of its update. Only the proven release is
// believed for success.
type UpdateReport struct {
	State   MemberState `json:"state,omitempty"`
	Version string      `json:"version,omitempty"`
	Error   string      `json:"error,omitempty"`
}

// Start assigns the candidates to waves and offers the release to the first.
// The order is that of the device ids, which nobody can choose.
func (r Rollout) Start(candidates []DeviceID, by string, now time.Time) (Rollout, []Member, error) {
	if r.State != RolloutProposed {
		return r, nil, r.wrongState("started")
	}
	if err := r.Plan.Validate(); err != nil {
		return r, nil, err
	}
	if len(candidates) == 0 {
		return r, nil, Errorf(Conflict, "rollout_empty", "no active device of model %s needs release %s", r.Model, r.Version)
	}
	ids := append([]DeviceID(nil), candidates...)
	sort.Slice(ids, func(i, j int) bool { return ids[i] < ids[j] })
	members := make([]Member, len(ids))
	for i, id := range ids {
		members[i] = Member{Rollout: r.ID, Device: id, Wave: r.Plan.waveOf(i, len(ids)), State: MemberPending, ChangedAt: now}
	}
	r.State, r.StartedBy, r.StartedAt, r.Wave = RolloutRunning, by, now, 0
	offer(members, 0, now)
	return r, members, nil
}

// waveOf places the i-th of n members.
func (p Plan) waveOf(i, n int) int {
	end := 0
	for w, wave := range p.Waves {
		end += (n*wave.Percent + 99) / 100
		if i < end {
			return w
		}
	}
	return len(p.Waves) - 1
}

func offer(members []Member, wave int, now time.Time) (changed []Member) {
	for i := range members {
		if members[i].Wave == wave && members[i].OfferedAt.IsZero() && !members[i].State.Ended() {
			members[i].OfferedAt, members[i].ChangedAt = now, now
			changed = append(changed, members[i])
		}
	}
	return changed
}

// Observe takes what a check-in showed of a member: what the device reports of
// its update, and the release that its quote proved. It returns the member and
// whether it changed.
func (r Rollout) Observe(m Member, report UpdateReport, provenVersion string, now time.Time) (Member, bool) {
	if m.State.Ended() || m.OfferedAt.IsZero() {
		return m, false
	}
	next, reason := m.State, m.Reason
	about := report.Version == r.Version
	switch {
	case about && report.State.Failed():
		next, reason = report.State, report.Error
	case provenVersion == r.Version && (!about || report.State == MemberVerifying || report.State == MemberSuccess):
		next, reason = MemberSuccess, "a fresh quote shows the release's reference values"
	case about && progress[report.State]:
		next, reason = report.State, ""
	}
	if next == m.State {
		return m, false
	}
	m.State, m.Reason, m.ChangedAt = next, reason, now
	return m, true
}

// Step moves a running rollout as far as its members allow: members that took
// too long fail, too many failures halt it, a finished wave soaks and then the
// next is offered the release. It returns the members that changed; a rollout
// that did not move is returned as it was.
func (r Rollout) Step(members []Member, now time.Time) (Rollout, []Member) {
	if r.State != RolloutRunning {
		return r, nil
	}
	changed := r.expire(members, now)
	total, failed, open := r.count(members)
	if failed*100 > r.Plan.MaxFailurePercent*total {
		r.State, r.EndedAt = RolloutHalted, now
		r.Reason = "too many devices of the wave failed"
		return r, changed
	}
	if open > 0 {
		return r, changed
	}
	if r.WaveDone.IsZero() {
		r.WaveDone = now
	}
	last := r.Wave == len(r.Plan.Waves)-1
	switch {
	case last:
		r.State, r.EndedAt, r.Reason = RolloutCompleted, now, "every wave is through"
	case total == 0 || !now.Before(r.WaveDone.Add(r.Plan.Soak)):
		r.Wave++
		r.WaveDone = time.Time{}
		changed = append(changed, offer(members, r.Wave, now)...)
		rest, more := r.Step(members, now) // an empty wave is passed at once
		return rest, append(changed, more...)
	}
	return r, changed
}

func (r Rollout) expire(members []Member, now time.Time) (changed []Member) {
	for i, m := range members {
		if !m.State.Ended() && !m.OfferedAt.IsZero() && now.After(m.OfferedAt.Add(r.Plan.DeviceTimeout)) {
			members[i].State, members[i].ChangedAt = MemberFailure, now
			members[i].Reason = "the device did not prove the release in time; last known state: " + string(m.State)
			changed = append(changed, members[i])
		}
	}
	return changed
}

func (r Rollout) count(members []Member) (total, failed, open int) {
	for _, m := range members {
		if m.Wave != r.Wave || m.State == MemberSkipped {
			continue
		}
		total++
		if m.State.Failed() {
			failed++
		}
		if !m.State.Ended() {
			open++
		}
	}
	return total, failed, open
}

// Pause offers the release to nobody new. What is installing finishes.
func (r Rollout) Pause(by string) (Rollout, error) {
	if r.State != RolloutRunning {
		return r, r.wrongState("paused")
	}
	r.State, r.Reason = RolloutPaused, "paused by "+by
	return r, nil
}

// Resume continues a paused rollout. A halted one is not resumed: its failures
// stand; abort it, mend the cause and start another. Members that had not begun
// could not while it was paused, so their time starts anew; they are returned.
func (r Rollout) Resume(members []Member, by string, now time.Time) (Rollout, []Member, error) {
	if r.State != RolloutPaused {
		return r, nil, r.wrongState("resumed")
	}
	r.State, r.Reason = RolloutRunning, "resumed by "+by
	var changed []Member
	for _, m := range members {
		if m.State == MemberPending && !m.OfferedAt.IsZero() {
			m.OfferedAt, m.ChangedAt = now, now
			changed = append(changed, m)
		}
	}
	return r, changed, nil
}

// Abort ends a rollout for good. What is installing finishes, what has not
// started does not.
func (r Rollout) Abort(by string, now time.Time) (Rollout, error) {
	if r.State == RolloutCompleted || r.State == RolloutAborted {
		return r, r.wrongState("aborted")
	}
	r.State, r.Reason, r.EndedAt = RolloutAborted, "aborted by "+by, now
	return r, nil
}

// Offers reports whether the member is to be told to install now.
func (r Rollout) Offers(m Member) bool {
	return r.State == RolloutRunning && !m.OfferedAt.IsZero() && !m.State.Ended()
}

func (r Rollout) wrongState(wish string) error {
	return Errorf(Conflict, "wrong_rollout_state", "rollout %s is %s and cannot be %s", r.ID, r.State, wish)
}
