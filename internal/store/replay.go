package store

import (
	"context"
	"time"

	"troth/internal/fleet"
)

// The rows of a preview join what it needs of four tables, so that a fleet is read
// in pages and nowhere held. decisions.document is not read where the posture has
// the same controls.
const (
	replayed = `SELECT d.id, d.name, d.model, d.labels, c.id, c.at, p.verdict, p.controls, b.content
	FROM postures p JOIN devices d ON d.id = p.device JOIN decisions c ON c.id = p.decision JOIN blobs b ON b.digest = c.input
	WHERE p.device > $1 AND d.lifecycle <> 'retired' AND c.kind = 'posture' ORDER BY p.device LIMIT $2`
	replayedSince = `SELECT d.id, d.name, d.model, d.labels, c.id, c.at, c.answer, c.document, b.content
	FROM decisions c JOIN devices d ON d.id = c.device JOIN blobs b ON b.digest = c.input
	WHERE c.kind = 'posture' AND (c.at > $1 OR c.at = $1 AND c.id > $2) AND d.lifecycle <> 'retired' ORDER BY c.at, c.id LIMIT $3`
	countPostures  = "SELECT COUNT(*) FROM postures WHERE device > ''"
	countDecisions = "SELECT COUNT(*) FROM decisions WHERE kind = 'posture' AND at >= $1"
)

func scanReplay(controls func(*fleet.Replay) any) func(row) (fleet.Replay, error) {
	return func(r row) (v fleet.Replay, err error) {
		err = r.Scan(&v.Device, &v.Name, &v.Model, toJSON{&v.Labels}, &v.Decision, toTime{&v.At}, &v.Verdict, controls(&v), toBytes{&v.Input})
		return v, err
	}
}

// Replays are the latest postures of at most limit devices after the cursor, in
// the order of their ids, with the inputs that they were decided on. Devices
// whose input is not kept are left out.
func (s *Store) Replays(ctx context.Context, after fleet.DeviceID, limit int) ([]fleet.Replay, error) {
	return all(ctx, s, scanReplay(func(v *fleet.Replay) any { return toJSON{&v.Controls} }), replayed, string(after), int64(limit))
}

// ReplaysSince are at most limit recorded posture decisions after the cursor (a
// time and an id), in that order.
func (s *Store) ReplaysSince(ctx context.Context, at time.Time, id string, limit int) ([]fleet.Replay, error) {
	return all(ctx, s, scanReplay(func(v *fleet.Replay) any { return toJSON{&decided{&v.Controls}} }), replayedSince, micros(at), id, int64(limit))
}

// decided reads the controls out of a decision's document.
type decided struct {
	Controls *[]fleet.Control `json:"controls"`
}

// CountReplays is how many rows Replays, or where since is not zero ReplaysSince,
// has at most.
func (s *Store) CountReplays(ctx context.Context, since time.Time) (int, error) {
	query, args := countPostures, []any(nil)
	if !since.IsZero() {
		query, args = countDecisions, []any{micros(since)}
	}
	return one(ctx, s, func(r row) (n int, err error) {
		err = r.Scan(&n)
		return n, err
	}, query, args...)
}
