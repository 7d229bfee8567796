package store

import (
	"cmp"
	"context"
	"slices"

	"troth/internal/fleet"
)

var (
	rolloutTable = newTable("rollouts", 1, `id model version counter target state reason plan wave wave_done
	created_by created_at started_by started_at ended_at revision`)
	memberTable = newTable("members", 2, "rollout device wave state reason offered_at changed_at")
)

var (
	selectRollouts = rolloutTable.selects()
	insertRollout  = rolloutTable.insertAbsent()
	swapRollout    = rolloutTable.swap()
	selectMembers  = memberTable.selects()
	// A member that has ended stays as it is: a writer that did not see its end
	// must look again.
	upsertMember = memberTable.upsert() + ` WHERE members.state = excluded.state
		OR members.state NOT IN ('success', 'failure', 'rolled-back', 'skipped')`
)

func scanRollout(r row) (o fleet.Rollout, err error) {
	err = r.Scan(&o.ID, &o.Model, &o.Version, toBits{&o.Counter}, &o.Target, &o.State, &o.Reason, toJSON{&o.Plan}, &o.Wave, toTime{&o.WaveDone},
		&o.CreatedBy, toTime{&o.CreatedAt}, &o.StartedBy, toTime{&o.StartedAt}, toTime{&o.EndedAt}, &o.Revision)
	return o, err
}

func (w *writer) rollout(c fleet.Change) error {
	o := c.Rollout
	if o == nil {
		return nil
	}
	query, revision := swapRollout, o.Revision
	if o.Revision == 0 {
		query, revision = insertRollout, 1
	}
	return w.must(query, o.ID, o.Model, o.Version, bits(o.Counter), o.Target, string(o.State), o.Reason, asJSON{o.Plan}, int64(o.Wave), micros(o.WaveDone),
		o.CreatedBy, micros(o.CreatedAt), o.StartedBy, micros(o.StartedAt), micros(o.EndedAt), revision)
}

func scanMember(r row) (m fleet.Member, err error) {
	err = r.Scan(&m.Rollout, &m.Device, &m.Wave, &m.State, &m.Reason, toTime{&m.OfferedAt}, toTime{&m.ChangedAt})
	return m, err
}

func (w *writer) members(c fleet.Change) error {
	list := slices.Clone(c.Members)
	slices.SortStableFunc(list, func(a, b fleet.Member) int {
		return cmp.Or(cmp.Compare(a.Rollout, b.Rollout), cmp.Compare(a.Device, b.Device))
	})
	for _, m := range list {
		if err := w.must(upsertMember, m.Rollout, string(m.Device), int64(m.Wave), string(m.State), m.Reason, micros(m.OfferedAt), micros(m.ChangedAt)); err != nil {
			return err
		}
	}
	return nil
}

// Rollout is the rollout with the id.
func (s *Store) Rollout(ctx context.Context, id string) (fleet.Rollout, error) {
	return one(ctx, s, scanRollout, selectRollouts+" WHERE id = $1", id)
}

// Rollouts are those that the filter selects, the last created first.
func (s *Store) Rollouts(ctx context.Context, f fleet.RolloutFilter) ([]fleet.Rollout, error) {
	var q filter
	if f.Model != "" {
		q.where("model = ?", f.Model)
	}
	if f.Version != "" {
		q.where("version = ?", f.Version)
	}
	if len(f.States) > 0 {
		states := make([]any, len(f.States))
		for i, state := range f.States {
			states[i] = string(state)
		}
		q.in("state", states)
	}
	return all(ctx, s, scanRollout, selectRollouts+q.tail("created_at DESC, id DESC", 0), q.args...)
}

// Members are the devices of the rollout, in the order of their ids.
func (s *Store) Members(ctx context.Context, rollout string) ([]fleet.Member, error) {
	return all(ctx, s, scanMember, selectMembers+" WHERE rollout = $1 ORDER BY device", rollout)
}

// Membership is what the device does in the oldest rollout that has it and is
// running, paused or halted; fleet.ErrNotFound if there is none.
func (s *Store) Membership(ctx context.Context, device fleet.DeviceID) (fleet.Rollout, fleet.Member, error) {
	none := func(err error) (fleet.Rollout, fleet.Member, error) { return fleet.Rollout{}, fleet.Member{}, err }
	o, err := one(ctx, s, scanRollout, selectRollouts+` WHERE state IN ('running', 'paused', 'halted')
		AND id IN (SELECT rollout FROM members WHERE device = $1) ORDER BY created_at, id LIMIT 1`, string(device))
	if err != nil {
		return none(err)
	}
	m, err := one(ctx, s, scanMember, selectMembers+" WHERE rollout = $1 AND device = $2", o.ID, string(device))
	if err != nil {
		return none(err)
	}
	return o, m, nil
}
