package tuf

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// Publish stores content as the release's target and signs it into targets,
// snapshot and timestamp; it needs the keys of these three roles. Content is
// streamed to disk and may be as large as the disk. The release is visible to
// clients when Publish returns, and not before its content is.
//
// Errors wrap ErrInvalid, ErrCounter (the model has this counter or a higher
// one), ErrExists (the target name is taken), ErrExpired (root), ErrLocked, or
// are *MissingKeyError; each is found before content is read where it can be.
// After any error the repository is as it was.
func (r *Repository) Publish(ctx context.Context, rel Release, content io.Reader, now time.Time) (Target, error) {
	target, err := r.publish(ctx, rel, content, now)
	if err != nil {
		return Target{}, fmt.Errorf("publish %q: %w", rel.Name, err)
	}
	return target, nil
}

func (r *Repository) publish(ctx context.Context, rel Release, content io.Reader, now time.Time) (Target, error) {
	if err := rel.Validate(); err != nil {
		return Target{}, err
	}
	unlockUpload, err := lock(filepath.Join(r.dir, uploadFile))
	if err != nil {
		return Target{}, err
	}
	defer unlockUpload()
	if _, err := r.preparePublish(rel, now); err != nil {
		return Target{}, err
	}
	r.sweepStaging()
	staged, entry, err := r.stageContent(ctx, rel, content)
	if err != nil {
		return Target{}, err
	}
	defer discard(staged)

	unlock, err := lock(filepath.Join(r.dir, lockFile))
	if err != nil {
		return Target{}, err
	}
	defer unlock()
	c, err := r.preparePublish(rel, now)
	if err != nil {
		return Target{}, err
	}
	c.targets.Signed.Targets[rel.Name] = entry
	if err := r.signOnline(c); err != nil {
		return Target{}, err
	}
	target := NewTarget(rel.Name, entry)
	if target.Release == nil {
		return Target{}, fmt.Errorf("%w: it does not read back", ErrInvalid)
	}
	path := filepath.Join(r.dir, targetsDir, filepath.FromSlash(target.Path(true)))
	if err := place(staged, path, 0o644); err != nil {
		return Target{}, err
	}
	if err := r.step(path); err != nil {
		return Target{}, err
	}
	if err := r.write(c.published); err != nil {
		return Target{}, err
	}
	return target, nil
}

// preparePublish checks everything that does not depend on the content.
func (r *Repository) preparePublish(rel Release, now time.Time) (*change, error) {
	current, err := r.load()
	if err != nil {
		return nil, err
	}
	if now.After(current.Root.Signed.Expires) {
		return nil, fmt.Errorf("%w: root, on %s", ErrExpired, current.Root.Signed.Expires.Format(time.DateOnly))
	}
	targets := *current.Targets[metadata.TARGETS]
	for name, f := range targets.Signed.Targets {
		if name == rel.Name {
			return nil, fmt.Errorf("target name: %w", ErrExists)
		}
		old := NewTarget(name, f).Release
		if old != nil && old.Model == rel.Model && old.Counter >= rel.Counter {
			return nil, fmt.Errorf("%w: %s has %d (%s)", ErrCounter, rel.Model, old.Counter, name)
		}
	}
	signers, err := r.signers(current.Root, metadata.TARGETS, metadata.SNAPSHOT, metadata.TIMESTAMP)
	if err != nil {
		return nil, err
	}
	targets.Signed.Targets = maps.Clone(targets.Signed.Targets)
	return &change{current: current, root: current.Root, targets: &targets, signers: signers, now: now}, nil
}

// stageContent copies content to a staged file and describes it as a target.
func (r *Repository) stageContent(ctx context.Context, rel Release, content io.Reader) (*os.File, *metadata.TargetFiles, error) {
	custom, err := rawJSON(rel)
	if err != nil {
		return nil, nil, err
	}
	f, err := stage(r.dir)
	if err != nil {
		return nil, nil, err
	}
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(f, h), contextReader{ctx, content})
	if err == nil && n == 0 {
		err = fmt.Errorf("%w: no content", ErrInvalid)
	}
	if err != nil {
		discard(f)
		return nil, nil, fmt.Errorf("store content: %w", err)
	}
	return f, &metadata.TargetFiles{
		Length: n,
		Hashes: metadata.Hashes{"sha256": h.Sum(nil)},
		Custom: custom,
		Path:   rel.Name,
	}, nil
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
