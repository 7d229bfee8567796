package storetest

import (
	"context"
	"database/sql/driver"
	"errors"
	"sync"
)

// errFault is what a faulty connection answers.
var errFault = errors.New("injected fault")

// faultMode says what happens to the operation that a fault hits.
type faultMode int

const (
	failed    faultMode = iota // it is not done
	lost                       // it is done, and the answer is lost
	cancelled                  // it is not done, because the caller gave up
)

// faults makes one operation of a transaction fail: a statement or the commit.
// It also remembers the statements it saw.
type faults struct {
	mu     sync.Mutex
	armed  bool
	left   int // operations before the one that is hit
	mode   faultMode
	cancel context.CancelFunc
	seen   []statement
}

type statement struct {
	query string
	args  []driver.NamedValue
}

// arm makes the n-th operation from now fail, counted from 0.
func (f *faults) arm(n int, mode faultMode, cancel context.CancelFunc) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.armed, f.left, f.mode, f.cancel = true, n, mode, cancel
}

// disarm reports whether the fault was hit.
func (f *faults) disarm() (hit bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	hit = !f.armed
	f.armed = false
	return hit
}

// around does an operation, or not.
func (f *faults) around(do, undo func() error) error {
	f.mu.Lock()
	hit := f.armed && f.left == 0
	if f.armed {
		f.left--
	}
	if hit {
		f.armed = false
	}
	mode, cancel := f.mode, f.cancel
	f.mu.Unlock()
	switch {
	case !hit:
		return do()
	case mode == lost:
		return errors.Join(do(), errFault)
	case mode == cancelled:
		cancel()
		return errors.Join(undo(), context.Canceled)
	default:
		return errors.Join(undo(), errFault)
	}
}

func (f *faults) record(query string, args []driver.NamedValue) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seen = append(f.seen, statement{query, args})
}

// wrap interposes the faults on the connections of c.
func (f *faults) wrap(c driver.Connector) driver.Connector { return faultyConnector{c, f} }

type faultyConnector struct {
	driver.Connector
	faults *faults
}

func (c faultyConnector) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return &faultyConn{conn, c.faults}, nil
}

// faultyConn forwards the optional interfaces that both drivers have.
type faultyConn struct {
	driver.Conn
	faults *faults
}

func nothing() error { return nil }

func (c *faultyConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (result driver.Result, err error) {
	c.faults.record(query, args)
	err = c.faults.around(func() error {
		result, err = c.Conn.(driver.ExecerContext).ExecContext(ctx, query, args)
		return err
	}, nothing)
	return result, err
}

func (c *faultyConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	c.faults.record(query, args)
	return c.Conn.(driver.QueryerContext).QueryContext(ctx, query, args)
}

func (c *faultyConn) BeginTx(ctx context.Context, o driver.TxOptions) (driver.Tx, error) {
	tx, err := c.Conn.(driver.ConnBeginTx).BeginTx(ctx, o)
	if err != nil {
		return nil, err
	}
	return faultyTx{tx, c.faults}, nil
}

func (c *faultyConn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	return c.Conn.(driver.ConnPrepareContext).PrepareContext(ctx, query)
}

func (c *faultyConn) Ping(ctx context.Context) error { return c.Conn.(driver.Pinger).Ping(ctx) }

func (c *faultyConn) ResetSession(ctx context.Context) error {
	return c.Conn.(driver.SessionResetter).ResetSession(ctx)
}

func (c *faultyConn) IsValid() bool {
	v, ok := c.Conn.(driver.Validator)
	return !ok || v.IsValid()
}

func (c *faultyConn) CheckNamedValue(v *driver.NamedValue) error {
	if checker, ok := c.Conn.(driver.NamedValueChecker); ok {
		return checker.CheckNamedValue(v)
	}
	return driver.ErrSkip
}

type faultyTx struct {
	driver.Tx
	faults *faults
}

func (tx faultyTx) Commit() error { return tx.faults.around(tx.Tx.Commit, tx.Tx.Rollback) }
