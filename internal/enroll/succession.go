package enroll

import (
	"context"
	"time"

	"troth/internal/fleet"
)

// Used ends a device's other certificates when the one that succeeds them is
// first used: the device has it, so nothing can be lost any more.
func (s *Service) Used(ctx context.Context, c fleet.Certificate) error {
	return s.succeed(ctx, c, "superseded: its successor is in use", s.Now())
}

// sweepSuccessions ends the old keys of devices whose new certificate was not used
// within the grace. A device whose answer was lost attests again by itself.
func (s *Service) sweepSuccessions(ctx context.Context, now time.Time) error {
	waiting, err := s.Store.Succeeding(ctx, now.Add(-s.RotationGrace))
	if err != nil {
		return err
	}
	for _, c := range waiting {
		if err := s.succeed(ctx, c, "superseded, and its grace is over", now); err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) succeed(ctx context.Context, c fleet.Certificate, reason string, now time.Time) error {
	change := fleet.Change{FirstUse: &c}
	// One that has come to nothing itself takes nobody's place.
	if c.Opens() && now.Before(c.NotAfter) {
		change.RevokeOthers = &fleet.Certificate{ID: c.ID, Device: c.Device, EndedAt: now, Reason: reason}
		change.Events = []fleet.Event{fleet.NewEvent(now, "device:"+string(c.Device), "certificate.succeed", string(c.Device), c.Serial)}
	}
	if err := s.Store.Apply(ctx, change); err != nil && !fleet.IsKind(err, fleet.Conflict) {
		return err // of two who come at once, one is enough
	}
	return nil
}
