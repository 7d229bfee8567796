package store_test

import (
	"database/sql"
	"database/sql/driver"
	"fmt"
	"path/filepath"
	"testing"

	"troth/internal/store"
)

// TestStatementsAreKept looks at connections as the store has them: a statement
// that is being read can be begun again, more statements than are kept all work,
// and a change of the schema reaches those that are kept.
func TestStatementsAreKept(t *testing.T) {
	var connector driver.Connector
	s, err := store.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "troth.db"), store.WithConnector(func(c driver.Connector) driver.Connector {
		if connector == nil { // the first one is the writer's
			connector = c
		}
		return c
	}))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	db := sql.OpenDB(connector)
	defer db.Close()
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	exec := func(query string, args ...any) {
		t.Helper()
		if _, err := conn.ExecContext(t.Context(), query, args...); err != nil {
			t.Fatal(query, err)
		}
	}
	exec("CREATE TABLE t (n INTEGER)")
	for n := range 3 {
		exec("INSERT INTO t VALUES ($1)", n)
	}
	pairs := 0
	outer, err := conn.QueryContext(t.Context(), "SELECT n FROM t")
	if err != nil {
		t.Fatal(err)
	}
	defer outer.Close()
	for outer.Next() {
		pairs += countRows(t, conn)
	}
	if err := outer.Err(); err != nil || pairs != 9 {
		t.Errorf("%d pairs of 3 rows, %v", pairs, err)
	}
	for round := range 2 {
		for n := range 600 {
			var got int
			if err := conn.QueryRowContext(t.Context(), fmt.Sprintf("SELECT $1 + %d", n), round).Scan(&got); err != nil || got != n+round {
				t.Fatalf("%d + %d is %d, %v", n, round, got, err)
			}
		}
	}
	exec("ALTER TABLE t ADD COLUMN m INTEGER NOT NULL DEFAULT 7")
	exec("UPDATE t SET m = n WHERE n = $1", 1)
	var sum int
	if err := conn.QueryRowContext(t.Context(), "SELECT SUM(m) FROM t").Scan(&sum); err != nil || sum != 15 {
		t.Errorf("the sum is %d, %v", sum, err)
	}
	if _, err := conn.ExecContext(t.Context(), "INSERT INTO nowhere VALUES (1)"); err == nil {
		t.Error("a table that is not there takes a row")
	}
}

// countRows reads table t to its end.
func countRows(t *testing.T, conn *sql.Conn) (n int) {
	t.Helper()
	rows, err := conn.QueryContext(t.Context(), "SELECT n FROM t")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		n++
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return n
}
