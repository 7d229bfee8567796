package store_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pressly/goose/v3"

	"troth/internal/fleet"
	"troth/internal/store"
	"troth/internal/store/storetest"
)

// record writes testdata/released for the newest schema: once, when it is
// released. From then on its migrations and rows never change.
var record = flag.String("record", "", "record the newest schema as this version, five digits, in testdata/released")

// raw connects to a store's database without the store.
func raw(t testing.TB, dsn string) (*sql.DB, goose.Dialect) {
	t.Helper()
	name, source, dialect := "pgx", dsn, goose.DialectPostgres
	if path, ok := strings.CutPrefix(dsn, "sqlite:"); ok {
		name, source, dialect = "sqlite", path, goose.DialectSQLite3
	}
	db, err := sql.Open(name, source)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Errorf("close database: %v", err)
		}
	})
	return db, dialect
}

func TestOpenNewerSchema(t *testing.T) {
	for name, database := range databases() {
		t.Run(name, func(t *testing.T) {
			dsn := database(t)
			storetest.Open(t, dsn)
			db, _ := raw(t, dsn)
			if _, err := db.Exec("INSERT INTO schema_versions (version_id, is_applied) SELECT 99999, is_applied FROM schema_versions WHERE version_id = 1"); err != nil {
				t.Fatal(err)
			}
			s, err := store.Open(context.Background(), dsn)
			if err == nil {
				s.Close()
			}
			if fleet.CodeOf(err) != "schema_newer" || !fleet.IsKind(err, fleet.Refused) {
				t.Errorf("a program that is too old opened the database: %v", err)
			}
		})
	}
}

func TestMigrationsRunOnce(t *testing.T) {
	for name, database := range databases() {
		t.Run(name, func(t *testing.T) {
			dsn := database(t)
			storetest.Open(t, dsn)
			storetest.Open(t, dsn)
			db, _ := raw(t, dsn)
			var rows, versions int
			if err := db.QueryRow("SELECT COUNT(*), COUNT(DISTINCT version_id) FROM schema_versions").Scan(&rows, &versions); err != nil || rows != versions {
				t.Errorf("%d rows for %d versions: %v", rows, versions, err)
			}
		})
	}
}

// A database that any released version made, with rows of every kind in it, is
// opened by this version with nothing lost or changed.
func TestAttack_S5_UpgradeFromEveryReleasedSchema(t *testing.T) {
	if *record != "" {
		recordRelease(t, filepath.Join("testdata", "released", *record))
	}
	releases, err := filepath.Glob("testdata/released/*")
	if err != nil || len(releases) == 0 {
		t.Fatalf("no released schema: %v", err)
	}
	for _, dir := range releases {
		for name, database := range databases() {
			t.Run(filepath.Base(dir)+" "+name, func(t *testing.T) { testUpgrade(t, dir, database(t)) })
		}
	}
}

func testUpgrade(t *testing.T, dir, dsn string) {
	ctx := context.Background()
	db, dialect := raw(t, dsn)
	p, err := goose.NewProvider(dialect, db, os.DirFS(filepath.Join(dir, "migrations")), goose.WithTableName("schema_versions"), goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := p.UpByOne(ctx); errors.Is(err, goose.ErrNoNextVersion) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	loadRows(t, db, filepath.Join(dir, "rows.json"))
	s := storetest.Open(t, dsn)
	want, err := os.ReadFile(filepath.Join(dir, "contents.json"))
	if err != nil {
		t.Fatal(err)
	}
	if lost := storetest.Missing(t, s, want); lost != nil {
		t.Errorf("after the upgrade these are not what they were: %q", lost)
	}
	if _, err := s.TakeEnrollment(ctx, "enrolment"); err != nil {
		t.Errorf("enrolment: %v", err)
	}
	if err := s.Apply(ctx, fleet.Change{Events: []fleet.Event{{ID: "after the upgrade"}}}); err != nil {
		t.Errorf("write: %v", err)
	}
}

// A migration that was released is what it was.
func TestReleasedMigrationsNeverChange(t *testing.T) {
	released, err := filepath.Glob("testdata/released/*/migrations/*.sql")
	if err != nil || len(released) == 0 {
		t.Fatalf("no released migration: %v", err)
	}
	for _, path := range released {
		old, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		now, err := os.ReadFile(filepath.Join("migrations", filepath.Base(path)))
		if err != nil || !bytes.Equal(old, now) {
			t.Errorf("migrations/%s is not what was released: add a migration instead (%v)", filepath.Base(path), err)
		}
	}
}

// tables are in an order in which their rows can be inserted.
var tables = []string{
	"devices", "postures", "progress", "decisions", "blobs", "enrollments", "certificates", "manufacturers",
	"tokens", "alerts", "rollouts", "members", "events",
}

func recordRelease(t *testing.T, dir string) {
	t.Helper()
	if err := os.CopyFS(filepath.Join(dir, "migrations"), os.DirFS("migrations")); err != nil {
		t.Fatal(err)
	}
	dsn := sqliteDSN(t)
	s := storetest.Open(t, dsn)
	storetest.Populate(t, s)
	if err := s.SaveEnrollment(context.Background(), fleet.Enrollment{ID: "enrolment", Nonce: []byte{0, 1}}); err != nil {
		t.Fatal(err)
	}
	db, _ := raw(t, dsn)
	rows := map[string][]map[string]any{}
	for _, table := range tables {
		rows[table] = dumpTable(t, db, table)
	}
	text, err := json.MarshalIndent(rows, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"rows.json": text, "contents.json": storetest.Contents(t, s)} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func dumpTable(t *testing.T, db *sql.DB, table string) (list []map[string]any) {
	t.Helper()
	rows, err := db.Query("SELECT * FROM " + table)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	for rows.Next() {
		values, into, record := make([]any, len(columns)), make([]any, len(columns)), map[string]any{}
		for i := range values {
			into[i] = &values[i]
		}
		if err := rows.Scan(into...); err != nil {
			t.Fatal(err)
		}
		for i, column := range columns {
			record[column] = values[i]
			if b, ok := values[i].([]byte); ok {
				record[column] = map[string]string{"base64": base64.StdEncoding.EncodeToString(b)}
			}
		}
		list = append(list, record)
	}
	return list
}

func loadRows(t *testing.T, db *sql.DB, path string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var content map[string][]map[string]any
	if err := decoder.Decode(&content); err != nil {
		t.Fatal(err)
	}
	for _, table := range tables {
		if rows, released := content[table]; released && len(rows) == 0 {
			t.Errorf("%s has no rows of table %s", path, table)
		}
		for _, record := range content[table] {
			insertRow(t, db, table, record)
		}
	}
}

func insertRow(t *testing.T, db *sql.DB, table string, record map[string]any) {
	t.Helper()
	var columns, marks []string
	var values []any
	for column, v := range record {
		switch x := v.(type) {
		case json.Number:
			n, err := x.Int64()
			if err != nil {
				t.Fatal(err)
			}
			v = n
		case map[string]any:
			b, err := base64.StdEncoding.DecodeString(x["base64"].(string))
			if err != nil {
				t.Fatal(err)
			}
			v = b
		}
		columns, values = append(columns, column), append(values, v)
		marks = append(marks, fmt.Sprintf("$%d", len(values)))
	}
	query := "INSERT INTO " + table + " (" + strings.Join(columns, ", ") + ") VALUES (" + strings.Join(marks, ", ") + ")"
	if _, err := db.Exec(query, values...); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}
