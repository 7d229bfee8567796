package alert_test

import (
	"path/filepath"
	"testing"
	"time"

	"troth/internal/alert"
	"troth/internal/fleet"
	"troth/internal/store"
)

func TestAcknowledge(t *testing.T) {
	s, err := store.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "troth.db")+"?synchronous=normal")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	now := time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)
	service := &alert.Service{Store: s, Now: func() time.Time { return now }}
	raised := fleet.Raise(nil, fleet.Alert{Subject: "s", Key: "k", Title: "T"}, now)
	if err := s.Apply(t.Context(), fleet.Change{Alerts: []fleet.Alert{raised}}); err != nil {
		t.Fatal(err)
	}
	for _, by := range []string{"ada", "bob"} {
		a, err := service.Acknowledge(t.Context(), raised.ID, by)
		if err != nil || a.State != fleet.AlertAcknowledged || a.AcknowledgedBy != "ada" {
			t.Fatalf("acknowledged by %s: %+v, %v", by, a, err)
		}
	}
	open, err := service.List(t.Context(), fleet.AlertFilter{Open: true})
	if err != nil || len(open) != 1 || open[0].AcknowledgedBy != "ada" {
		t.Errorf("%+v, %v; an acknowledged alert is still one", open, err)
	}
	if err := s.Apply(t.Context(), fleet.Change{Alerts: []fleet.Alert{open[0].Resolve(now)}}); err != nil {
		t.Fatal(err)
	}
	if _, err := service.Acknowledge(t.Context(), raised.ID, "bob"); fleet.CodeOf(err) != "alert_resolved" {
		t.Errorf("a resolved alert: %v", err)
	}
	if _, err := service.Acknowledge(t.Context(), "nothing", "bob"); !fleet.IsKind(err, fleet.NotFound) {
		t.Errorf("no alert: %v", err)
	}
}
