package tuf

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// StageRelease stages a release instead of publishing it: the content is kept
// beside the repository until the keys of its role have signed. Errors are those
// of Publish and Stage.
func (r *Repository) StageRelease(ctx context.Context, rel Release, content io.Reader, files Files, now time.Time) (*Stage, error) {
	if err := rel.unpublished(); err != nil {
		return nil, fmt.Errorf("stage %q: %w", rel.Name, err)
	}
	staged, rel, done, err := r.receive(ctx, rel, content, files, func() (*change, error) {
		return r.preparePublish(rel, now, false, files.names(rel))
	})
	defer done()
	if err != nil {
		return nil, fmt.Errorf("stage %q: %w", rel.Name, err)
	}
	return r.Stage(now, func(d *Draft) error { return d.release(rel, staged) })
}

func (d *Draft) release(rel Release, content []stagedTarget) error {
	if d.converting() {
		return fmt.Errorf("%w: publish the hash bins before a release that belongs into one", ErrPending)
	}
	if _, err := d.r.preparePublish(rel, d.now, false, besides(content)); err != nil {
		return err
	}
	for _, changed := range d.roles {
		for name, f := range changed.md.Signed.Targets {
			t := NewTarget(name, f)
			if t.Release == nil || t.Release.Model != rel.Model || name == rel.Name {
				continue
			}
			if !rel.mayFollow(t.Release.Counter) {
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

// Withdraw takes a target out of the role that has it, and with a release what was
// published beside it.
func (d *Draft) Withdraw(name string) error {
	md, err := d.holder(name)
	if err != nil {
		return err
	}
	rel := NewTarget(name, md.Signed.Targets[name]).Release
	delete(md.Signed.Targets, name)
	if rel == nil {
		return nil
	}
	for name, digest := range rel.beside() {
		md, err := d.holder(name)
		switch {
		case errors.Is(err, ErrNotFound):
			continue
		case err != nil:
			return err
		}
		if NewTarget(name, md.Signed.Targets[name]).Hashes["sha256"] == digest {
			delete(md.Signed.Targets, name)
		}
	}
	return nil
}

// AllowDowngrade has the signed metadata of a published release say that devices
// may go back to it from releases of its model whose counter is at most from. The
// error wraps ErrNotFound, or ErrInvalid where the target is no release or the
// counter not above its own.
func (d *Draft) AllowDowngrade(name string, from uint64) error {
	md, err := d.holder(name)
	if err != nil {
		return err
	}
	f := *md.Signed.Targets[name]
	rel := NewTarget(name, &f).Release
	if rel == nil {
		return fmt.Errorf("target %q: %w: it is no release", name, ErrInvalid)
	}
	rel.DowngradeFrom = from
	if err := rel.Validate(); err != nil {
		return err
	}
	// What this version does not know of a release stays in it.
	var custom map[string]json.RawMessage
	if err := json.Unmarshal(*f.Custom, &custom); err != nil {
		return fmt.Errorf("target %q: %w: %w", name, ErrInvalid, err)
	}
	custom["downgrade_from"] = json.RawMessage(strconv.FormatUint(from, 10))
	if f.Custom, err = rawJSON(custom); err != nil {
		return err
	}
	md.Signed.Targets[name] = &f
	return nil
}

// holder is a copy to edit of the role that has the target.
func (d *Draft) holder(name string) (*metadata.Metadata[metadata.TargetsType], error) {
	roles := d.current.flat()
	if d.current.binned() {
		bin, err := d.current.bin(name)
		if err != nil {
			return nil, err
		}
		roles = append(roles, bin)
	}
	for _, role := range roles {
		md, err := d.current.role(role)
		if err != nil {
			return nil, err
		}
		if md.Signed.Targets[name] == nil {
			continue
		}
		return d.edit(role)
	}
	return nil, fmt.Errorf("target %q: %w", name, ErrNotFound)
}
