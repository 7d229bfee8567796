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
	return r.PublishWithFiles(ctx, rel, content, Files{}, now)
}

// Files is what a release may run, for PublishWithFiles.
type Files struct {
	Algorithm string    // of the digests in AllowList: sha256, sha384, sha512
	AllowList io.Reader // as ParseAllowList reads it; nil: none
}

// AllowListSuffix is what the target name of a release's allow-list adds to that
// of its image.
const AllowListSuffix = ".ima-allow"

// PublishWithFiles is Publish with an allow-list, which becomes a target of its
// own beside the image; what rel.IMA says of it is filled in. A list that a
// verifier could not read is refused with ErrInvalid.
func (r *Repository) PublishWithFiles(ctx context.Context, rel Release, content io.Reader, files Files, now time.Time) (Target, error) {
	target, err := r.publish(ctx, rel, content, files, now)
	if err != nil {
		return Target{}, fmt.Errorf("publish %q: %w", rel.Name, err)
	}
	return target, nil
}

func (r *Repository) publish(ctx context.Context, rel Release, content io.Reader, files Files, now time.Time) (Target, error) {
	if rel.IMA != nil && rel.IMA.AllowList != nil {
		return Target{}, fmt.Errorf("%w: the allow-list's place is filled in by publishing it", ErrInvalid)
	}
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
	var staged []stagedTarget
	defer func() {
		for _, s := range staged {
			discard(s.file)
		}
	}()
	if files.AllowList != nil {
		list, err := r.stageAllowList(ctx, &rel, files)
		if err != nil {
			return Target{}, err
		}
		staged = append(staged, list)
	}
	image, err := r.stageContent(ctx, rel, content)
	if err != nil {
		return Target{}, err
	}
	staged = append(staged, image)
	return image.target(), r.commit(rel, staged, now)
}

// commit signs the staged targets in, and makes them visible before the metadata.
func (r *Repository) commit(rel Release, staged []stagedTarget, now time.Time) error {
	unlock, err := lock(filepath.Join(r.dir, lockFile))
	if err != nil {
		return err
	}
	defer unlock()
	c, err := r.preparePublish(rel, now)
	if err != nil {
		return err
	}
	for _, s := range staged {
		c.targets.Signed.Targets[s.entry.Path] = s.entry
	}
	if err := r.signOnline(c); err != nil {
		return err
	}
	if NewTarget(rel.Name, c.targets.Signed.Targets[rel.Name]).Release == nil {
		return fmt.Errorf("%w: it does not read back", ErrInvalid)
	}
	for _, s := range staged {
		path := filepath.Join(r.dir, targetsDir, filepath.FromSlash(s.target().Path(true)))
		if err := place(s.file, path, 0o644); err != nil {
			return err
		}
		if err := r.step(path); err != nil {
			return err
		}
	}
	return r.write(c.published)
}

// stagedTarget is content on disk that no metadata speaks of yet.
type stagedTarget struct {
	file  *os.File
	entry *metadata.TargetFiles
}

func (s stagedTarget) target() Target { return NewTarget(s.entry.Path, s.entry) }

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
		if name == rel.Name || name == rel.Name+AllowListSuffix {
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
func (r *Repository) stageContent(ctx context.Context, rel Release, content io.Reader) (stagedTarget, error) {
	custom, err := rawJSON(rel)
	if err != nil {
		return stagedTarget{}, err
	}
	s, err := r.stageTarget(ctx, rel.Name, content)
	if err != nil {
		return stagedTarget{}, err
	}
	s.entry.Custom = custom
	return s, nil
}

// stageAllowList stages the release's allow-list as it reads it, and names it in
// the release.
func (r *Repository) stageAllowList(ctx context.Context, rel *Release, files Files) (stagedTarget, error) {
	name := rel.Name + AllowListSuffix
	if err := ValidName(name); err != nil {
		return stagedTarget{}, err
	}
	s, err := r.stageTarget(ctx, name, io.LimitReader(files.AllowList, MaxAllowListBytes+1))
	if err != nil {
		return stagedTarget{}, err
	}
	list := IMA{}
	if rel.IMA != nil {
		list = *rel.IMA
	}
	list.AllowList = &AllowList{Target: name, Length: s.entry.Length, SHA256: s.target().Hashes["sha256"], Algorithm: files.Algorithm}
	if err := s.checkAllowList(*list.AllowList); err != nil {
		discard(s.file)
		return stagedTarget{}, err
	}
	rel.IMA = &list
	return s, nil
}

// checkAllowList reads the staged file as a verifier will.
func (s stagedTarget) checkAllowList(l AllowList) error {
	if err := l.validate(); err != nil {
		return err
	}
	if _, err := s.file.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("read allow-list: %w", err)
	}
	return ParseAllowList(s.file, l.Algorithm, func([]byte) error { return nil })
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
