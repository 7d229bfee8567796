package posture

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"troth/internal/evidence"
	"troth/internal/fleet"
	"troth/policy"
)

// outcome is a decided check-in that is not written yet.
type outcome struct {
	device    fleet.Device
	posture   fleet.Posture
	decisions []fleet.Decision
	progress  *fleet.Progress // nil: as before
	logs      []fleet.Blob    // that came with the evidence, and pieces of them
	document  []byte          // the evidence, first of the grounds
	grounds   []fleet.Blob    // evidence and inputs, which the decisions name
	events    []fleet.Event
	proposals []proposal
	restrict  bool // the device goes into quarantine with this
}

type proposal struct {
	version string
	reason  string
	start   bool
}

// decide turns verified evidence into a posture and the actions that follow. A
// policy that cannot decide yields the verdict error, never a pass.
func (s *Service) decide(ctx context.Context, d fleet.Device, previous fleet.Posture, a evidence.Appraised, r report, now time.Time) (outcome, error) {
	firmware, facts := s.identify(d, a, r)
	in, err := s.input(ctx, d, previous, a, facts, r, now)
	if err != nil {
		return outcome{}, err
	}
	decision, policyErr := s.Policy.Posture(ctx, in)
	if ctx.Err() != nil {
		return outcome{}, ctx.Err()
	}
	p := fleet.Posture{
		Device: d.ID, At: now, Verdict: verdictOf(decision.Verdict, policyErr), Controls: controls(decision.Controls),
		Reported: r.raw, Evidence: a.Document.Digest,
	}
	if policyErr != nil {
		p.Controls = previous.Undecide()
	}
	if p.Attestation, err = json.Marshal(a.Result); err != nil {
		return outcome{}, fmt.Errorf("encode attestation result: %w", err)
	}
	o := outcome{
		posture: p, device: s.appraised(d, p, a, firmware, now),
		progress: a.Progress, logs: slices.Concat(a.Logs, a.Pieces), document: a.Document.Content, grounds: append([]fleet.Blob{a.Document}, a.Held...),
	}
	if o.posture.Decision, err = o.keep("posture", in, decision); err != nil {
		return outcome{}, err
	}
	switch {
	case policyErr == nil:
		return o, s.remediate(ctx, &o, decision, facts, now)
	case !previous.NothingDecided(): // the trail is told once
		o.events = append(o.events, fleet.NewEvent(now, "system", "policy.error", string(d.ID), policyErr.Error()))
	}
	return o, nil
}

// identify finds the release that the quoted PCRs prove.
func (s *Service) identify(d fleet.Device, a evidence.Appraised, r report) (fleet.Release, policy.FirmwareInput) {
	catalog := s.Releases.Catalog()
	release, known, wrong := catalog.Identify(d.Model, evidence.PCRValues(a.Result))
	facts := policy.FirmwareInput{Known: known, Reported: r.firmware, Mismatches: wrong}
	if latest, ok := catalog.Latest(d.Model); ok {
		facts.LatestVersion, facts.LatestCounter = latest.Version, latest.Counter
	}
	if security, ok := catalog.LatestSecurity(d.Model); ok {
		facts.LatestSecurityCounter = security.Counter
	}
	if !known {
		release = fleet.Release{}
	}
	facts.Vulnerabilities = s.vulnerabilities(release)
	facts.Version, facts.Counter = release.Version, release.Counter
	return release, facts
}

func verdictOf(v string, err error) fleet.Verdict {
	switch verdict := fleet.Verdict(v); {
	case err != nil:
		return fleet.Undecided
	case verdict == fleet.Compliant, verdict == fleet.Noncompliant:
		return verdict
	default:
		return fleet.Undecided
	}
}

// appraised is the device as it stands after a check-in.
func (s *Service) appraised(d fleet.Device, p fleet.Posture, a evidence.Appraised, r fleet.Release, now time.Time) fleet.Device {
	if d.Verdict != p.Verdict || d.VerdictSince.IsZero() {
		d.VerdictSince = now
	}
	d.Verdict, d.VerdictAt, d.FreshUntil = p.Verdict, now, now.Add(s.Fresh)
	d.LastSeen, d.NextCheckIn = now, now.Add(s.Interval)
	d.FirmwareVersion, d.FirmwareCounter = r.Version, r.Counter
	d.Clock = evidence.ClockOf(a.Result)
	return d
}

func (o *outcome) keep(kind string, in policy.Input, d policy.Decision) (id string, err error) {
	decision, input, err := evidence.Record(kind, o.device.ID, in, d)
	if err != nil {
		return "", err
	}
	o.decisions, o.grounds = append(o.decisions, decision), append(o.grounds, input)
	return decision.ID, nil
}

// remediate asks policy what follows from the posture and does what concerns
// this device alone; rollouts are proposed once the posture is written.
func (s *Service) remediate(ctx context.Context, o *outcome, decision policy.PostureDecision, f policy.FirmwareInput, now time.Time) error {
	in := policy.RemediateInput{
		Now: now, Evidence: decision.Evidence, Device: deviceInput(o.device),
		Verdict: decision.Verdict, Controls: decision.Controls, Firmware: f,
	}
	answer, err := s.Policy.Remediate(ctx, in)
	if err != nil {
		o.events = append(o.events, fleet.NewEvent(now, "system", "policy.error", string(o.device.ID), err.Error()))
		return nil
	}
	if len(answer.Actions) == 0 {
		return nil
	}
	if _, err := o.keep("remediate", in, answer); err != nil {
		return err
	}
	for _, action := range answer.Actions {
		switch action.Kind {
		case policy.ActQuarantine:
			if o.device.Lifecycle != fleet.Active {
				continue
			}
			if o.device, err = o.device.Quarantine(action.Reason, now); err != nil {
				return err
			}
			o.restrict = true
			o.events = append(o.events, fleet.NewEvent(now, "policy", "device.quarantine", string(o.device.ID), action.Reason))
		case policy.ActPropose, policy.ActStart:
			o.proposals = append(o.proposals, proposal{version: action.Release, reason: action.Reason, start: action.Kind == policy.ActStart})
		}
	}
	return nil
}
