// Package device is what operators do with devices: make them known, find them,
// and move them through their life.
package device

import (
	"context"
	"regexp"
	"time"

	"troth/internal/fleet"
)

// Store is what the use case needs.
type Store interface {
	Device(ctx context.Context, id fleet.DeviceID) (fleet.Device, error)
	Devices(ctx context.Context, f fleet.DeviceFilter) ([]fleet.Device, error)
	Posture(ctx context.Context, id fleet.DeviceID) (fleet.Posture, error)
	Decision(ctx context.Context, id string) (fleet.Decision, error)
	Certificates(ctx context.Context, id fleet.DeviceID) ([]fleet.Certificate, error)
	Manufacturers(ctx context.Context) ([]fleet.Manufacturer, error)
	Alerts(ctx context.Context, f fleet.AlertFilter) ([]fleet.Alert, error)
	Blob(ctx context.Context, digest string) ([]byte, error)
	Apply(ctx context.Context, c fleet.Change) error
}

// Service is the use case.
type Service struct {
	Store Store
	Now   func() time.Time
}

// Detail is one device with all that is known of it.
type Detail struct {
	Device      fleet.Device
	Posture     *fleet.Posture  // nil: none yet
	Decision    *fleet.Decision // behind the posture, where it was kept
	Certificate *fleet.Certificate
}

var hexPrefix = regexp.MustCompile(`^[0-9a-f]{6,64}$`)

// Resolve finds a device by its id, by a prefix of its id of at least six
// digits that is unique, or by its name.
func (s *Service) Resolve(ctx context.Context, key string) (fleet.Device, error) {
	if fleet.DeviceID(key).Valid() {
		return s.Store.Device(ctx, fleet.DeviceID(key))
	}
	named, err := s.Store.Devices(ctx, fleet.DeviceFilter{Name: key, Limit: 2})
	if err != nil {
		return fleet.Device{}, err
	}
	for _, d := range named {
		if d.Lifecycle != fleet.Retired || len(named) == 1 {
			return d, nil
		}
	}
	if !hexPrefix.MatchString(key) {
		return fleet.Device{}, fleet.Errorf(fleet.NotFound, "device_not_found", "no device has the name or id %q", key)
	}
	found, err := s.Store.Devices(ctx, fleet.DeviceFilter{IDPrefix: key, Limit: 2})
	switch {
	case err != nil:
		return fleet.Device{}, err
	case len(found) == 0:
		return fleet.Device{}, fleet.Errorf(fleet.NotFound, "device_not_found", "no device has the name or id %q", key)
	case len(found) > 1:
		return fleet.Device{}, fleet.Errorf(fleet.Conflict, "device_ambiguous", "more than one device id begins with %s: give more digits", key)
	}
	return found[0], nil
}

// List is a page of devices.
func (s *Service) List(ctx context.Context, f fleet.DeviceFilter) ([]fleet.Device, error) {
	return s.Store.Devices(ctx, f)
}

// Get is one device with its posture and certificate.
func (s *Service) Get(ctx context.Context, key string) (Detail, error) {
	d, err := s.Resolve(ctx, key)
	if err != nil {
		return Detail{}, err
	}
	detail := Detail{Device: d}
	p, err := s.Store.Posture(ctx, d.ID)
	if err != nil && !fleet.IsKind(err, fleet.NotFound) {
		return Detail{}, err
	}
	if err == nil {
		detail.Posture = &p
		decision, err := s.Store.Decision(ctx, p.Decision)
		if err != nil && !fleet.IsKind(err, fleet.NotFound) {
			return Detail{}, err
		}
		if err == nil {
			detail.Decision = &decision
		}
	}
	certificates, err := s.Store.Certificates(ctx, d.ID)
	if err != nil {
		return Detail{}, err
	}
	for i, c := range certificates {
		if c.Opens() && (detail.Certificate == nil || c.NotAfter.After(detail.Certificate.NotAfter)) {
			detail.Certificate = &certificates[i]
		}
	}
	return detail, nil
}

// Move is a step in a device's life: fleet.Device.Quarantine, Release, Retire.
type Move func(d fleet.Device, reason string, now time.Time) (fleet.Device, error)

// Move takes a device a step on, as the operator by wants and for a reason.
func (s *Service) Move(ctx context.Context, key, action, reason, by string, move Move) (fleet.Device, error) {
	d, err := s.Resolve(ctx, key)
	if err != nil {
		return d, err
	}
	now := s.Now()
	moved, err := move(d, reason, now)
	if err != nil || moved.Lifecycle == d.Lifecycle {
		return moved, err
	}
	change := fleet.Change{
		Devices: []fleet.Device{moved},
		Events:  []fleet.Event{fleet.NewEvent(now, by, "device."+action, string(d.ID), reason)},
	}
	if moved.Lifecycle == fleet.Quarantined {
		change.Restrict = moved.ID
	}
	if moved.Lifecycle == fleet.Retired {
		if err := s.retire(ctx, &change, moved, now); err != nil {
			return d, err
		}
	}
	if err := s.Store.Apply(ctx, change); err != nil {
		return d, err
	}
	moved.Revision++
	return moved, nil
}

// retire revokes what a retired device holds and closes its alerts.
func (s *Service) retire(ctx context.Context, change *fleet.Change, d fleet.Device, now time.Time) error {
	change.RevokeAll = d.ID
	open, err := s.Store.Alerts(ctx, fleet.AlertFilter{Subject: string(d.ID), Open: true})
	for _, a := range open {
		change.Alerts = append(change.Alerts, a.Resolve(now))
	}
	return err
}
