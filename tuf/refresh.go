package tuf

import (
	"fmt"
	"path/filepath"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// Refresh signs timestamp and snapshot anew when less than half of their life
// is left at now, with the online keys alone; it does nothing otherwise, so it
// may be called as often as one likes (hourly, by default lifetimes).
//
// The error wraps ErrExpired, after what could be signed was signed, if root
// or targets have expired: clients refuse the repository until somebody with
// their keys calls Publish or Rotate. Status tells of that in time. It wraps
// ErrLocked if another writer is busy: try again.
func (r *Repository) Refresh(now time.Time) error {
	if err := r.refresh(now); err != nil {
		return fmt.Errorf("refresh repository: %w", err)
	}
	return nil
}

func (r *Repository) refresh(now time.Time) error {
	unlock, err := lock(filepath.Join(r.dir, lockFile))
	if err != nil {
		return err
	}
	defer unlock()
	if err := r.finish(); err != nil {
		return err
	}
	current, err := r.load()
	if err != nil {
		return err
	}
	root := current.Root
	snapshot := due(now, current.Snapshot.Signed.Expires, lifetime(root, metadata.SNAPSHOT))
	timestamp := due(now, current.Timestamp.Signed.Expires, lifetime(root, metadata.TIMESTAMP))
	if snapshot || timestamp {
		roles := []string{metadata.TIMESTAMP}
		if snapshot {
			roles = append(roles, metadata.SNAPSHOT)
		}
		c := &change{current: current, root: root, snapshot: snapshot, now: now}
		if err := c.find(r, roles...); err != nil {
			return err
		}
		if err := r.signOnline(c); err != nil {
			return err
		}
		if err := r.write(c.published); err != nil {
			return err
		}
	}
	if now.After(root.Signed.Expires) {
		return fmt.Errorf("%w: root, on %s", ErrExpired, root.Signed.Expires.Format(time.DateOnly))
	}
	if expires := current.Targets[metadata.TARGETS].Signed.Expires; now.After(expires) {
		return fmt.Errorf("%w: targets, on %s", ErrExpired, expires.Format(time.DateOnly))
	}
	return nil
}
