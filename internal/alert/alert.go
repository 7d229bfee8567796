// Package alert is what people do with alerts. Postures and rollouts raise and
// resolve them, in the transaction of their cause.
package alert

import (
	"context"
	"time"

	"troth/internal/fleet"
)

// Store keeps alerts.
type Store interface {
	Alerts(ctx context.Context, f fleet.AlertFilter) ([]fleet.Alert, error)
	Alert(ctx context.Context, id string) (fleet.Alert, error)
	Apply(ctx context.Context, c fleet.Change) error
}

// Service is the use case.
type Service struct {
	Store Store
	Now   func() time.Time
}

// List is the alerts, newest first.
func (s *Service) List(ctx context.Context, f fleet.AlertFilter) ([]fleet.Alert, error) {
	return s.Store.Alerts(ctx, f)
}

// Acknowledge records that a person has seen the alert.
func (s *Service) Acknowledge(ctx context.Context, id, by string) (fleet.Alert, error) {
	a, err := s.Store.Alert(ctx, id)
	if err != nil {
		return a, err
	}
	now := s.Now()
	if a, err = a.Acknowledge(by, now); err != nil {
		return a, err
	}
	err = s.Store.Apply(ctx, fleet.Change{
		Alerts: []fleet.Alert{a},
		Events: []fleet.Event{fleet.NewEvent(now, by, "alert.acknowledge", a.ID, a.Title)},
	})
	a.Revision++
	return a, err
}
