package store

import (
	"context"
	"database/sql/driver"
	"errors"
	"strings"
)

// maxPrepared bounds the statements that one connection keeps.
const maxPrepared = 256

// prepares makes connections that compile each statement once. The store has a
// few dozen of them, and SQLite takes as long to compile one as to run it.
type prepares struct{ driver.Connector }

// fullConn is what a connection of the SQLite driver can do.
type fullConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.QueryerContext
	driver.Pinger
	driver.SessionResetter
	driver.Validator
}

// Connect implements driver.Connector.
func (p prepares) Connect(ctx context.Context) (driver.Conn, error) {
	c, err := p.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	full, ok := c.(fullConn)
	if !ok {
		return c, nil
	}
	return &preparedConn{fullConn: full, kept: map[string]*prepared{}}, nil
}

// preparedConn keeps what it compiled. Like every driver.Conn it is used by one
// goroutine at a time.
type preparedConn struct {
	fullConn
	kept map[string]*prepared
	uses uint64
}

type prepared struct {
	driver.Stmt
	run  driver.StmtExecContext
	ask  driver.StmtQueryContext
	busy bool   // its rows are still being read
	last uint64 // use, as counted by the connection
}

// statement is the query compiled, or nil where it is to be run without being
// kept: what is not one of ours, as in migrations, and what is being read.
func (c *preparedConn) statement(ctx context.Context, query string) (*prepared, error) {
	c.uses++
	if p := c.kept[query]; p != nil {
		if p.busy {
			return nil, nil
		}
		p.last = c.uses
		return p, nil
	}
	if verb, _, _ := strings.Cut(query, " "); !keeps(verb) {
		return nil, nil
	}
	s, err := c.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	run, runs := s.(driver.StmtExecContext)
	ask, asks := s.(driver.StmtQueryContext)
	if !runs || !asks {
		return nil, s.Close()
	}
	p := &prepared{Stmt: s, run: run, ask: ask, last: c.uses}
	if err := c.makeRoom(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	c.kept[query] = p
	return p, nil
}

func keeps(verb string) bool {
	switch verb {
	case "SELECT", "INSERT", "UPDATE", "DELETE", "SAVEPOINT", "RELEASE", "ROLLBACK":
		return true
	}
	return false
}

// makeRoom forgets the statement that was not used for longest, if there are as
// many as there may be.
func (c *preparedConn) makeRoom() error {
	if len(c.kept) < maxPrepared {
		return nil
	}
	oldest := ""
	for query, p := range c.kept {
		if !p.busy && (oldest == "" || p.last < c.kept[oldest].last) {
			oldest = query
		}
	}
	p := c.kept[oldest]
	if p == nil {
		return nil
	}
	delete(c.kept, oldest)
	return p.Close()
}

// ExecContext implements driver.ExecerContext.
func (c *preparedConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	p, err := c.statement(ctx, query)
	switch {
	case err != nil:
		return nil, err
	case p == nil:
		return c.fullConn.ExecContext(ctx, query, args)
	}
	return p.run.ExecContext(ctx, args)
}

// QueryContext implements driver.QueryerContext.
func (c *preparedConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	p, err := c.statement(ctx, query)
	switch {
	case err != nil:
		return nil, err
	case p == nil:
		return c.fullConn.QueryContext(ctx, query, args)
	}
	rows, err := p.ask.QueryContext(ctx, args)
	if err != nil {
		return nil, err
	}
	p.busy = true
	return &preparedRows{Rows: rows, of: p}, nil
}

// preparedRows give their statement back when they are closed.
type preparedRows struct {
	driver.Rows
	of *prepared
}

// Close implements driver.Rows.
func (r *preparedRows) Close() error {
	r.of.busy = false
	return r.Rows.Close()
}

// Close implements driver.Conn.
func (c *preparedConn) Close() error {
	var err error
	for _, p := range c.kept {
		err = errors.Join(err, p.Close())
	}
	c.kept = nil
	return errors.Join(err, c.fullConn.Close())
}

// Unwrap is the driver's own connection.
func (c *preparedConn) Unwrap() driver.Conn { return c.fullConn }
