package posture

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"troth/internal/evidence"
	"troth/internal/fleet"
)

// CheckIn is what a device sends. Who it is was proven by its client
// certificate; ClientKey is the key of that very connection (PKIX SPKI).
type CheckIn struct {
	Device    fleet.DeviceID
	ClientKey []byte
	Nonce     []byte
	Evidence  evidence.Submission
}

// Answer tells the device how it stands.
type Answer struct {
	Device  fleet.Device
	Posture fleet.Posture
	Install *fleet.Rollout // nil: nothing
	Nonce   []byte
	Next    time.Duration
	// IMAEntries are counted: the next check-in may begin its list after them.
	IMAEntries int
}

// attempts to write a check-in against concurrent changes of its device.
const attempts = 3

// CheckIn verifies a check-in and decides on it. Evidence that does not hold
// changes nothing of the device: its verdict ages and expires, and people are
// told by an alert.
func (s *Service) CheckIn(ctx context.Context, c CheckIn) (Answer, error) {
	var err error
	for range attempts {
		var a Answer
		if a, err = s.tryCheckIn(ctx, c); !fleet.IsKind(err, fleet.Conflict) || fleet.CodeOf(err) == "log_required" {
			return a, err
		}
	}
	return Answer{}, err
}

func (s *Service) tryCheckIn(ctx context.Context, c CheckIn) (Answer, error) {
	now := s.Now()
	// Judged by a catalogue that is not read yet, every device would run firmware
	// that nobody published.
	if s.Loaded != nil && !s.Loaded() {
		return Answer{}, fleet.Errorf(fleet.Unavailable, "firmware_unavailable", "the catalogue of published firmware is not read yet: try again")
	}
	d, err := s.Store.Device(ctx, c.Device)
	if err != nil {
		return Answer{}, err
	}
	nonceAt, err := s.Nonces.Check(c.Nonce, d, now)
	if err != nil {
		return Answer{}, err
	}
	reported, err := parseReport(c.Evidence.Reported)
	if err != nil {
		return Answer{}, err
	}
	appraised, counted, err := s.appraise(ctx, d, c)
	if err != nil {
		return Answer{}, s.refuse(ctx, d, err, now)
	}
	previous, err := s.Store.Posture(ctx, d.ID)
	if err != nil && !fleet.IsKind(err, fleet.NotFound) {
		return Answer{}, err
	}
	d.LastNonce = nonceAt
	outcome, err := s.decide(ctx, d, previous, appraised, reported, now)
	if err != nil {
		return Answer{}, err
	}
	d, err = s.record(ctx, outcome, previous, now)
	if err != nil {
		return Answer{}, err
	}
	if err := s.propose(ctx, d, outcome); err != nil {
		return Answer{}, err
	}
	install, err := s.Rollouts.Observe(ctx, d, reported.update)
	// The check-in is written and its nonce used up, so it is not tried again:
	// where other members keep moving the rollout, the next check-in is in time.
	if err != nil && !fleet.IsKind(err, fleet.Conflict) {
		return Answer{}, err
	}
	return Answer{
		Device: d, Posture: outcome.posture, Install: install, Nonce: s.Nonces.Issue(d, s.Now()), Next: s.Interval, IMAEntries: counted,
	}, nil
}

// refuse tells people of a device whose evidence does not hold; the device is
// left as it was. What the device can mend by itself is not worth an alert.
func (s *Service) refuse(ctx context.Context, d fleet.Device, cause error, now time.Time) error {
	if !fleet.IsKind(cause, fleet.Refused) {
		return cause
	}
	open, err := s.Store.Alerts(ctx, fleet.AlertFilter{Subject: string(d.ID), Open: true})
	if err != nil {
		return errors.Join(cause, err)
	}
	alert := fleet.Raise(open, fleet.Alert{
		Subject: string(d.ID), Key: fleet.KeyEvidenceRefused, Device: d.ID, Severity: fleet.Critical,
		Title: "Evidence refused", Reason: fleet.CodeOf(cause) + ": the device sent evidence that does not hold",
	}, now)
	change := fleet.Change{Alerts: []fleet.Alert{alert}}
	// The alert counts; the trail is told what is new, or a device that fails for
	// ever would fill it.
	if !slices.ContainsFunc(open, func(o fleet.Alert) bool { return o.ID == alert.ID && o.Reason == alert.Reason }) {
		change.Events = []fleet.Event{fleet.NewEvent(now, "device:"+string(d.ID), "evidence.refused", string(d.ID), fleet.CodeOf(cause))}
	}
	err = s.Store.Apply(ctx, change)
	if err != nil && !fleet.IsKind(err, fleet.Conflict) {
		return errors.Join(cause, err)
	}
	return cause
}

// record writes everything that the check-in changed, at once.
func (s *Service) record(ctx context.Context, o outcome, previous fleet.Posture, now time.Time) (fleet.Device, error) {
	open, err := s.Store.Alerts(ctx, fleet.AlertFilter{Subject: string(o.device.ID), Open: true})
	if err != nil {
		return fleet.Device{}, err
	}
	news := !previous.SameOutcomes(o.posture)
	kept, err := s.kept(ctx, previous, o, news, now)
	if err != nil {
		return fleet.Device{}, err
	}
	change := fleet.Change{
		Devices: []fleet.Device{o.device}, Posture: &o.posture, Progress: o.progress, Blobs: o.logs,
		Alerts: fleet.ReconcileControls(open, o.device, o.posture, now),
		Events: o.events,
	}
	if o.restrict {
		change.Restrict = o.device.ID
	}
	if kept {
		o.posture.Decision, o.posture.Evidence = previous.Decision, previous.Evidence
	} else {
		change.Decisions, change.Blobs = o.decisions, append(change.Blobs, o.grounds...)
	}
	if news {
		change.Events = append(change.Events, fleet.NewEvent(now, "system", "posture.change", string(o.device.ID),
			fmt.Sprintf("verdict %s; %d of %d controls failing", o.posture.Verdict, len(o.posture.FailingSince()), len(o.posture.Controls))))
	}
	if err := s.Store.Apply(ctx, change); err != nil {
		return fleet.Device{}, err
	}
	o.device.Revision++
	return o.device, nil
}

// keepEvery bounds how old the evidence behind an unchanged posture may become
// before it is kept anew.
const keepEvery = 24 * time.Hour

// kept reports whether the decision and the evidence that are stored already
// stand for this check-in too: it says nothing new, the device shows the boot
// that they show, and they are not old. Otherwise every check-in of every device
// would be kept for ever.
func (s *Service) kept(ctx context.Context, previous fleet.Posture, o outcome, news bool, now time.Time) (bool, error) {
	if news {
		return false, nil
	}
	last, err := s.Store.Decision(ctx, previous.Decision)
	if fleet.IsKind(err, fleet.NotFound) {
		return false, nil
	}
	if err != nil || now.Sub(last.At) >= keepEvery {
		return false, err
	}
	document, err := s.Store.Blob(ctx, previous.Evidence)
	if fleet.IsKind(err, fleet.NotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return evidence.Stands(document, o.document)
}

// propose hands on the rollouts that policy wants. It follows the write: a
// crash in between is made good by the next check-in.
func (s *Service) propose(ctx context.Context, d fleet.Device, o outcome) error {
	for _, p := range o.proposals {
		if err := s.Rollouts.Propose(ctx, d.Model, p.version, p.reason, p.start); err != nil {
			return err
		}
	}
	return nil
}
