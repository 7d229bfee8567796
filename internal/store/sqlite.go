package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

const (
	sqliteBusyTimeout = "10000" // milliseconds a writer of another process may take
	sqliteReaders     = 8
	// Pages of the log before it is brought into the database's file: most of what
	// many small commits write are the same pages again.
	sqliteCheckpoint = "wal_autocheckpoint(4000)"
)

type sqliteDialect struct {
	path        string
	synchronous string
}

// prepare creates the file so that nobody else can read it (SQLite gives its
// journal the same mode) and takes the lock under which WAL mode and the schema
// are set up.
func (d sqliteDialect) prepare(ctx context.Context) (func(), error) {
	unlock, err := lockDirectory(ctx, filepath.Dir(d.path))
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(d.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		unlock()
		return nil, err
	}
	return unlock, nil
}

func (d sqliteDialect) connect(wrap func(driver.Connector) driver.Connector) (write, read *sql.DB, err error) {
	open := func(connections int, more url.Values) (*sql.DB, error) {
		path, err := filepath.Abs(d.path)
		if err != nil {
			return nil, err
		}
		more.Set("_busy_timeout", sqliteBusyTimeout)
		more.Set("_foreign_keys", "on")
		more.Set("_synchronous", d.synchronous)
		more.Set("_dqs", "false")
		more.Set("_error_rc", "true")
		c, err := sqlite.NewConnector((&url.URL{Scheme: "file", Path: path, RawQuery: more.Encode()}).String())
		if err != nil {
			return nil, err
		}
		db := sql.OpenDB(wrap(prepares{c}))
		db.SetMaxOpenConns(connections)
		db.SetMaxIdleConns(connections)
		return db, nil
	}
	// A transaction that is going to write takes the write lock at once: one that
	// began as a reader could not, once another has written (SQLITE_BUSY_SNAPSHOT).
	write, err = open(1, url.Values{"_txlock": {"immediate"}, "_journal_mode": {"WAL"}, "_pragma": {sqliteCheckpoint}})
	if err != nil {
		return nil, nil, err
	}
	read, err = open(sqliteReaders, url.Values{"_query_only": {"on"}})
	if err != nil {
		return nil, nil, errors.Join(err, write.Close())
	}
	return write, read, nil
}

func (d sqliteDialect) goose() goose.Dialect { return goose.DialectSQLite3 }

func (d sqliteDialect) locker() (lock.SessionLocker, error) { return nil, nil }

func (d sqliteDialect) classify(err error) failure {
	var pathErr *os.PathError
	if errors.As(err, &pathErr) {
		return failure{kind: away}
	}
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return failure{}
	}
	switch e.Code() {
	case sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY:
		// SQLite names the columns of the violated index, not the index.
		return failure{kind: duplicate, name: strings.Contains(e.Error(), "devices.name"), key: strings.Contains(e.Error(), "devices.ek_key")}
	}
	switch e.Code() & 0xff { // the primary result code
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_READONLY,
		sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PROTOCOL,
		sqlite3.SQLITE_PERM, sqlite3.SQLITE_INTERRUPT:
		return failure{kind: away}
	}
	return failure{}
}
