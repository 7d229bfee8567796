package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"

	"troth/internal/fleet"
)

type failureKind int

const (
	other     failureKind = iota
	duplicate             // somebody else wrote first
	away                  // the database cannot serve now
)

type failure struct {
	kind failureKind
	name bool // duplicate: of a device's name
	key  bool // duplicate: of a device's EK
}

var errNameTaken = fleet.Errorf(fleet.Conflict, "name_taken", "another device that is not retired has this name")

var errKeyTaken = fleet.Errorf(fleet.Conflict, "ek_shown_twice", "this endorsement key is that of another device, by another template: one TPM is one device")

// wrap turns an error of the driver into one of the domain. An error of the
// caller's own context passes through.
func (s *Store) wrap(ctx context.Context, verb string, err error) error {
	if err == nil {
		return nil
	}
	var known *fleet.Error
	if errors.As(err, &known) {
		return err
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", verb, ctx.Err())
	}
	if errors.Is(err, sql.ErrNoRows) {
		return fleet.ErrNotFound
	}
	f := s.dialect.classify(err)
	switch {
	case f.kind == duplicate && f.name:
		return errNameTaken
	case f.kind == duplicate && f.key:
		return errKeyTaken
	case f.kind == duplicate:
		return fleet.ErrConflict
	case f.kind == away, s.closed.Load(), errors.Is(err, driver.ErrBadConn), errors.Is(err, sql.ErrConnDone):
		return fleet.Because(err, fleet.Unavailable, "store_unavailable", "the database cannot be used at the moment")
	}
	return fmt.Errorf("%s: %w", verb, err)
}
