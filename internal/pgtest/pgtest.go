// Package pgtest gives tests a real PostgreSQL server.
//
// Each test binary that asks for one gets a private cluster made by initdb in a
// temporary directory, reachable only through a Unix socket in it, with
// fsync off (what is committed survives a crash of the server, not of the
// machine). It ends, and its directory goes, when the test binary ends,
// even by kill -9. Programs of PostgreSQL 13 or later are needed (Debian's
// package postgresql; tools/setup.sh installs it).
package pgtest

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Require names the environment variable that, set to 1, makes the absence of
// PostgreSQL a failure instead of a loud skip. make test sets it.
const Require = "TROTH_REQUIRE"

// databases numbers the databases of this process.
var databases atomic.Int64

// shared starts the cluster of this test binary at its first use. Nothing closes
// it: the supervisor sees the process end.
var shared = sync.OnceValues(start)

// New returns the connection string of a fresh, empty UTF-8 database owned by a
// superuser, for pgx and for libpq alike (a postgres:// URL with the socket's
// directory as its host parameter). The database is dropped, and whoever is
// still connected disconnected, when the test ends. Where PostgreSQL is not
// installed the test is skipped, or fails if TROTH_REQUIRE=1.
func New(t testing.TB) string {
	t.Helper()
	s, err := shared()
	if err != nil {
		unavailable(t, err)
	}
	return s.database(t)
}

// Server is a cluster of a test's own, which it may stop and start again to see
// what its loss does.
type Server struct {
	t testing.TB
	*cluster
}

// NewServer starts a cluster of the test's own, which takes a second or two. It
// skips or fails as New does.
func NewServer(t testing.TB) *Server {
	t.Helper()
	c, err := start()
	if err != nil {
		unavailable(t, err)
	}
	t.Cleanup(c.close)
	return &Server{t: t, cluster: c}
}

// Database returns the connection string of a fresh database, as New does.
func (s *Server) Database() string {
	s.t.Helper()
	return s.database(s.t)
}

// Stop ends the server at once, as a crash does: connections break and new ones
// are refused. Data that was committed is kept.
func (s *Server) Stop() {
	s.t.Helper()
	if err := s.control("-m", "immediate", "stop"); err != nil {
		s.t.Fatalf("stop PostgreSQL: %v", err)
	}
}

// Start starts a stopped server again, at the same address.
func (s *Server) Start() {
	s.t.Helper()
	if err := s.control("-l", s.dir+"/log", "start"); err != nil {
		s.t.Fatalf("start PostgreSQL: %v", err)
	}
}

func unavailable(t testing.TB, err error) {
	t.Helper()
	if missing := (*missingError)(nil); errors.As(err, &missing) && os.Getenv(Require) != "1" {
		t.Skipf("NOT TESTED: %v", missing)
	}
	t.Fatalf("PostgreSQL for tests: %v", err)
}

// database creates a database and drops it when the test ends.
func (c *cluster) database(t testing.TB) string {
	t.Helper()
	name := fmt.Sprintf("test_%d", databases.Add(1))
	if err := c.exec("CREATE DATABASE " + name + " TEMPLATE template0"); err != nil {
		t.Fatalf("create database: %v", err)
	}
	t.Cleanup(func() {
		// A test that stopped its own server leaves nothing to drop from.
		if err := c.exec("DROP DATABASE " + name + " WITH (FORCE)"); err != nil {
			t.Logf("drop database: %v", err)
		}
	})
	return c.url(name)
}

func (c *cluster) url(database string) string {
	u := url.URL{
		Scheme:   "postgres",
		User:     url.User("troth"),
		Path:     "/" + database,
		RawQuery: url.Values{"host": {c.dir}, "sslmode": {"disable"}}.Encode(),
	}
	return u.String()
}

func (c *cluster) exec(sql string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, c.url("postgres"))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	_, err = conn.Exec(ctx, sql)
	return err
}
