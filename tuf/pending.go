package tuf

import (
	"fmt"
	"os"
	"path/filepath"
)

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
