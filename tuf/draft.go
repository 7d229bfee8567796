package tuf

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
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

// Discard forgets what is staged. The error wraps ErrPending if nothing is.
func (r *Repository) Discard() error {
	unlock, err := lock(filepath.Join(r.dir, lockFile))
	if err != nil {
		return fmt.Errorf("discard stage: %w", err)
	}
	defer unlock()
	if err := r.finish(); err != nil {
		return fmt.Errorf("discard stage: %w", err)
	}
	if !r.pending() {
		return fmt.Errorf("discard stage: %w: nothing is", ErrPending)
	}
	if err := r.clearStage(); err != nil {
		return fmt.Errorf("discard stage: %w", err)
	}
	return nil
}

// Pending is what is staged, with the signatures that PublishStage collected; the
// error wraps ErrPending if nothing is.
func (r *Repository) Pending() (*Stage, error) {
	if !r.pending() {
		return nil, fmt.Errorf("read stage: %w: nothing is", ErrPending)
	}
	return r.readPending()
}

func (r *Repository) readPending() (*Stage, error) {
	f, err := os.Open(r.stagePath(pendingFile))
	if err != nil {
		return nil, fmt.Errorf("read stage: %w", err)
	}
	defer func() { _ = f.Close() }()
	return ParseStage(f)
}

// fits says whether the stage was made of the repository as it is.
func (s *Stage) fits(v *view) error {
	if !equal(s.root().Signed, v.Root.Signed) {
		return fmt.Errorf("%w: the root is now version %d: discard the stage", ErrStage, v.Root.Signed.Version)
	}
	for name, md := range s.context {
		if meta := v.Snapshot.Signed.Meta[name+".json"]; meta == nil || meta.Version != md.Signed.Version {
			return fmt.Errorf("%w: %s has changed: discard the stage", ErrStage, name)
		}
	}
	return nil
}

// StageRelease stages a release instead of publishing it: the content is kept
// beside the repository until the keys of its role have signed. Errors are those
// of Publish and Stage.
func (r *Repository) StageRelease(ctx context.Context, rel Release, content io.Reader, files Files, now time.Time) (*Stage, error) {
	if rel.IMA != nil && rel.IMA.AllowList != nil {
		return nil, fmt.Errorf("stage %q: %w: the allow-list's place is filled in by publishing it", rel.Name, ErrInvalid)
	}
	if err := rel.Validate(); err != nil {
		return nil, fmt.Errorf("stage %q: %w", rel.Name, err)
	}
	staged, rel, done, err := r.receive(ctx, rel, content, files, func() error {
		_, err := r.preparePublish(rel, now, false, files.AllowList != nil)
		return err
	})
	defer done()
	if err != nil {
		return nil, fmt.Errorf("stage %q: %w", rel.Name, err)
	}
	return r.Stage(now, func(d *Draft) error { return d.release(rel, staged) })
}

func (d *Draft) release(rel Release, content []stagedTarget) error {
	if _, err := d.r.preparePublish(rel, d.now, false, len(content) > 1); err != nil {
		return err
	}
	for _, changed := range d.roles {
		for name, f := range changed.md.Signed.Targets {
			t := NewTarget(name, f)
			if t.Release == nil || t.Release.Model != rel.Model || name == rel.Name {
				continue
			}
			if t.Release.Counter >= rel.Counter {
				return counterError(rel, t.Release.Counter, name)
			}
			if equal(t.Release.Reference, rel.Reference) {
				return twinError(rel, name)
			}
		}
	}
	if err := d.enter(rel, content); err != nil {
		return err
	}
	for _, s := range content {
		path := d.r.stagePath(filepath.Join(contentDir, s.target().Hashes["sha256"]))
		if err := place(s.file, path, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// Withdraw takes a target, and its allow-list, out of the role that has it.
func (d *Draft) Withdraw(name string) error {
	roles := d.current.flat()
	if d.current.binned() {
		bin, err := d.current.bin(name)
		if err != nil {
			return err
		}
		roles = append(roles, bin)
	}
	for _, role := range roles {
		md, err := d.current.role(role)
		if err != nil {
			return err
		}
		if md.Signed.Targets[name] == nil {
			continue
		}
		next, err := d.edit(role)
		if err != nil {
			return err
		}
		delete(next.Signed.Targets, name)
		return nil
	}
	return fmt.Errorf("target %q: %w", name, ErrNotFound)
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

// AddKey lets a key sign for a role: root, targets, snapshot, timestamp, or a
// delegated one.
func (d *Draft) AddKey(role string, pub crypto.PublicKey) error {
	key, id, err := PublicKey(pub)
	if err != nil {
		return err
	}
	return d.keys(role, func(ids *[]string, threshold *int, keys map[string]*metadata.Key) error {
		if slices.Contains(*ids, id) {
			return fmt.Errorf("%w: %s has key %s", ErrExists, role, short(id))
		}
		*ids, keys[id] = append(slices.Clone(*ids), id), key
		return nil
	})
}

// RemoveKey takes a key, named by the beginning of its id, from a role. What only
// it has signed is staged to be signed anew.
func (d *Draft) RemoveKey(role, id string) error {
	return d.keys(role, func(ids *[]string, threshold *int, _ map[string]*metadata.Key) error {
		var match []string
		for _, have := range *ids {
			if id != "" && strings.HasPrefix(have, id) {
				match = append(match, have)
			}
		}
		if len(match) != 1 {
			return fmt.Errorf("%w: %d keys of %s begin with %q", ErrInvalid, len(match), role, id)
		}
		if len(*ids)-1 < *threshold {
			return fmt.Errorf("%w: %s would keep %d keys for a threshold of %d: add a key or lower the threshold first", ErrInvalid, role, len(*ids)-1, *threshold)
		}
		*ids = slices.DeleteFunc(slices.Clone(*ids), func(have string) bool { return have == match[0] })
		return nil
	})
}

// SetThreshold says how many keys of a role must sign.
func (d *Draft) SetThreshold(role string, n int) error {
	return d.keys(role, func(ids *[]string, threshold *int, _ map[string]*metadata.Key) error {
		if n < 1 || n > len(*ids) {
			return fmt.Errorf("%w: %d of %d keys", ErrInvalid, n, len(*ids))
		}
		*threshold = n
		return nil
	})
}

// keys edits who signs for a role, wherever that is written. That of the bins is
// written twice: by targets and by the releases role.
func (d *Draft) keys(role string, edit func(ids *[]string, threshold *int, keys map[string]*metadata.Key) error) error {
	if slices.Contains(metadata.TOP_LEVEL_ROLE_NAMES[:], role) {
		root, err := d.newRoot()
		if err != nil {
			return err
		}
		entry := root.Signed.Roles[role]
		if err := edit(&entry.KeyIDs, &entry.Threshold, root.Signed.Keys); err != nil {
			return err
		}
		dropUnused(root)
		return nil
	}
	targets, err := d.delegations(metadata.TARGETS)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(targets.Roles, func(r metadata.DelegatedRole) bool { return r.Name == role })
	if i < 0 {
		return fmt.Errorf("role %.70q: %w", role, ErrNoRole)
	}
	if err := edit(&targets.Roles[i].KeyIDs, &targets.Roles[i].Threshold, targets.Keys); err != nil {
		return err
	}
	if role != releasesRole {
		return nil
	}
	releases, err := d.delegations(releasesRole)
	if err != nil {
		return err
	}
	return edit(&releases.SuccinctRoles.KeyIDs, &releases.SuccinctRoles.Threshold, releases.Keys)
}

func dropUnused(root *metadata.Metadata[metadata.RootType]) {
	for id := range root.Signed.Keys {
		used := false
		for _, role := range root.Signed.Roles {
			used = used || slices.Contains(role.KeyIDs, id)
		}
		if !used {
			delete(root.Signed.Keys, id)
		}
	}
}

// delegations gives a copy of a role's delegations to edit.
func (d *Draft) delegations(role string) (*metadata.Delegations, error) {
	md, err := d.edit(role)
	if err != nil {
		return nil, err
	}
	fresh := metadata.Targets()
	if md.Signed.Delegations != nil {
		// Through bytes, so that nothing is shared with what is current.
		data, err := md.ToBytes(false)
		if err != nil {
			return nil, fmt.Errorf("encode %s: %w", role, err)
		}
		if fresh, err = metadata.Targets().FromBytes(data); err != nil {
			return nil, fmt.Errorf("parse %s: %w", role, err)
		}
	}
	if fresh.Signed.Delegations == nil {
		fresh.Signed.Delegations = &metadata.Delegations{Keys: map[string]*metadata.Key{}}
	}
	md.Signed.Delegations = fresh.Signed.Delegations
	return md.Signed.Delegations, nil
}

// Delegate lets a supplier sign the releases of its models, or changes what it
// may sign and with which keys.
func (d *Draft) Delegate(to Delegation) error {
	delegations, err := d.delegations(metadata.TARGETS)
	if err != nil {
		return err
	}
	role, err := to.delegated(delegations.Keys)
	if err != nil {
		return err
	}
	others := slices.DeleteFunc(slices.Clone(delegations.Roles), func(r metadata.DelegatedRole) bool { return r.Name == to.Name })
	if len(others) >= maxDelegated {
		return fmt.Errorf("%w: more than %d delegated roles", ErrInvalid, maxDelegated)
	}
	for _, other := range others {
		if other.Name == releasesRole {
			continue
		}
		scope := Scope{}.Within(other.UnrecognizedFields)
		for _, m := range to.Models {
			if scope.Allows(m) {
				return fmt.Errorf("%w: model %s is delegated to %s", ErrExists, m, other.Name)
			}
		}
		for _, p := range to.Paths {
			if slices.Contains(other.Paths, p) {
				return fmt.Errorf("%w: names %s are delegated to %s", ErrExists, p, other.Name)
			}
		}
	}
	// Before the hash bins, which take every name.
	delegations.Roles = slices.Insert(others, max(0, len(others)-count(others, releasesRole)), role)
	return d.shadows(to, &role)
}

func count(roles []metadata.DelegatedRole, name string) int {
	if slices.ContainsFunc(roles, func(r metadata.DelegatedRole) bool { return r.Name == name }) {
		return 1
	}
	return 0
}

// shadows refuses to delegate names that are taken in hash bins: a client that
// asks the supplier for them asks nobody else.
func (d *Draft) shadows(to Delegation, role *metadata.DelegatedRole) error {
	bins, err := d.current.bins()
	if err != nil {
		return err
	}
	for _, bin := range bins {
		err := d.current.each([]string{bin}, func(_ string, t Target) error {
			if covers(role, t.Name) {
				return fmt.Errorf("%w: %s is published, and would belong to %s", ErrExists, t.Name, to.Name)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Undelegate takes everything from a supplier; what it signed counts no more.
func (d *Draft) Undelegate(name string) error {
	delegations, err := d.delegations(metadata.TARGETS)
	if err != nil {
		return err
	}
	others := slices.DeleteFunc(slices.Clone(delegations.Roles), func(r metadata.DelegatedRole) bool { return r.Name == name })
	if name == releasesRole || len(others) == len(delegations.Roles) {
		return fmt.Errorf("role %.70q: %w", name, ErrNoRole)
	}
	delegations.Roles = others
	d.roles = slices.DeleteFunc(d.roles, func(c changedRole) bool { return c.name == name })
	return nil
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

func (r *Repository) savePending(s *Stage) error {
	f, err := stage(r.dir)
	if err != nil {
		return err
	}
	defer discard(f)
	if _, err := s.WriteTo(f); err != nil {
		return err
	}
	return place(f, r.stagePath(pendingFile), 0o600)
}
