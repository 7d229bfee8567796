package store_test

import (
	"path/filepath"
	"testing"

	"troth/internal/pgtest"
	"troth/internal/store/storetest"
)

func sqliteDSN(t testing.TB) string { return "sqlite:" + filepath.Join(t.TempDir(), "troth.db") }

// databases are all that pass the contract.
func databases() map[string]storetest.Database {
	return map[string]storetest.Database{"SQLite": sqliteDSN, "PostgreSQL": pgtest.New}
}

func TestContract(t *testing.T) {
	for name, database := range databases() {
		t.Run(name, func(t *testing.T) { storetest.Run(t, database) })
	}
}
