package store_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"troth/internal/fleet"
	"troth/internal/store"
	"troth/internal/store/storetest"
)

// atOnce applies changes together and returns what each was told.
func atOnce(ctx context.Context, s *store.Store, changes []fleet.Change) []error {
	told := make([]error, len(changes))
	var group sync.WaitGroup
	for i, c := range changes {
		group.Go(func() { told[i] = s.Apply(ctx, c) })
	}
	group.Wait()
	return told
}

// Changes that come together share a commit, and none shares another's fate.
func TestChangesAtOnce(t *testing.T) {
	s := storetest.Open(t, sqliteDSN(t))
	if err := s.Apply(t.Context(), pair(0)); err != nil {
		t.Fatal(err)
	}
	const n = 300
	var changes []fleet.Change
	for i := range n {
		c := pair(1 + i/2) // each twice, or once: one of the two is late
		if i%3 == 0 {      // fails in its last row, after the others were written
			c = pair(n + i)
			c.Events[0].ID = string(pairID(0))
		}
		changes = append(changes, c)
	}
	told := atOnce(t.Context(), s, changes)
	applied := map[int]int{}
	for i, err := range told {
		switch {
		case err != nil && !errors.Is(err, fleet.ErrConflict):
			t.Fatalf("change %d: %v", i, err)
		case i%3 == 0 && err == nil:
			t.Errorf("change %d has an event that was there and is told that it was written", i)
		case i%3 == 0 && pairRows(t, s, n+i) != 0:
			t.Errorf("change %d failed and left something", i)
		case i%3 != 0 && err == nil:
			applied[1+i/2]++
		}
	}
	for i := range n {
		if i%3 == 0 {
			continue
		}
		if there := pairThere(t, s, 1+i/2); !there || applied[1+i/2] != 1 {
			t.Errorf("change of %d was acknowledged %d times, and is there: %v", 1+i/2, applied[1+i/2], there)
		}
	}
}

// On a disk that fills up while many write, what was acknowledged is there and
// what was not is not.
func TestAttack_S9_DiskFullAtOnce(t *testing.T) {
	dsn := sqliteDSN(t)
	storetest.Open(t, dsn)
	s := storetest.Open(t, dsn, withPragma("max_page_count = 200"))
	var changes []fleet.Change
	for i := range 100 {
		c := event(fmt.Sprint(i))
		c.Events[0].Detail = strings.Repeat("x", 20_000)
		changes = append(changes, c)
	}
	told := atOnce(t.Context(), s, changes)
	events, err := s.Events(t.Context(), "", 1000)
	if err != nil {
		t.Fatal(err)
	}
	there := map[string]bool{}
	for _, e := range events {
		there[e.ID] = true
	}
	failed := 0
	for i, err := range told {
		if err != nil {
			failed++
			wantUnavailable(t, err)
		}
		if there[fmt.Sprint(i)] != (err == nil) {
			t.Errorf("change %d is there: %v, and was told %v", i, there[fmt.Sprint(i)], err)
		}
	}
	if failed == 0 || failed == len(told) {
		t.Errorf("%d of %d failed: the disk should fill up on the way", failed, len(told))
	}
}

// Who gives up before its turn has written nothing, and the others go on.
func TestGivesUpWaiting(t *testing.T) {
	dsn := sqliteDSN(t)
	s := storetest.Open(t, dsn)
	other, err := sql.Open("sqlite", strings.TrimPrefix(dsn, "sqlite:")+"?_txlock=immediate")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	tx, err := other.Begin()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	patient, gone := make(chan error, 1), make(chan error, 1)
	go func() { patient <- s.Apply(t.Context(), event("patient")) }()
	go func() { gone <- s.Apply(ctx, event("gone")) }()
	cancel()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Errorf("who gave up is told %v", err)
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := <-patient; err != nil {
		t.Errorf("who waited is told %v", err)
	}
	if events, err := s.Events(t.Context(), "", 10); err != nil || len(events) != 1 || events[0].ID != "patient" {
		t.Errorf("events %v, %v", events, err)
	}
}
