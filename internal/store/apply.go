package store

import (
	"context"
	"database/sql"

	"troth/internal/fleet"
)

// writer is one transaction.
type writer struct {
	ctx context.Context
	tx  *sql.Tx
}

// exec runs a statement and returns how many rows it changed.
func (w *writer) exec(query string, args ...any) (int64, error) {
	if err := arguments(args); err != nil {
		return 0, err
	}
	result, err := w.tx.ExecContext(w.ctx, query, args...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

// must runs a statement that changes a row, unless somebody else was faster.
func (w *writer) must(query string, args ...any) error {
	n, err := w.exec(query, args...)
	if err == nil && n == 0 {
		err = fleet.ErrConflict
	}
	return err
}

// Apply writes the whole change in one transaction, or nothing of it. When it
// returns, the change is durable (but see Open).
//
// It returns fleet.ErrConflict if a row is not what the change was derived from:
// a device, alert, rollout or policy bundle has another revision, or exists although its given
// revision is 0; there is already an unresolved alert for the subject and key,
// or a live rollout for the model; a certificate is not in a state from which it
// may move; a challenge was answered already; a bootstrap token was already spent; a member has ended; an id or a
// serial number is taken. A device's name that another one has is code
// name_taken. fleet.Invalid is a change that contradicts itself.
//
// After fleet.Unavailable, or an error of ctx, the change may have been written:
// the answer can be lost after the work is done. Read again before retrying.
func (s *Store) Apply(ctx context.Context, c fleet.Change) error {
	if err := s.inTransaction(ctx, func(w *writer) error { return w.change(c) }); err != nil {
		return s.wrap(ctx, "apply change", err)
	}
	return nil
}

// change writes the rows in one order, tables and keys, so that two
// transactions do not wait for each other in a circle.
func (w *writer) change(c fleet.Change) error {
	for _, step := range []func(fleet.Change) error{
		w.answers, w.devices, w.posture, w.progress, w.decisions, w.blobs, w.certificates, w.revocations,
		w.alerts, w.rollout, w.members, w.manufacturers, w.tokens, w.bundles, w.replica, w.shadows, w.vulnerabilities, w.events,
	} {
		if err := step(c); err != nil {
			return err
		}
	}
	return nil
}

// inTransaction runs do in a transaction. It may run more than once, and only
// the last time counts.
func (s *Store) inTransaction(ctx context.Context, do func(*writer) error) error {
	if s.group != nil {
		return s.group.run(ctx, do)
	}
	return alone(ctx, s.write, do)
}
