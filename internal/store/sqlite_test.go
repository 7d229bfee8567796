package store_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"troth/internal/fleet"
	"troth/internal/store"
	"troth/internal/store/storetest"
)

// onConnect runs a pragma on each new connection, to set up a fault.
type onConnect struct {
	driver.Connector
	pragma string
}

func (c onConnect) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	_, err = conn.(driver.ExecerContext).ExecContext(ctx, c.pragma, nil)
	return conn, err
}

func withPragma(pragma string) store.Option {
	return store.WithConnector(func(c driver.Connector) driver.Connector { return onConnect{c, "PRAGMA " + pragma} })
}

func event(id string) fleet.Change { return fleet.Change{Events: []fleet.Event{{ID: id}}} }

func wantUnavailable(t *testing.T, err error) {
	t.Helper()
	if !fleet.IsKind(err, fleet.Unavailable) || fleet.CodeOf(err) != "store_unavailable" {
		t.Errorf("want store_unavailable, got %v", err)
	}
}

func TestAttack_S9_DiskFull(t *testing.T) {
	dsn, ctx := sqliteDSN(t), context.Background()
	storetest.Open(t, dsn)
	s := storetest.Open(t, dsn, withPragma("max_page_count = 100"))
	n := 0
	var err error
	for ; err == nil; n++ {
		big := event(fmt.Sprint(n))
		big.Events[0].Detail = strings.Repeat("x", 50_000)
		err = s.Apply(ctx, big)
	}
	wantUnavailable(t, err)
	events, err := s.Events(ctx, "", 0)
	if err != nil || len(events) != n-1 {
		t.Errorf("%d of %d events are readable on a full disk: %v", len(events), n-1, err)
	}
	if err := storetest.Open(t, dsn).Apply(ctx, event("room again")); err != nil {
		t.Errorf("with room again: %v", err)
	}
}

func TestAttack_S9_ReadOnly(t *testing.T) {
	dsn, ctx := sqliteDSN(t), context.Background()
	storetest.Open(t, dsn)
	s := storetest.Open(t, dsn, withPragma("query_only = on"))
	wantUnavailable(t, s.Apply(ctx, event("e")))
	if err := s.Ping(ctx); err != nil {
		t.Errorf("reading: %v", err)
	}
}

func TestAttack_S9_LockedByAnotherProcess(t *testing.T) {
	dsn, ctx := sqliteDSN(t), context.Background()
	s := storetest.Open(t, dsn, withPragma("busy_timeout = 50"))
	other, err := sql.Open("sqlite", strings.TrimPrefix(dsn, "sqlite:")+"?_txlock=immediate")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	tx, err := other.Begin()
	if err != nil {
		t.Fatal(err)
	}
	wantUnavailable(t, s.Apply(ctx, event("locked")))
	if _, err := s.Events(ctx, "", 0); err != nil {
		t.Errorf("a reader waits for a writer: %v", err)
	}
	short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	if err := storetest.Open(t, dsn).Apply(short, event("in a hurry")); err == nil || short.Err() == nil || fleet.IsKind(err, fleet.Unavailable) {
		t.Errorf("a caller's deadline while waiting: %v", err)
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := s.Apply(ctx, event("free")); err != nil {
		t.Errorf("free again: %v", err)
	}
}

func TestOpenWithoutDirectory(t *testing.T) {
	_, err := store.Open(context.Background(), "sqlite:"+filepath.Join(t.TempDir(), "missing", "troth.db"))
	wantUnavailable(t, err)
}

func TestOpenSomethingElse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notes.txt")
	words := []byte(strings.Repeat("these are my notes, not a database\n", 200))
	if err := os.WriteFile(path, words, 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err := store.Open(context.Background(), "sqlite:"+path); err == nil {
		s.Close()
		t.Error("opened a text file as a database")
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != string(words) {
		t.Error("the text file was changed")
	}
}

// The store's files are for nobody else to read, and a closed store is one file.
func TestFiles(t *testing.T) {
	dsn := sqliteDSN(t)
	dir := filepath.Dir(strings.TrimPrefix(dsn, "sqlite:"))
	s := storetest.Open(t, dsn)
	if err := s.Apply(context.Background(), event("e")); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v: %v", e.Name(), info.Mode(), err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if entries, err = os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("after Close there are %v, %v", entries, err)
	}
}

// Each statement finds its rows by an index and in the order it returns them, so
// that it does as well with a million devices.
func TestQueryPlans(t *testing.T) {
	dsn := sqliteDSN(t)
	statements := storetest.Statements(t, dsn)
	db, err := sql.Open("sqlite", strings.TrimPrefix(dsn, "sqlite:"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, st := range statements {
		if strings.Contains(st.Query, "schema_versions") || st.Query == "SELECT 1" {
			continue
		}
		for _, step := range plan(t, db, st) {
			few := strings.HasPrefix(step, "SCAN manufacturers") || strings.HasPrefix(step, "SCAN tokens")
			sorted := strings.Contains(step, "TEMP B-TREE") && !strings.Contains(st.Query, "FROM tokens") && !strings.Contains(st.Query, "FROM rollouts")
			if !few && (strings.HasPrefix(step, "SCAN") && !strings.Contains(step, "USING INDEX") || sorted) {
				t.Errorf("%s\n\t%s", st.Query, step)
			}
		}
	}
	if len(statements) < 40 {
		t.Errorf("only %d statements were seen", len(statements))
	}
}

func plan(t *testing.T, db *sql.DB, st storetest.Statement) (steps []string) {
	t.Helper()
	rows, err := db.Query("EXPLAIN QUERY PLAN "+st.Query, st.Args...)
	if err != nil {
		t.Fatalf("%s: %v", st.Query, err)
	}
	defer rows.Close()
	for rows.Next() {
		var id, parent, unused int
		var detail string
		if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
			t.Fatal(err)
		}
		steps = append(steps, detail)
	}
	return steps
}
