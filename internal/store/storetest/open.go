package storetest

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"troth/internal/fleet"
	"troth/internal/store"
)

// testOpen: a database is opened, reopened, and opened by two at once.
func testOpen(t *testing.T, database Database) {
	t.Run("again", func(t *testing.T) {
		dsn := database(t)
		first := Open(t, dsn)
		Populate(t, first)
		want := read(t, first)
		for range 2 {
			if err := first.Close(); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 {
			s := Open(t, dsn)
			same(t, "contents", read(t, s), want)
			if err := s.Ping(context.Background()); err != nil {
				t.Errorf("ping: %v", err)
			}
		}
	})
	t.Run("at once", func(t *testing.T) {
		dsn := database(t)
		var group sync.WaitGroup
		for n := range 4 {
			group.Go(func() {
				s, err := store.Open(context.Background(), dsn)
				if err != nil {
					t.Errorf("open: %v", err)
					return
				}
				defer s.Close()
				if err := s.Apply(context.Background(), fleet.Change{Events: []fleet.Event{{ID: fmt.Sprint(n)}}}); err != nil {
					t.Errorf("apply: %v", err)
				}
			})
		}
		group.Wait()
		same(t, "events", len(get[[]fleet.Event](t)(Open(t, dsn).Events(context.Background(), "", 0))), 4)
	})
	t.Run("cancelled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if s, err := store.Open(ctx, database(t)); err == nil {
			s.Close()
			t.Error("opened although cancelled")
		}
	})
}

// everyCall calls each method that reaches the database once.
func everyCall(ctx context.Context, s *store.Store) map[string]error {
	result := everyRead(ctx, s)
	result["Apply"] = s.Apply(ctx, fleet.Change{Events: []fleet.Event{{ID: "e"}}})
	result["SaveEnrollment"] = s.SaveEnrollment(ctx, fleet.Enrollment{ID: "e"})
	_, result["ExpireEnrollments"] = s.ExpireEnrollments(ctx, epoch)
	result["Ping"] = s.Ping(ctx)
	return result
}

// Unavailable checks that each method of a store whose database is away says so.
func Unavailable(t testing.TB, s *store.Store) {
	t.Helper()
	for name, err := range everyCall(context.Background(), s) {
		if !fleet.IsKind(err, fleet.Unavailable) || fleet.CodeOf(err) != "store_unavailable" {
			t.Errorf("%s without a database: %v", name, err)
		}
	}
}
