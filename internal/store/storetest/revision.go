package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"troth/internal/fleet"
	"troth/internal/store"
)

// testRevisions: a row that carries a revision is compared and swapped.
func testRevisions(t *testing.T, database Database) {
	rows := map[string]func(revision int64) fleet.Change{
		"device": func(r int64) fleet.Change {
			d := device(1)
			d.Revision = r
			return fleet.Change{Devices: []fleet.Device{d}}
		},
		"alert": func(r int64) fleet.Change {
			a := alert("a", "s", "k")
			a.Revision = r
			return fleet.Change{Alerts: []fleet.Alert{a}}
		},
		"policy bundle": func(r int64) fleet.Change {
			b := bundle(3, fleet.BundleVerified)
			b.Revision = r
			return fleet.Change{Bundles: []fleet.Bundle{b}}
		},
		"rollout": func(r int64) fleet.Change {
			o := rollout("r", "m", "1", fleet.RolloutRunning)
			o.Revision = r
			return fleet.Change{Rollout: &o}
		},
	}
	dsn := database(t)
	s, other := Open(t, dsn), Open(t, dsn)
	for name, change := range rows {
		t.Run(name, func(t *testing.T) {
			refuse(t, s, change(1), "conflict") // does not exist
			raceOnce(t, s, other, change(0))
			refuse(t, s, change(0), "conflict") // exists
			apply(t, s, change(1))
			refuse(t, s, change(1), "conflict") // stale
			refuse(t, s, change(3), "conflict") // from the future
			for revision := int64(2); revision <= 20; revision++ {
				raceOnce(t, s, other, change(revision))
			}
		})
	}
	t.Run("creation", func(t *testing.T) {
		// Both writers collide in the id and in the name; the answer is about the id.
		for n := 100; n < 150; n++ {
			raceOnce(t, s, other, fleet.Change{Devices: []fleet.Device{device(n)}})
		}
	})
	t.Run("no update is lost", func(t *testing.T) { testNoLostUpdate(t, database) })
	t.Run("opposite orders", func(t *testing.T) { testOppositeOrders(t, database) })
}

// raceOnce applies one change through two stores: exactly one wins.
func raceOnce(t *testing.T, a, b *store.Store, c fleet.Change) {
	t.Helper()
	results := make(chan error, 2)
	for _, s := range []*store.Store{a, b} {
		go func() { results <- s.Apply(context.Background(), c) }()
	}
	first, second := <-results, <-results
	if first != nil {
		first, second = second, first
	}
	if first != nil || !errors.Is(second, fleet.ErrConflict) {
		t.Fatalf("one of two writers must win and the other conflict: %v, %v", first, second)
	}
}

func testNoLostUpdate(t *testing.T, database Database) {
	const writers, updates = 4, 10
	dsn, ctx := database(t), context.Background()
	s := Open(t, dsn)
	d := device(1)
	d.LastNonce = 0
	apply(t, s, fleet.Change{Devices: []fleet.Device{d}})
	var group sync.WaitGroup
	for w := range writers {
		s := Open(t, dsn)
		group.Go(func() {
			for n := range updates {
				for {
					d, err := s.Device(ctx, id(1))
					if err != nil {
						t.Error(err)
						return
					}
					d.LastNonce++
					err = s.Apply(ctx, fleet.Change{Devices: []fleet.Device{d}, Events: []fleet.Event{{ID: fmt.Sprintf("%d/%d", w, n)}}})
					if err == nil {
						break
					}
					if !errors.Is(err, fleet.ErrConflict) {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	group.Wait()
	same(t, "count", get[fleet.Device](t)(s.Device(ctx, id(1))).LastNonce, int64(writers*updates))
	same(t, "events", len(get[[]fleet.Event](t)(s.Events(ctx, "", 0))), writers*updates)
}

// testOppositeOrders: changes of the same rows in opposite orders do not wait
// for each other for ever, and do not fail but by conflict.
func testOppositeOrders(t *testing.T, database Database) {
	dsn, ctx := database(t), context.Background()
	s := Open(t, dsn)
	apply(t, s, fleet.Change{Devices: []fleet.Device{device(1), device(2)}})
	var group sync.WaitGroup
	for _, order := range [][]fleet.DeviceID{{id(1), id(2)}, {id(2), id(1)}} {
		s := Open(t, dsn)
		group.Go(func() {
			for range 25 {
				var c fleet.Change
				for _, id := range order {
					d, err := s.Device(ctx, id)
					if err != nil {
						t.Error(err)
						return
					}
					c.Devices = append(c.Devices, d)
				}
				c.Blobs = []fleet.Blob{blob(string(order[0])), blob(string(order[1]))}
				if err := s.Apply(ctx, c); err != nil && !errors.Is(err, fleet.ErrConflict) {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
}
