package tuf

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// Publish stores content as the release's target and signs it into targets,
// snapshot and timestamp; it needs the keys of these three roles. Content is
// streamed to disk and may be as large as the disk. The release is visible to
// clients when Publish returns, and not before its content is.
//
// A release whose model is delegated is signed by that role's keys instead of
// those of targets, and one in a repository with hash bins by those of the bins.
//
// An index of the image's chunks becomes a target of its own beside it, unless the
// image is small (delta.MinImage) or a supplier's names have no room for it.
//
// Errors wrap ErrInvalid, ErrCounter (the model has this counter or a higher
// one), ErrTwin (it has these reference values), ErrExists (the target name is
// taken), ErrDelegation, ErrExpired (root), ErrPending, ErrLocked, or are
// *MissingKeyError; each is found before content is read where it can be.
// After any error the repository is as it was.
func (r *Repository) Publish(ctx context.Context, rel Release, content io.Reader, now time.Time) (Target, error) {
	return r.PublishWithFiles(ctx, rel, content, Files{}, now)
}

// PublishWithFiles is Publish with what goes beside the image: each of the files
// becomes a target of its own, and what the release says of it is filled in. One
// that a verifier could not read is refused with ErrInvalid. So is whatever the
// repository's reviewer refuses, with the reviewer's error.
func (r *Repository) PublishWithFiles(ctx context.Context, rel Release, content io.Reader, files Files, now time.Time) (Target, error) {
	target, err := r.publish(ctx, rel, content, files, now)
	if err != nil {
		return Target{}, fmt.Errorf("publish %q: %w", rel.Name, err)
	}
	return target, nil
}

func (r *Repository) publish(ctx context.Context, rel Release, content io.Reader, files Files, now time.Time) (Target, error) {
	if err := rel.unpublished(); err != nil {
		return Target{}, err
	}
	var prepared *change
	staged, rel, done, err := r.receive(ctx, rel, content, files, func() (_ *change, err error) {
		prepared, err = r.preparePublish(rel, now, true, files.names(rel))
		return prepared, err
	})
	defer done()
	if err != nil {
		return Target{}, err
	}
	return staged[len(staged)-1].target(), r.commit(rel, staged, prepared)
}

// receive stores what is to be published where no metadata speaks of it yet: the
// image last. check runs before content is read. The caller calls done when the
// content is in its place.
func (r *Repository) receive(ctx context.Context, rel Release, content io.Reader, files Files, check func() (*change, error)) ([]stagedTarget, Release, func(), error) {
	unlock, err := lock(filepath.Join(r.dir, uploadFile))
	if err != nil {
		return nil, rel, func() {}, err
	}
	var staged []stagedTarget
	done := func() {
		for _, s := range staged {
			discard(s.file)
		}
		unlock()
	}
	checked, err := check()
	if err != nil {
		return nil, rel, done, err
	}
	r.sweepStaging()
	if staged, err = r.attach(ctx, &rel, files); err != nil {
		return nil, rel, done, err
	}
	image, err := r.stageTarget(ctx, rel.Name, content)
	if err != nil {
		return nil, rel, done, err
	}
	staged = append(staged, image)
	if checked.current.chunkable(rel) {
		index, ok, err := r.stageChunks(ctx, &rel, image)
		if err != nil {
			return nil, rel, done, err
		}
		if ok {
			staged = slices.Insert(staged, len(staged)-1, index)
		}
	}
	image.entry.Custom, err = rawJSON(rel)
	return staged, rel, done, err
}

// commit signs the staged targets in, and makes them visible before the metadata.
func (r *Repository) commit(rel Release, staged []stagedTarget, prepared *change) error {
	unlock, err := lock(filepath.Join(r.dir, lockFile))
	if err != nil {
		return err
	}
	defer unlock()
	c := prepared
	if !r.still(c.current) {
		if c, err = r.preparePublish(rel, prepared.now, true, besides(staged)); err != nil {
			return err
		}
	}
	if err := c.enter(rel, staged); err != nil {
		return err
	}
	if err := c.find(r, metadata.SNAPSHOT, metadata.TIMESTAMP); err != nil {
		return err
	}
	if err := r.reviewStaged(c, staged); err != nil {
		return err
	}
	if err := r.signOnline(c); err != nil {
		return err
	}
	if err := r.placeAll(staged); err != nil {
		return err
	}
	return r.indexed(c, []Release{rel}, func() error { return r.write(c.published) })
}

// still says whether the repository is as it was loaded. Reading it again while
// content was copied would be for nothing, most of the time. The caller holds the
// lock.
func (r *Repository) still(v *view) bool {
	timestamp, err := r.read(metadata.TIMESTAMP, 0)
	if err != nil || exists(r.metadataPath(metadata.ROOT, v.Root.Signed.Version+1)) || exists(r.stagePath(journalFile)) || r.pending() {
		return false
	}
	was, err := v.Timestamp.ToBytes(false)
	return err == nil && bytes.Equal(timestamp, was)
}

// enter makes the staged targets entries of their roles.
func (c *change) enter(rel Release, staged []stagedTarget) error {
	for _, s := range staged {
		role, err := c.current.home(rel, s.entry.Path)
		if err != nil {
			return err
		}
		md, err := c.edit(role)
		if err != nil {
			return err
		}
		if md.Signed.Targets[s.entry.Path] != nil {
			return fmt.Errorf("target name: %w", ErrExists)
		}
		md.Signed.Targets[s.entry.Path] = s.entry
		if t := s.target(); t.Name == rel.Name && t.Release == nil {
			return fmt.Errorf("%w: it does not read back", ErrInvalid)
		}
	}
	return nil
}

// edit gives a copy of the role that the change will publish. A role that was
// delegated and has published nothing begins empty.
func (c *change) edit(role string) (*metadata.Metadata[metadata.TargetsType], error) {
	for _, changed := range c.roles {
		if changed.name == role {
			return changed.md, nil
		}
	}
	next := metadata.Targets(c.now)
	md, err := c.current.role(role)
	switch {
	case err == nil:
		clone := *md
		clone.Signatures = nil
		next = &clone
	case !errors.Is(err, ErrNoRole):
		return nil, err
	}
	next.Signed.Targets = maps.Clone(next.Signed.Targets)
	if next.Signed.Targets == nil {
		next.Signed.Targets = map[string]*metadata.TargetFiles{}
	}
	c.roles = append(c.roles, changedRole{name: role, md: next})
	return next, nil
}

// placeAll makes staged content visible, which must be before its metadata is.
func (r *Repository) placeAll(staged []stagedTarget) error {
	for _, s := range staged {
		path := filepath.Join(r.dir, targetsDir, filepath.FromSlash(s.target().Path(true)))
		if err := place(s.file, path, 0o644); err != nil {
			return err
		}
		if err := r.step(path); err != nil {
			return err
		}
	}
	return nil
}

// indexed runs write, which publishes the change, and keeps the index that of what
// is published. An index that cannot be kept is made anew by the next publisher,
// and no reason to say that nothing was published.
func (r *Repository) indexed(c *change, releases []Release, write func() error) error {
	if !c.current.binned() {
		return write()
	}
	state := r.indexPath(indexState)
	fresh := exists(state)
	if err := os.Remove(state); err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("open index: %w", err)
	}
	if err := write(); err != nil || !fresh {
		return err
	}
	remembered := true
	for _, rel := range releases {
		remembered = remembered && r.remember(rel) == nil
	}
	after, err := r.load()
	if err != nil {
		return err
	}
	if now, err := after.indexOf(); err == nil && remembered {
		_ = r.closeIndex(now)
	}
	return nil
}

// stagedTarget is content on disk that no metadata speaks of yet.
type stagedTarget struct {
	file  *os.File
	entry *metadata.TargetFiles
}

func (s stagedTarget) target() Target { return NewTarget(s.entry.Path, s.entry) }

// besides are the names of what is staged before the image.
func besides(staged []stagedTarget) []string {
	var names []string
	for _, s := range staged[:len(staged)-1] {
		names = append(names, s.entry.Path)
	}
	return names
}

// preparePublish checks everything that does not depend on the content; with
// signing, also that the keys are here. beside names the targets beside the image.
func (r *Repository) preparePublish(rel Release, now time.Time, signing bool, beside []string) (*change, error) {
	if err := r.finish(); err != nil {
		return nil, err
	}
	current, err := r.load()
	if err != nil {
		return nil, err
	}
	if now.After(current.Root.Signed.Expires) {
		return nil, fmt.Errorf("%w: root, on %s", ErrExpired, current.Root.Signed.Expires.Format(time.DateOnly))
	}
	c := &change{current: current, root: current.Root, now: now}
	names := append([]string{rel.Name}, beside...)
	if current.chunkable(rel) {
		names = append(names, rel.Name+ChunksSuffix)
	}
	for _, name := range names {
		if err := c.free(rel, name); err != nil {
			return nil, err
		}
	}
	if err := current.unique(rel); err != nil {
		return nil, err
	}
	if !signing {
		return c, nil
	}
	if r.pending() {
		return nil, fmt.Errorf("%w: it was made for the repository as it is: publish it first, or discard it", ErrPending)
	}
	probe := &change{current: current, root: current.Root}
	home, err := current.home(rel, rel.Name)
	if err != nil {
		return nil, err
	}
	probe.roles = []changedRole{{name: home}}
	return c, probe.find(r, metadata.SNAPSHOT, metadata.TIMESTAMP)
}

// free says whether the name can become a target of the release.
func (c *change) free(rel Release, name string) error {
	role, err := c.current.home(rel, name)
	if err != nil {
		return err
	}
	if role != metadata.TARGETS && !c.current.published(role) {
		return nil
	}
	md, err := c.current.role(role)
	if err != nil {
		return err
	}
	if md.Signed.Targets[name] != nil {
		return fmt.Errorf("target name: %w", ErrExists)
	}
	return nil
}

// unique refuses a release that devices could not tell from another of its model,
// or whose counter does not come after all others.
func (v *view) unique(rel Release) error {
	want, err := twinKey(rel)
	if err != nil {
		return err
	}
	err = v.each(v.flat(), func(_ string, t Target) error {
		if t.Release == nil || t.Release.Model != rel.Model {
			return nil
		}
		if !rel.mayFollow(t.Release.Counter) {
			return counterError(rel, t.Release.Counter, t.Name)
		}
		have, err := twinKey(*t.Release)
		if err == nil && have == want {
			err = twinError(rel, t.Name)
		}
		return err
	})
	if err != nil || !v.binned() {
		return err
	}
	if err := v.openIndex(); err != nil {
		return err
	}
	return v.r.conflict(rel)
}

func (r *Repository) stageTarget(ctx context.Context, name string, content io.Reader) (stagedTarget, error) {
	f, err := stage(r.dir)
	if err != nil {
		return stagedTarget{}, err
	}
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(f, h), contextReader{ctx, content})
	if err == nil && n == 0 {
		err = fmt.Errorf("%w: no content", ErrInvalid)
	}
	if err != nil {
		discard(f)
		return stagedTarget{}, fmt.Errorf("store content: %w", err)
	}
	return stagedTarget{f, &metadata.TargetFiles{
		Length: n,
		Hashes: metadata.Hashes{"sha256": h.Sum(nil)},
		Path:   name,
	}}, nil
}

// sweepStaging removes what crashed writers left. The caller holds the upload
// lock, under which content is staged; metadata is staged under the other one,
// so with both nothing in staging is still wanted.
func (r *Repository) sweepStaging() {
	unlock, err := lock(filepath.Join(r.dir, lockFile))
	if err != nil {
		return
	}
	defer unlock()
	entries, err := os.ReadDir(filepath.Join(r.dir, stagingDir))
	if err != nil {
		return
	}
	for _, e := range entries {
		os.Remove(filepath.Join(r.dir, stagingDir, e.Name()))
	}
}

// contextReader stops a long copy when ctx ends.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, errors.Join(err, context.Cause(c.ctx))
	}
	return c.r.Read(p)
}
