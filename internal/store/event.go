package store

import (
	"context"

	"troth/internal/fleet"
)

var insertEvent = newTable("events", 1, "id at place actor action subject detail").insert()

func scanEvent(r row) (e fleet.Event, err error) {
	err = r.Scan(&e.ID, toTime{&e.At}, &e.Actor, &e.Action, &e.Subject, &e.Detail)
	return e, err
}

func (w *writer) events(c fleet.Change) error {
	for i, e := range c.Events {
		if err := w.must(insertEvent, e.ID, micros(e.At), int64(i), e.Actor, e.Action, e.Subject, e.Detail); err != nil {
			return err
		}
	}
	return nil
}

// Events are the latest events about the subject, or about everything if that is
// empty, newest first (those of one change in reverse), at most limit of them; a
// limit of 0 returns all.
func (s *Store) Events(ctx context.Context, subject string, limit int) ([]fleet.Event, error) {
	var q filter
	if subject != "" {
		q.where("subject = ?", subject)
	}
	return all(ctx, s, scanEvent, "SELECT id, at, actor, action, subject, detail FROM events"+
		q.tail("at DESC, place DESC, id DESC", limit), q.args...)
}
