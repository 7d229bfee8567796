package storetest

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"troth/internal/fleet"
)

// testUniqueness: what there may be only one of.
func testUniqueness(t *testing.T, database Database) {
	t.Run("device names", func(t *testing.T) {
		s, ctx := Open(t, database(t)), context.Background()
		named := func(n int, name string, l fleet.Lifecycle) fleet.Device {
			d := device(n)
			d.Name, d.Lifecycle = name, l
			return d
		}
		apply(t, s, fleet.Change{Devices: []fleet.Device{named(1, "x", fleet.Active), named(2, "", fleet.Active), named(3, "", fleet.Pending)}})
		refuse(t, s, fleet.Change{Devices: []fleet.Device{named(4, "x", fleet.Pending)}}, "name_taken")
		renamed := named(2, "x", fleet.Quarantined)
		renamed.Revision = 1
		refuse(t, s, fleet.Change{Devices: []fleet.Device{renamed}}, "name_taken")
		apply(t, s, fleet.Change{Devices: []fleet.Device{named(5, "x", fleet.Retired), named(6, "x", fleet.Retired)}})
		// A retired device gives its name to its successor, in one change.
		retired := named(1, "x", fleet.Retired)
		retired.Revision = 1
		apply(t, s, fleet.Change{Devices: []fleet.Device{named(0, "x", fleet.Active), retired}})
		same(t, "of that name", len(get[[]fleet.Device](t)(s.Devices(ctx, fleet.DeviceFilter{Name: "x"}))), 4)
	})
	t.Run("EK keys", func(t *testing.T) {
		s := Open(t, database(t))
		keyed := func(n int, key string, l fleet.Lifecycle) fleet.Device {
			d := device(n)
			d.EKKey, d.Lifecycle = key, l
			return d
		}
		apply(t, s, fleet.Change{Devices: []fleet.Device{keyed(1, "k", fleet.Active), keyed(2, "", fleet.Active), keyed(3, "", fleet.Pending)}})
		refuse(t, s, fleet.Change{Devices: []fleet.Device{keyed(4, "k", fleet.Active)}}, "ek_shown_twice")
		again := keyed(2, "k", fleet.Active)
		again.Revision = 1
		refuse(t, s, fleet.Change{Devices: []fleet.Device{again}}, "ek_shown_twice")
		// A retired device does not come back as another one.
		retired := keyed(1, "k", fleet.Retired)
		retired.Revision = 1
		apply(t, s, fleet.Change{Devices: []fleet.Device{retired}})
		refuse(t, s, fleet.Change{Devices: []fleet.Device{again}}, "ek_shown_twice")
		refuse(t, s, fleet.Change{Devices: []fleet.Device{keyed(5, "k", fleet.Retired)}}, "ek_shown_twice")
	})
	t.Run("unresolved alerts", func(t *testing.T) {
		s := Open(t, database(t))
		apply(t, s, fleet.Change{Alerts: []fleet.Alert{alert("a", "s", "k"), alert("b", "s", "other"), alert("c", "other", "k")}})
		refuse(t, s, fleet.Change{Alerts: []fleet.Alert{alert("d", "s", "k")}}, "conflict")
		acknowledged := alert("a", "s", "k")
		acknowledged.State, acknowledged.Revision = fleet.AlertAcknowledged, 1
		apply(t, s, fleet.Change{Alerts: []fleet.Alert{acknowledged}})
		refuse(t, s, fleet.Change{Alerts: []fleet.Alert{alert("d", "s", "k")}}, "conflict")
		resolved := acknowledged.Resolve(epoch)
		resolved.Revision = 2
		apply(t, s, fleet.Change{Alerts: []fleet.Alert{alert("Z", "s", "k"), resolved}})
	})
	t.Run("rollouts", func(t *testing.T) { testRolloutUniqueness(t, database) })
	t.Run("identifiers", func(t *testing.T) {
		s := Open(t, database(t))
		event, decision := fill[fleet.Event](1), fill[fleet.Decision](2)
		apply(t, s, fleet.Change{Events: []fleet.Event{event}, Decisions: []fleet.Decision{decision}})
		refuse(t, s, fleet.Change{Events: []fleet.Event{event}}, "conflict")
		refuse(t, s, fleet.Change{Decisions: []fleet.Decision{decision}}, "conflict")
		decision.Kind = "another"
		refuse(t, s, fleet.Change{Counted: []fleet.Decision{decision}}, "conflict")
	})
}

// testRolloutUniqueness: beside a rollout in each state, another of the same
// model with the same or another version in each state.
func testRolloutUniqueness(t *testing.T, database Database) {
	s := Open(t, database(t))
	live := func(s fleet.RolloutState) bool { return s.Open() || s == fleet.RolloutProposed }
	states := []fleet.RolloutState{
		fleet.RolloutProposed, fleet.RolloutRunning, fleet.RolloutPaused, fleet.RolloutHalted, fleet.RolloutCompleted, fleet.RolloutAborted,
	}
	for _, first := range states {
		for _, second := range states {
			for _, version := range []string{"1", "2"} {
				model := fmt.Sprint(first, second, version)
				a, b := rollout("a"+model, model, "1", first), rollout("b"+model, model, version, second)
				apply(t, s, fleet.Change{Rollout: &a})
				conflict := first.Open() && second.Open() || version == "1" && live(first) && live(second)
				err := s.Apply(context.Background(), fleet.Change{Rollout: &b})
				if conflict != (err != nil) || (err != nil && !errors.Is(err, fleet.ErrConflict)) {
					t.Errorf("version %s %s beside version 1 %s: %v", version, second, first, err)
				}
			}
		}
	}
}
