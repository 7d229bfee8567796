package store_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"troth/internal/fleet"
	"troth/internal/pgtest"
	"troth/internal/store"
	"troth/internal/store/storetest"
)

// The server goes away and comes back: while it is away each call says so, and
// afterwards the same store works, with what was acknowledged in it.
func TestAttack_S9_PostgreSQLGone(t *testing.T) {
	server, ctx := pgtest.NewServer(t), context.Background()
	dsn := server.Database()
	s := storetest.Open(t, dsn)
	storetest.Populate(t, s)
	before := storetest.Contents(t, s)
	server.Stop()
	storetest.Unavailable(t, s)
	if other, err := store.Open(ctx, dsn); err == nil {
		other.Close()
		t.Error("opened a database that is away")
	} else {
		wantUnavailable(t, err)
	}
	server.Start()
	if lost := storetest.Missing(t, s, before); lost != nil {
		t.Errorf("lost: %q", lost)
	}
	if err := s.Apply(ctx, event("back again")); err != nil {
		t.Errorf("write, with the server back: %v", err)
	}
}

// The server goes away in the middle of many writes: each is acknowledged and
// there, or answered as unavailable and there whole or not at all.
func TestAttack_S9_PostgreSQLGoneWhileWriting(t *testing.T) {
	server, ctx := pgtest.NewServer(t), context.Background()
	s := storetest.Open(t, server.Database())
	var group sync.WaitGroup
	results := make(chan map[int]error, 4)
	for w := range 4 {
		group.Go(func() { results <- writePairs(ctx, s, w*100_000, time.Now().Add(30*time.Second)) })
	}
	time.Sleep(300 * time.Millisecond)
	server.Stop()
	group.Wait()
	server.Start()
	close(results)
	acknowledged := 0
	for result := range results {
		for n, err := range result {
			if err == nil {
				acknowledged++
			} else {
				wantUnavailable(t, err)
			}
			if there := pairThere(t, s, n); err == nil && !there {
				t.Errorf("change %d was acknowledged and is lost", n)
			}
		}
	}
	if acknowledged == 0 {
		t.Error("nothing was written before the server stopped")
	}
}

// A server that is told to refuse writes, or to give up early, is unavailable.
func TestAttack_S9_PostgreSQLRefuses(t *testing.T) {
	dsn, ctx := pgtest.New(t), context.Background()
	storetest.Open(t, dsn)
	readOnly := storetest.Open(t, dsn+"&default_transaction_read_only=on")
	wantUnavailable(t, readOnly.Apply(ctx, event("e")))
	if err := readOnly.Ping(ctx); err != nil {
		t.Errorf("ping: %v", err)
	}
	impatient := storetest.Open(t, dsn+"&lock_timeout=50")
	db, _ := raw(t, dsn)
	tx, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec("LOCK TABLE events"); err != nil {
		t.Fatal(err)
	}
	wantUnavailable(t, impatient.Apply(ctx, event("e")))
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if err := storetest.Open(t, dsn).Apply(short, event("e")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a caller's deadline while waiting: %v", err)
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := impatient.Apply(ctx, event("e")); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// A password in a dsn is in no error.
func TestPasswordIsNotInErrors(t *testing.T) {
	for _, dsn := range []string{"postgres://u:hunter2@127.0.0.1:1/db?sslmode=disable", "postgres://u:hunter2@host:x/db", "postgres://u:hunter2@h/db?sslmode=x"} {
		_, err := store.Open(context.Background(), dsn)
		if err == nil {
			t.Fatalf("opened %s", dsn)
		}
		for e := err; e != nil; e = errors.Unwrap(e) {
			if text := e.Error(); strings.Contains(text, "hunter2") {
				t.Errorf("%s", text)
			}
		}
		if !fleet.IsKind(err, fleet.Invalid) && !fleet.IsKind(err, fleet.Unavailable) {
			t.Errorf("%v", err)
		}
	}
}
