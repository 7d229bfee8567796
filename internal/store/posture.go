package store

import (
	"context"
	"slices"

	"troth/internal/fleet"
)

var (
	postureTable  = newTable("postures", 1, "device at verdict controls attestation reported decision evidence")
	decisionTable = newTable("decisions", 1, "id kind device at policy input evidence answer document")
)

var (
	selectPostures  = postureTable.selects()
	upsertPosture   = postureTable.upsert()
	selectDecisions = decisionTable.selects()
	insertDecision  = decisionTable.insert()
	countDecision   = insertDecision + " ON CONFLICT (id) DO UPDATE SET document = excluded.document WHERE decisions.kind = excluded.kind"
)

// posturesAtOnce bounds the arguments of one statement.
const posturesAtOnce = 500

func scanPosture(r row) (p fleet.Posture, err error) {
	err = r.Scan(&p.Device, toTime{&p.At}, &p.Verdict, toJSON{&p.Controls}, toRaw{&p.Attestation}, toRaw{&p.Reported}, &p.Decision, &p.Evidence)
	return p, err
}

func (w *writer) posture(c fleet.Change) error {
	p := c.Posture
	if p == nil {
		return nil
	}
	return w.must(upsertPosture, string(p.Device), micros(p.At), string(p.Verdict), asJSON{p.Controls},
		string(p.Attestation), string(p.Reported), p.Decision, p.Evidence)
}

// Posture is the latest posture of the device.
func (s *Store) Posture(ctx context.Context, id fleet.DeviceID) (fleet.Posture, error) {
	return one(ctx, s, scanPosture, selectPostures+" WHERE device = $1", string(id))
}

// Postures are the latest postures of those of the devices that have one.
func (s *Store) Postures(ctx context.Context, ids []fleet.DeviceID) (map[fleet.DeviceID]fleet.Posture, error) {
	found := make(map[fleet.DeviceID]fleet.Posture, len(ids))
	for chunk := range slices.Chunk(ids, posturesAtOnce) {
		values := make([]any, len(chunk))
		for i, id := range chunk {
			values[i] = string(id)
		}
		var q filter
		q.in("device", values)
		list, err := all(ctx, s, scanPosture, selectPostures+q.tail("device", 0), q.args...)
		if err != nil {
			return nil, err
		}
		for _, p := range list {
			found[p.Device] = p
		}
	}
	return found, nil
}

func scanDecision(r row) (d fleet.Decision, err error) {
	err = r.Scan(&d.ID, &d.Kind, &d.Device, toTime{&d.At}, &d.Policy, &d.Input, &d.Evidence, &d.Answer, toRaw{&d.Document})
	return d, err
}

func (w *writer) decisions(c fleet.Change) error {
	for _, d := range c.Decisions {
		if err := w.must(insertDecision, decisionRow(d)...); err != nil {
			return err
		}
	}
	for _, d := range c.Counted {
		if err := w.must(countDecision, decisionRow(d)...); err != nil {
			return err
		}
	}
	return nil
}

func decisionRow(d fleet.Decision) []any {
	return []any{d.ID, d.Kind, string(d.Device), micros(d.At), d.Policy, d.Input, d.Evidence, d.Answer, string(d.Document)}
}

// Decision is the decision with the id.
func (s *Store) Decision(ctx context.Context, id string) (fleet.Decision, error) {
	return one(ctx, s, scanDecision, selectDecisions+" WHERE id = $1", id)
}

// Decisions are the latest decisions about the device, newest first, at most
// limit of them; a limit of 0 returns all.
func (s *Store) Decisions(ctx context.Context, device fleet.DeviceID, limit int) ([]fleet.Decision, error) {
	var q filter
	q.where("device = ?", string(device))
	return all(ctx, s, scanDecision, selectDecisions+q.tail("at DESC, id DESC", limit), q.args...)
}

// DecisionLog are the decisions that the filter selects, newest first.
func (s *Store) DecisionLog(ctx context.Context, f fleet.DecisionFilter) ([]fleet.Decision, error) {
	var q filter
	for _, is := range [][2]string{{"kind", f.Kind}, {"device", string(f.Device)}, {"answer", f.Answer}, {"policy", f.Policy}} {
		if is[1] != "" {
			q.where(is[0]+" = ?", is[1])
		}
	}
	if !f.Since.IsZero() {
		q.where("at >= ?", micros(f.Since))
	}
	if !f.Until.IsZero() {
		q.where("at < ?", micros(f.Until))
	}
	if f.Before.ID != "" {
		q.where("(at, id) < (?, ?)", micros(f.Before.At), f.Before.ID)
	}
	return all(ctx, s, scanDecision, selectDecisions+q.tail("at DESC, id DESC", f.Limit), q.args...)
}
