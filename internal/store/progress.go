package store

import (
	"context"

	"troth/internal/fleet"
)

var progressTable = newTable("progress", 1, "device under entries state segments")

var (
	selectProgress = progressTable.selects()
	upsertProgress = progressTable.upsert()
)

func scanProgress(r row) (p fleet.Progress, err error) {
	err = r.Scan(&p.Device, &p.Under, &p.Entries, toRaw{&p.State}, toJSON{&p.Segments})
	return p, err
}

func (w *writer) progress(c fleet.Change) error {
	p := c.Progress
	if p == nil {
		return nil
	}
	return w.must(upsertProgress, string(p.Device), p.Under, int64(p.Entries), string(p.State), asJSON{p.Segments})
}

// Progress is how far the device's IMA list is counted; fleet.ErrNotFound where
// none is.
func (s *Store) Progress(ctx context.Context, id fleet.DeviceID) (fleet.Progress, error) {
	return one(ctx, s, scanProgress, selectProgress+" WHERE device = $1", string(id))
}
