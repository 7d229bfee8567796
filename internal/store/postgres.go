package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"troth/internal/fleet"
)

const (
	postgresConnections = 16
	postgresConnectTime = 10 * time.Second
	postgresLock        = 0x74726f7468 // "troth": the advisory lock under which the schema changes
)

type postgresDialect struct{ config *pgx.ConnConfig }

func parsePostgres(dsn string) (dialect, error) {
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		// The cause is left out: it may quote the password.
		return nil, fleet.Errorf(fleet.Invalid, "invalid_dsn", "the postgres:// URL is malformed")
	}
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = postgresConnectTime
	}
	if config.RuntimeParams["application_name"] == "" {
		config.RuntimeParams["application_name"] = "trothd"
	}
	return postgresDialect{config}, nil
}

func (d postgresDialect) prepare(context.Context) (func(), error) { return func() {}, nil }

func (d postgresDialect) connect(wrap func(driver.Connector) driver.Connector) (write, read *sql.DB, err error) {
	db := sql.OpenDB(wrap(stdlib.GetConnector(*d.config)))
	db.SetMaxOpenConns(postgresConnections)
	db.SetMaxIdleConns(postgresConnections)
	db.SetConnMaxIdleTime(5 * time.Minute)
	return db, db, nil
}

func (d postgresDialect) goose() goose.Dialect { return goose.DialectPostgres }

func (d postgresDialect) locker() (lock.SessionLocker, error) {
	return lock.NewPostgresSessionLocker(lock.WithLockID(postgresLock), lock.WithLockTimeout(1, 120))
}

// classify follows PostgreSQL's appendix A, error codes.
func (d postgresDialect) classify(err error) failure {
	var e *pgconn.PgError
	if !errors.As(err, &e) {
		return classifyTransport(err)
	}
	switch e.Code {
	case "23505": // unique_violation
		return failure{kind: duplicate, name: e.ConstraintName == "devices_name_taken", key: e.ConstraintName == "devices_ek_key_taken"}
	case "40001", "40P01": // serialization_failure, deadlock_detected
		return failure{kind: duplicate}
	case "25006", "55P03": // read_only_sql_transaction, lock_not_available
		return failure{kind: away}
	}
	switch e.Code[:2] {
	// connection; authorization; no such database; resources (disk full); operator
	// intervention (shutdown, statement timeout); system error
	case "08", "28", "3D", "53", "57", "58":
		return failure{kind: away}
	}
	return failure{}
}

func classifyTransport(err error) failure {
	var connectErr *pgconn.ConnectError
	var netErr net.Error
	if errors.As(err, &connectErr) || errors.As(err, &netErr) || pgconn.SafeToRetry(err) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) {
		return failure{kind: away}
	}
	return failure{}
}
