package store

import (
	"cmp"
	"context"
	"slices"
	"time"

	"troth/internal/fleet"
)

var (
	bundleTable = newTable("policy_bundles", 1, `id counter version target archive policy state reason checks
	proposed_by proposed_at approved_by approved_at activated_by activated_at ended_at shadow_by shadow_at revision`)
	replicaTable      = newTable("policy_replicas", 1, "id bundle policy problem at")
	shadowCountTable  = newTable("policy_shadow_counts", 2, "bundle replica decided differing failed dropped")
	shadowDeviceTable = newTable("policy_shadow_devices", 2, "bundle device at active shadow input changes")
)

var (
	selectBundles       = bundleTable.selects()
	insertBundle        = bundleTable.insertUnlessTaken()
	swapBundle          = bundleTable.swap()
	selectReplicas      = replicaTable.selects()
	upsertReplica       = replicaTable.upsert()
	selectShadowCounts  = shadowCountTable.selects()
	upsertShadowCount   = shadowCountTable.upsert()
	selectShadowDevices = shadowDeviceTable.selects()
	upsertShadowDevice  = shadowDeviceTable.upsert()
	// What a replica said last is of no use long after it has gone.
	forgetReplicas = "DELETE FROM policy_replicas WHERE at < $1"
)

// replicaMemory is how long a replica that says nothing is remembered.
const replicaMemory = time.Hour

func scanBundle(r row) (b fleet.Bundle, err error) {
	err = r.Scan(&b.ID, toBits{&b.Counter}, &b.Version, &b.Target, &b.Archive, &b.Policy, &b.State, &b.Reason, toJSON{&b.Checks},
		&b.ProposedBy, toTime{&b.ProposedAt}, &b.ApprovedBy, toTime{&b.ApprovedAt}, &b.ActivatedBy, toTime{&b.ActivatedAt}, toTime{&b.EndedAt},
		&b.ShadowBy, toTime{&b.ShadowAt}, &b.Revision)
	return b, err
}

func (w *writer) bundles(c fleet.Change) error {
	list := slices.Clone(c.Bundles)
	// One that is active no longer, or no longer in the shadow, makes room for another.
	makesRoom := func(b fleet.Bundle) int64 { return bit(b.State != fleet.BundleActive) + bit(b.ShadowBy == "") }
	slices.SortStableFunc(list, func(a, b fleet.Bundle) int {
		return cmp.Or(cmp.Compare(makesRoom(b), makesRoom(a)), cmp.Compare(a.ID, b.ID))
	})
	for _, b := range list {
		query, revision := swapBundle, b.Revision
		if b.Revision == 0 {
			query, revision = insertBundle, 1
		}
		err := w.must(query, b.ID, bits(b.Counter), b.Version, b.Target, b.Archive, b.Policy, string(b.State), b.Reason, asJSON{b.Checks},
			b.ProposedBy, micros(b.ProposedAt), b.ApprovedBy, micros(b.ApprovedAt), b.ActivatedBy, micros(b.ActivatedAt), micros(b.EndedAt),
			b.ShadowBy, micros(b.ShadowAt), revision)
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) replica(c fleet.Change) error {
	r := c.Replica
	if r == nil {
		return nil
	}
	if err := w.must(upsertReplica, r.ID, r.Bundle, r.Policy, r.Problem, micros(r.At)); err != nil {
		return err
	}
	_, err := w.exec(forgetReplicas, micros(r.At.Add(-replicaMemory)))
	return err
}

func (w *writer) shadows(c fleet.Change) error {
	for _, s := range c.ShadowCounts {
		if err := w.must(upsertShadowCount, s.Bundle, s.Replica, s.Decided, s.Differing, s.Failed, s.Dropped); err != nil {
			return err
		}
	}
	list := slices.Clone(c.ShadowDevices)
	slices.SortStableFunc(list, func(a, b fleet.ShadowDevice) int {
		return cmp.Or(cmp.Compare(a.Bundle, b.Bundle), cmp.Compare(a.Device, b.Device))
	})
	for _, s := range list {
		if err := w.must(upsertShadowDevice, s.Bundle, string(s.Device), micros(s.At), string(s.Active), string(s.Shadow), s.Input, asJSON{s.Changes}); err != nil {
			return err
		}
	}
	return nil
}

// Bundle is the policy bundle with the id.
func (s *Store) Bundle(ctx context.Context, id string) (fleet.Bundle, error) {
	return one(ctx, s, scanBundle, selectBundles+" WHERE id = $1", id)
}

// Bundles are all policy bundles that were ever pushed, the newest first, and the
// base.
func (s *Store) Bundles(ctx context.Context) ([]fleet.Bundle, error) {
	return all(ctx, s, scanBundle, selectBundles+" ORDER BY counter DESC, id DESC")
}

// ActiveBundle is the one that decides.
func (s *Store) ActiveBundle(ctx context.Context) (fleet.Bundle, error) {
	return one(ctx, s, scanBundle, selectBundles+" WHERE state = 'active'")
}

// ShadowBundle is the one that decides in the shadow, or fleet.ErrNotFound.
func (s *Store) ShadowBundle(ctx context.Context) (fleet.Bundle, error) {
	return one(ctx, s, scanBundle, selectBundles+" WHERE shadow_by <> ''")
}

// Replicas are those that said since the instant what they decide by, in the
// order of their ids.
func (s *Store) Replicas(ctx context.Context, since time.Time) ([]fleet.Replica, error) {
	return all(ctx, s, func(r row) (v fleet.Replica, err error) {
		err = r.Scan(&v.ID, &v.Bundle, &v.Policy, &v.Problem, toTime{&v.At})
		return v, err
	}, selectReplicas+" WHERE at >= $1 ORDER BY id", micros(since))
}

// ShadowCounts are what each replica counted for the bundle, in the order of the
// replicas.
func (s *Store) ShadowCounts(ctx context.Context, bundle string) ([]fleet.ShadowCount, error) {
	return all(ctx, s, func(r row) (v fleet.ShadowCount, err error) {
		err = r.Scan(&v.Bundle, &v.Replica, &v.Decided, &v.Differing, &v.Failed, &v.Dropped)
		return v, err
	}, selectShadowCounts+" WHERE bundle = $1 ORDER BY replica", bundle)
}

// ShadowDevices are at most limit devices on which the bundle in the shadow
// differed, in the order of their ids; a limit of 0 returns all.
func (s *Store) ShadowDevices(ctx context.Context, bundle string, limit int) ([]fleet.ShadowDevice, error) {
	var q filter
	q.where("bundle = ?", bundle)
	return all(ctx, s, func(r row) (v fleet.ShadowDevice, err error) {
		err = r.Scan(&v.Bundle, &v.Device, toTime{&v.At}, &v.Active, &v.Shadow, &v.Input, toJSON{&v.Changes})
		return v, err
	}, selectShadowDevices+q.tail("device", limit), q.args...)
}
