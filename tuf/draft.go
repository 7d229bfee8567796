package tuf

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// Draft is what Stage edits. Edits add up until the stage is published or
// discarded; an edit drops the signatures that were collected.
type Draft struct {
	change
	root *metadata.Metadata[metadata.RootType] // nil: as it is
	r    *Repository
}

// Stage changes what is staged, or begins to stage. The repository stays as it is
// until PublishStage. Errors wrap ErrInvalid, ErrNoRole, ErrExists, ErrDelegation,
// ErrStage (the repository has changed under the stage: discard it) or ErrLocked.
func (r *Repository) Stage(now time.Time, edit func(*Draft) error) (*Stage, error) {
	unlock, err := lock(filepath.Join(r.dir, lockFile))
	if err != nil {
		return nil, fmt.Errorf("stage: %w", err)
	}
	defer unlock()
	s, err := r.stage(now, edit)
	if err != nil {
		return nil, fmt.Errorf("stage: %w", err)
	}
	return s, nil
}

func (r *Repository) stage(now time.Time, edit func(*Draft) error) (*Stage, error) {
	if err := r.finish(); err != nil {
		return nil, err
	}
	current, err := r.load()
	if err != nil {
		return nil, err
	}
	d := &Draft{change: change{current: current, root: current.Root, now: now}, r: r}
	if r.pending() {
		s, err := r.readPending()
		if err != nil {
			return nil, err
		}
		if err := s.fits(current); err != nil {
			return nil, err
		}
		d.root, d.roles = s.next, s.roles
	}
	if err := edit(d); err != nil {
		return nil, err
	}
	return d.save()
}

// Renew signs the role anew as it is, before it expires; "bins" stands for all
// hash bins.
func (d *Draft) Renew(role string) error {
	switch role {
	case metadata.ROOT:
		_, err := d.newRoot()
		return err
	case metadata.SNAPSHOT, metadata.TIMESTAMP:
		return fmt.Errorf("%w: %s is signed anew by Refresh", ErrInvalid, role)
	case "bins":
		bins, err := d.current.bins()
		if err != nil {
			return err
		}
		if bins == nil {
			return fmt.Errorf("bins: %w", ErrNoRole)
		}
		for _, bin := range bins {
			if _, err := d.edit(bin); err != nil {
				return err
			}
		}
		return nil
	}
	if _, err := d.authority(role); err != nil {
		return err
	}
	_, err := d.edit(role)
	return err
}

func (d *Draft) newRoot() (*metadata.Metadata[metadata.RootType], error) {
	if d.root == nil {
		next, err := cloneRoot(d.current.Root)
		if err != nil {
			return nil, err
		}
		next.ClearSignatures()
		d.root = next
	}
	d.change.root = d.root
	return d.root, nil
}

// save numbers and dates what is staged, and writes it down.
func (d *Draft) save() (*Stage, error) {
	if d.root != nil {
		d.change.root = d.root
		d.root.ClearSignatures()
		d.root.Signed.Version = d.current.Root.Signed.Version + 1
		d.root.Signed.Expires = expiry(d.now, lifetime(d.root, metadata.ROOT))
	}
	if err := d.resign(); err != nil {
		return nil, err
	}
	if d.root == nil && len(d.roles) == 0 {
		return nil, fmt.Errorf("%w: nothing to sign", ErrPending)
	}
	order := func(name string) int { return slices.Index([]string{releasesRole, metadata.TARGETS}, name) }
	slices.SortStableFunc(d.roles, func(a, b changedRole) int { return order(b.name) - order(a.name) })
	for i := range d.roles {
		role := &d.roles[i]
		a, err := d.authority(role.name)
		if err != nil {
			return nil, err
		}
		role.sealed = true
		role.md.ClearSignatures()
		role.md.Signed.Version = d.r.nextVersion(role.name, d.publishedVersion(role.name))
		role.md.Signed.Expires = expiry(d.now, a.life)
	}
	s, err := d.asStage()
	if err != nil {
		return nil, err
	}
	if err := s.check(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return s, d.r.savePending(s)
}

// resign adds what would no longer verify once the stage is published, because
// its signatures are of keys that were taken away.
func (d *Draft) resign() error {
	roles := []string{metadata.TARGETS}
	if d.current.binned() {
		roles = append(roles, releasesRole)
	}
	roles = append(roles, d.current.flat()[1:]...)
	if slices.ContainsFunc(d.roles, func(c changedRole) bool { return c.name == releasesRole }) {
		bins, err := d.current.bins()
		if err != nil {
			return err
		}
		roles = append(roles, bins...)
	}
	for _, role := range roles {
		if slices.ContainsFunc(d.roles, func(c changedRole) bool { return c.name == role }) {
			continue
		}
		a, err := d.authority(role)
		if errors.Is(err, ErrNoRole) {
			continue // no longer delegated
		}
		if err != nil {
			return err
		}
		md, err := d.current.role(role)
		if err != nil {
			return err
		}
		if a.verify(md) == nil {
			continue
		}
		if _, err := d.edit(role); err != nil {
			return err
		}
	}
	return nil
}

// asStage adds what a signer needs to understand the change.
func (d *Draft) asStage() (*Stage, error) {
	s := &Stage{next: d.root, roles: d.roles, context: map[string]*metadata.Metadata[metadata.TargetsType]{}}
	for version := int64(1); version <= d.current.Root.Signed.Version; version++ {
		data, err := d.r.read(metadata.ROOT, version)
		if err != nil {
			return nil, err
		}
		root, err := parseSigned(metadata.ROOT, data, metadata.Root())
		if err != nil {
			return nil, err
		}
		s.roots = append(s.roots, root)
	}
	context := []string{metadata.TARGETS}
	if d.current.binned() {
		context = append(context, releasesRole)
	}
	for _, changed := range d.roles {
		context = append(context, changed.name)
	}
	for _, name := range context {
		md, err := d.current.role(name)
		if errors.Is(err, ErrNoRole) {
			continue // it has published nothing yet
		}
		if err != nil {
			return nil, err
		}
		s.context[name] = md
	}
	return s, nil
}
