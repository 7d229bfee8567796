package device

import (
	"context"

	"troth/internal/fleet"
)

// Decision is the latest recorded posture decision of a device.
type Decision struct {
	Device   fleet.Device
	Decision fleet.Decision
	Input    []byte // the document that policy was given, by its digest
}

// Decision finds the latest recorded posture decision of a device, with its input.
// Check-ins that say nothing new are not recorded, so that it may be as old as the
// verdict.
func (s *Service) Decision(ctx context.Context, key string) (Decision, error) {
	d, err := s.Resolve(ctx, key)
	if err != nil {
		return Decision{}, err
	}
	none := fleet.Errorf(fleet.NotFound, "decision_not_found", "no posture of the device is recorded")
	p, err := s.Store.Posture(ctx, d.ID)
	if fleet.IsKind(err, fleet.NotFound) {
		return Decision{}, none
	}
	if err != nil {
		return Decision{}, err
	}
	decision, err := s.Store.Decision(ctx, p.Decision)
	if fleet.IsKind(err, fleet.NotFound) {
		return Decision{}, none
	}
	if err != nil {
		return Decision{}, err
	}
	input, err := s.Store.Blob(ctx, decision.Input)
	if fleet.IsKind(err, fleet.NotFound) {
		return Decision{}, none
	}
	return Decision{Device: d, Decision: decision, Input: input}, err
}
