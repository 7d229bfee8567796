package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"sync/atomic"
)

// Store is a fleet in a database. It is safe for concurrent use.
type Store struct {
	dialect dialect
	write   *sql.DB // SQLite: one connection, so that writers queue instead of failing
	read    *sql.DB // PostgreSQL: the same pool
	group   *group  // nil: writers do not queue
	closed  atomic.Bool
}

// An Option changes how a store is opened.
type Option func(*options)

type options struct {
	wrap func(driver.Connector) driver.Connector
}

// WithConnector interposes wrap between the store and its driver: for traces,
// and for tests that make a statement fail.
func WithConnector(wrap func(driver.Connector) driver.Connector) Option {
	return func(o *options) { o.wrap = wrap }
}

// Open connects to the database that dsn names, brings its schema up to date
// and returns the store. Two processes that open the same database at once wait
// for each other.
//
// A dsn is one of
//
//	sqlite:/path/file.db           created (mode 0600) if absent; its directory must exist
//	sqlite:/path/file.db?synchronous=normal
//	postgres://user:password@host:port/database?sslmode=…
//
// With synchronous=full, the default, what Apply has written survives a power
// cut; with normal, a power cut may lose the last writes, but tears none. A dsn
// that is malformed is fleet.Invalid; a database that does not answer is
// fleet.Unavailable; one with a schema newer than this program is fleet.Refused.
func Open(ctx context.Context, dsn string, opts ...Option) (*Store, error) {
	o := options{wrap: func(c driver.Connector) driver.Connector { return c }}
	for _, opt := range opts {
		opt(&o)
	}
	d, err := parseDSN(dsn)
	if err != nil {
		return nil, err
	}
	s := &Store{dialect: d}
	unlock, err := d.prepare(ctx)
	if err != nil {
		return nil, s.wrap(ctx, "open database", err)
	}
	defer unlock()
	s.write, s.read, err = d.connect(o.wrap)
	if err != nil {
		return nil, s.wrap(ctx, "open database", err)
	}
	if s.write != s.read {
		s.group = newGroup(s.write)
	}
	if err := s.migrate(ctx); err != nil {
		return nil, errors.Join(s.wrap(ctx, "migrate database", err), s.Close())
	}
	return s, nil
}

// Close releases the database. Calls that are under way may fail.
func (s *Store) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	err := s.read.Close()
	if s.write != s.read {
		err = errors.Join(err, s.write.Close())
	}
	if err != nil {
		return fmt.Errorf("close database: %w", err)
	}
	return nil
}

// Ping reports whether the database answers.
func (s *Store) Ping(ctx context.Context) error {
	var one int
	err := s.read.QueryRowContext(ctx, "SELECT 1").Scan(&one)
	return s.wrap(ctx, "ping database", err)
}
