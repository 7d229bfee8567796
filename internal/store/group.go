package store

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"sync"
)

// maxGroup is how many changes share one commit at most. It bounds what one
// failure has to be tried again for.
const maxGroup = 64

// group lets changes that wait for a database with one writer share a commit,
// and with it the one slow step: the sync to disk. While one commit is under way
// the next ones gather; each of them succeeds or fails by itself (SQLite,
// "Savepoints"), and is told so after the commit. Savepoints cost a copy of each
// page that is written, so they are made only once one of a group has failed.
type group struct {
	db    *sql.DB
	turn  chan struct{} // held by whoever writes; of one element
	mu    sync.Mutex
	queue []*job
}

// job is one change that waits.
type job struct {
	ctx  context.Context
	do   func(*writer) error
	err  error
	done chan struct{} // closed when err is known
}

func newGroup(db *sql.DB) *group { return &group{db: db, turn: make(chan struct{}, 1)} }

// run has the change written with whatever else waits. A caller whose context
// ends takes it back, unless it is being written already.
func (g *group) run(ctx context.Context, do func(*writer) error) error {
	j := &job{ctx: ctx, do: do, done: make(chan struct{})}
	g.mu.Lock()
	g.queue = append(g.queue, j)
	g.mu.Unlock()
	for {
		select {
		case <-j.done:
			return j.err
		case g.turn <- struct{}{}:
			g.lead(j)
		case <-ctx.Done():
			if g.withdraw(j) {
				return ctx.Err()
			}
			<-j.done
			return j.err
		}
	}
}

// withdraw takes a job out of the queue; false: it is not there any more.
func (g *group) withdraw(j *job) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	i := slices.Index(g.queue, j)
	if i >= 0 {
		g.queue = slices.Delete(g.queue, i, i+1)
	}
	return i >= 0
}

// take empties the queue, up to a bound.
func (g *group) take() []*job {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := min(len(g.queue), maxGroup)
	batch := slices.Clone(g.queue[:n])
	g.queue = slices.Delete(g.queue, 0, n)
	return batch
}

// lead waits for the database on behalf of one job, writes what waits by then in
// the order in which it came, and gives the turn back.
func (g *group) lead(j *job) {
	defer func() { <-g.turn }()
	select {
	case <-j.done: // somebody led it before this turn came
		return
	default:
	}
	// Only until the transaction has begun does it end with its leader's context:
	// the others' statements are in it.
	steady := context.WithoutCancel(j.ctx)
	ctx, cancel := context.WithCancel(steady)
	defer cancel()
	stop := context.AfterFunc(j.ctx, cancel)
	tx, err := g.db.BeginTx(ctx, nil)
	if err == nil {
		defer tx.Rollback() // does nothing after Commit
	}
	if !stop() {
		return // run sees that its context has ended
	}
	batch, ended := g.take(), false
	defer func() {
		for _, j := range batch {
			if !ended { // one of them panics
				j.err = errNotEnded
			}
			close(j.done)
		}
	}()
	if err != nil {
		fail(batch, err)
	} else {
		g.write(steady, tx, batch)
	}
	ended = true
}

var errNotEnded = errors.New("the database's writer did not end its work")

func fail(batch []*job, err error) {
	for _, j := range batch {
		j.err = err
	}
}

// write writes a batch, in the transaction that has begun if all goes well. It
// seldom does not: then it begins anew and sets those apart that fail.
func (g *group) write(ctx context.Context, tx *sql.Tx, batch []*job) {
	if together(ctx, tx, batch) || len(batch) == 1 {
		return
	}
	tx, err := g.db.BeginTx(ctx, nil)
	if err != nil {
		fail(batch, err)
		return
	}
	defer tx.Rollback() // does nothing after Commit
	if apart(ctx, tx, batch) {
		return
	}
	// SQLite gave up the whole transaction over one of them, as where the disk is
	// full.
	_ = tx.Rollback()
	for _, j := range batch {
		j.err = alone(j.ctx, g.db, j.do)
	}
}

// together writes a batch if every one of it succeeds, and reports whether its
// fate is known. If not, none of it was written.
func together(ctx context.Context, tx *sql.Tx, batch []*job) bool {
	for _, j := range batch {
		if j.err = j.ctx.Err(); j.err != nil {
			continue
		}
		if j.err = j.do(&writer{ctx: ctx, tx: tx}); j.err != nil {
			_ = tx.Rollback()
			return false
		}
	}
	commit(tx, batch)
	return true
}

// apart writes those of a batch that succeed. It reports false where none of it
// was written and each must be tried by itself.
func apart(ctx context.Context, tx *sql.Tx, batch []*job) bool {
	for _, j := range batch {
		if j.err = j.ctx.Err(); j.err != nil {
			continue
		}
		if err := savepoint(ctx, tx, j); err != nil {
			return false
		}
	}
	commit(tx, batch)
	return true
}

// commit tells all who have not failed yet what became of their transaction.
func commit(tx *sql.Tx, batch []*job) {
	err := tx.Commit()
	if err == nil {
		return
	}
	for _, j := range batch {
		if j.err == nil {
			j.err = err
		}
	}
}

// savepoint runs one job inside a transaction, and undoes what it did where it
// fails. Its own error is the job's; the one returned is that of the savepoint.
func savepoint(ctx context.Context, tx *sql.Tx, j *job) error {
	if _, err := tx.ExecContext(ctx, "SAVEPOINT one"); err != nil {
		return err
	}
	j.err = j.do(&writer{ctx: ctx, tx: tx})
	if j.err != nil {
		if _, err := tx.ExecContext(ctx, "ROLLBACK TO one"); err != nil {
			return err
		}
	}
	_, err := tx.ExecContext(ctx, "RELEASE one")
	return err
}

// alone writes one change in a transaction of its own.
func alone(ctx context.Context, db *sql.DB, do func(*writer) error) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // does nothing after Commit
	if err := do(&writer{ctx: ctx, tx: tx}); err != nil {
		return err
	}
	return tx.Commit()
}
