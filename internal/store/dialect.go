package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"net/url"
	"strings"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"troth/internal/fleet"
)

// dialect is all in which the two databases differ. Their SQL is the same: both
// take $1 for the first argument, ON CONFLICT, RETURNING and partial indexes.
type dialect interface {
	// prepare makes the database ready to be connected to; unlock is called
	// when the schema is up to date.
	prepare(ctx context.Context) (unlock func(), err error)
	connect(wrap func(driver.Connector) driver.Connector) (write, read *sql.DB, err error)
	goose() goose.Dialect
	// locker keeps two processes from migrating at once; nil if prepare did.
	locker() (lock.SessionLocker, error)
	// classify says what an error of the driver means.
	classify(err error) failure
}

func parseDSN(dsn string) (dialect, error) {
	scheme, rest, _ := strings.Cut(dsn, ":")
	switch scheme {
	case "sqlite":
		return parseSQLite(rest)
	case "postgres", "postgresql":
		return parsePostgres(dsn)
	default:
		return nil, fleet.Errorf(fleet.Invalid, "invalid_dsn", "a database is sqlite:PATH or postgres://…, not %q", scheme)
	}
}

func parseSQLite(rest string) (dialect, error) {
	path, query, _ := strings.Cut(rest, "?")
	path = strings.TrimPrefix(path, "//")
	if path == "" || strings.Contains(path, ":memory:") {
		return nil, fleet.Errorf(fleet.Invalid, "invalid_dsn", "sqlite: needs the path of a file")
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return nil, fleet.Because(err, fleet.Invalid, "invalid_dsn", "the parameters after ? are malformed")
	}
	d := sqliteDialect{path: path, synchronous: "FULL"}
	for key, v := range values {
		value := strings.ToUpper(v[0])
		if key != "synchronous" || len(v) != 1 || (value != "FULL" && value != "NORMAL") {
			return nil, fleet.Errorf(fleet.Invalid, "invalid_dsn", "sqlite: knows only synchronous=full and synchronous=normal, not %s=%s", key, v[0])
		}
		d.synchronous = value
	}
	return d, nil
}
