package store_test

import (
	"context"
	"path/filepath"
	"testing"

	"troth/internal/fleet"
	"troth/internal/pgtest"
	"troth/internal/store"
	"troth/internal/store/storetest"
)

func sqliteDSN(t testing.TB) string { return "sqlite:" + filepath.Join(t.TempDir(), "troth.db") }

// databases are all that keep the contract.
func databases() map[string]storetest.Database {
	return map[string]storetest.Database{"SQLite": sqliteDSN, "PostgreSQL": pgtest.New}
}

func TestContract(t *testing.T) {
	for name, database := range databases() {
		t.Run(name, func(t *testing.T) { storetest.Run(t, database) })
	}
}

func TestDSN(t *testing.T) {
	for _, dsn := range []string{
		"", "x", "/var/lib/troth.db", "mysql://localhost/troth", "sqlite:", "sqlite://", "sqlite::memory:", "sqlite:?synchronous=full",
		"sqlite:a.db?synchronous=off", "sqlite:a.db?journal=delete", "sqlite:a.db?synchronous=full&synchronous=normal", "sqlite:a.db?%zz",
		"postgres://host:port/db", "postgres://u:secret@h/db?sslmode=perhaps",
	} {
		s, err := store.Open(context.Background(), dsn)
		if err == nil {
			s.Close()
		}
		if !fleet.IsKind(err, fleet.Invalid) || fleet.CodeOf(err) != "invalid_dsn" {
			t.Errorf("%q: %v", dsn, err)
		}
	}
	dir := t.TempDir()
	t.Chdir(dir)
	for _, dsn := range []string{
		"sqlite:" + dir + "/a.db", "sqlite://" + dir + "/b.db", "sqlite:c.db", "sqlite:d%20 é#;'.db?synchronous=normal", "sqlite:e.db?synchronous=FULL",
	} {
		storetest.Open(t, dsn)
	}
	for _, name := range []string{"a.db", "b.db", "c.db", "d%20 é#;'.db", "e.db"} {
		if found, err := filepath.Glob(name); err != nil || len(found) != 1 {
			t.Errorf("%s was not created", name)
		}
	}
}
