package bundle

import (
	"context"
	"sync"

	"troth/internal/fleet"
	"troth/policy"
)

// The bounds of what a shadow costs: one decision at a time, so many that wait, and
// so many devices that are remembered between two writes.
const (
	shadowQueue   = 256
	shadowDevices = 2000
)

// shadow is a bundle that decides beside the active one.
type shadow struct {
	bundle fleet.Bundle
	engine *policy.Engine
	queue  chan compared
	cancel context.CancelFunc
	done   chan struct{}

	mu      sync.Mutex
	count   fleet.ShadowCount // since the shadow began, here
	written fleet.ShadowCount
	devices map[fleet.DeviceID]fleet.ShadowDevice // to be written
}

// compared is a decision that was made.
type compared struct {
	in policy.PostureInput
	by policy.PostureDecision
}

// Posture decides by the current bundle, and has the shadow, if there is one,
// decide on the same later. It is what the continuous check asks.
func (s *Service) Posture(ctx context.Context, in policy.PostureInput) (policy.PostureDecision, error) {
	d, err := s.Current.Posture(ctx, in)
	if err == nil {
		s.watch(in, d)
	}
	return d, err
}

// Remediate decides by the current bundle.
func (s *Service) Remediate(ctx context.Context, in policy.RemediateInput) (policy.RemediateDecision, error) {
	return s.Current.Remediate(ctx, in)
}

// watch never waits: a decision that the shadow has no time for is only counted.
func (s *Service) watch(in policy.PostureInput, d policy.PostureDecision) {
	sh := s.beside.Load()
	if sh == nil {
		return
	}
	select {
	case sh.queue <- compared{in, d}:
	default:
		sh.mu.Lock()
		sh.count.Dropped++
		sh.mu.Unlock()
	}
}

// follow starts and ends the shadow as the record says, and writes what it found.
// The caller holds s.mu.
func (s *Service) follow(ctx context.Context) error {
	want, err := s.Store.ShadowBundle(ctx)
	if err != nil && !fleet.IsKind(err, fleet.NotFound) {
		return err
	}
	have := s.beside.Load()
	if have != nil && (err != nil || want.ID != have.bundle.ID || !want.ShadowAt.Equal(have.bundle.ShadowAt)) {
		s.beside.Store(nil)
		have.end()
		if err := s.write(ctx, have); err != nil {
			return err
		}
		have = nil
	}
	if err == nil && have == nil {
		engine, err := s.Engine(ctx, want)
		if err != nil {
			return err
		}
		s.beside.Store(s.begin(want, engine))
		return nil
	}
	return s.write(ctx, have)
}

func (s *Service) begin(b fleet.Bundle, engine *policy.Engine) *shadow {
	ctx, cancel := context.WithCancel(context.Background())
	sh := &shadow{
		bundle: b, engine: engine, queue: make(chan compared, shadowQueue), cancel: cancel, done: make(chan struct{}),
		count: fleet.ShadowCount{Bundle: b.ID, Replica: fleet.NewID()}, devices: map[fleet.DeviceID]fleet.ShadowDevice{},
	}
	go func() {
		defer close(sh.done)
		for {
			select {
			case <-ctx.Done():
				return
			case c := <-sh.queue:
				sh.decide(ctx, c)
			}
		}
	}()
	return sh
}

func (sh *shadow) end() {
	sh.cancel()
	<-sh.done
}

func (sh *shadow) decide(ctx context.Context, c compared) {
	d, err := sh.engine.Posture(ctx, c.in)
	if ctx.Err() != nil {
		return
	}
	before, after := Controls(c.by.Controls), Controls(d.Controls)
	changes := fleet.CompareControls(before, after)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.count.Decided++
	if err != nil {
		sh.count.Failed++
	}
	if err == nil && len(changes) == 0 && d.Verdict == c.by.Verdict {
		return
	}
	sh.count.Differing++
	id := fleet.DeviceID(c.in.Device.ID)
	if _, known := sh.devices[id]; !known && len(sh.devices) >= shadowDevices {
		return
	}
	sh.devices[id] = fleet.ShadowDevice{
		Bundle: sh.bundle.ID, Device: id, At: c.in.Now, Active: fleet.Verdict(c.by.Verdict), Shadow: fleet.Verdict(d.Verdict),
		Input: c.by.Input, Changes: changes,
	}
}

// write records what the shadow found since the last time.
func (s *Service) write(ctx context.Context, sh *shadow) error {
	if sh == nil {
		return nil
	}
	sh.mu.Lock()
	count, devices := sh.count, sh.devices
	unchanged := count == sh.written
	sh.devices = map[fleet.DeviceID]fleet.ShadowDevice{}
	sh.mu.Unlock()
	if unchanged {
		return nil
	}
	change := fleet.Change{ShadowCounts: []fleet.ShadowCount{count}}
	for _, d := range devices {
		change.ShadowDevices = append(change.ShadowDevices, d)
	}
	if err := s.Store.Apply(ctx, change); err != nil {
		sh.keep(devices)
		return err
	}
	sh.mu.Lock()
	sh.written = count
	sh.mu.Unlock()
	return nil
}

// keep puts back what could not be written, where nothing newer is there.
func (sh *shadow) keep(devices map[fleet.DeviceID]fleet.ShadowDevice) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for id, d := range devices {
		if _, newer := sh.devices[id]; !newer && len(sh.devices) < shadowDevices {
			sh.devices[id] = d
		}
	}
}

// Close ends the shadow.
func (s *Service) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sh := s.beside.Swap(nil); sh != nil {
		sh.end()
	}
}

// ShadowReport is how a bundle in the shadow differs from the active one.
type ShadowReport struct {
	Bundle  fleet.Bundle
	Count   fleet.ShadowCount // of all replicas
	Devices []fleet.ShadowDevice
}

// Differences are what the shadow of the bundle has found, with at most limit
// devices.
func (s *Service) Differences(ctx context.Context, id string, limit int) (ShadowReport, error) {
	b, err := s.find(ctx, id)
	if err != nil {
		return ShadowReport{}, err
	}
	counts, err := s.Store.ShadowCounts(ctx, b.ID)
	if err != nil {
		return ShadowReport{}, err
	}
	r := ShadowReport{Bundle: b, Count: fleet.ShadowCount{Bundle: b.ID}}
	for _, c := range counts {
		r.Count.Decided += c.Decided
		r.Count.Differing += c.Differing
		r.Count.Failed += c.Failed
		r.Count.Dropped += c.Dropped
	}
	r.Devices, err = s.Store.ShadowDevices(ctx, b.ID, limit)
	return r, err
}

// Controls are a policy's results as the fleet keeps them.
func Controls(results []policy.ControlResult) []fleet.Control {
	out := make([]fleet.Control, len(results))
	for i, c := range results {
		out[i] = fleet.Control{
			ID: c.ID, Title: c.Title, Severity: fleet.Severity(c.Severity), Outcome: fleet.Outcome(c.Outcome),
			Reason: c.Reason, Since: c.Since, EnforcedAt: c.EnforcedAt, Remediation: c.Remediation, Frameworks: c.Frameworks,
		}
	}
	return out
}
