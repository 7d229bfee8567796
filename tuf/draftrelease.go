package tuf

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"time"
)

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
