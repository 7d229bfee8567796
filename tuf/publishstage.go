package tuf

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// PublishStage takes the signatures of the given copies of the pending stage (or
// only those that it has), and publishes it if they are enough, with snapshot and
// timestamp keys from the repository's keys. Signatures stay collected if they are
// not: the error is then a *MissingSignaturesError. Other errors wrap ErrPending
// (nothing is staged), ErrStage, ErrExpired (it was staged too long ago), ErrLocked
// or are *MissingKeyError.
//
// Where everything else also verifies under the old root the new root comes last,
// and a client sees the repository before or after. Where it does not (a key was
// lost or taken away) the root comes first, and a client that asks in the moment
// between refuses what it sees and keeps what it has.
func (r *Repository) PublishStage(now time.Time, copies ...*Stage) (*Stage, error) {
	unlock, err := lock(filepath.Join(r.dir, lockFile))
	if err != nil {
		return nil, fmt.Errorf("publish stage: %w", err)
	}
	defer unlock()
	s, err := r.publishStage(now, copies)
	if err != nil {
		return s, fmt.Errorf("publish stage: %w", err)
	}
	return s, nil
}

func (r *Repository) publishStage(now time.Time, copies []*Stage) (*Stage, error) {
	if err := r.finish(); err != nil {
		return nil, err
	}
	current, err := r.load()
	if err != nil {
		return nil, err
	}
	if !r.pending() {
		return nil, fmt.Errorf("%w: nothing is", ErrPending)
	}
	s, err := r.readPending()
	if err != nil {
		return nil, err
	}
	if err := s.fits(current); err != nil {
		return nil, err
	}
	for _, other := range copies {
		if err := s.Merge(other); err != nil {
			return nil, err
		}
	}
	if err := r.savePending(s); err != nil {
		return nil, err
	}
	if err := s.complete(now); err != nil {
		return s, err
	}
	if err := r.reviewStage(s); err != nil {
		return s, err
	}
	c := &change{current: current, root: s.nextRoot(), roles: s.roles, snapshot: true, now: now}
	files, err := r.signStage(c, s)
	if err != nil {
		return s, err
	}
	if err := r.placeContent(s); err != nil {
		return s, err
	}
	if err := r.begin(files); err != nil {
		return s, err
	}
	return s, r.indexed(c, s.releases(), r.finish)
}

// complete says what is missing, or has expired.
func (s *Stage) complete(now time.Time) error {
	needs, err := s.Needs()
	if err != nil {
		return err
	}
	if slices.ContainsFunc(needs, func(n Need) bool { return !n.Met() }) {
		return &MissingSignaturesError{needs}
	}
	if now.After(s.nextRoot().Signed.Expires) {
		return fmt.Errorf("%w: root, on %s: stage its renewal", ErrExpired, s.nextRoot().Signed.Expires.Format(time.DateOnly))
	}
	for _, role := range s.roles {
		if now.After(role.md.Signed.Expires) {
			return fmt.Errorf("%w: the staged %s, on %s: discard the stage and stage again", ErrExpired, role.name, role.md.Signed.Expires.Format(time.DateOnly))
		}
	}
	return nil
}

// signStage signs snapshot and timestamp, and orders the files.
func (r *Repository) signStage(c *change, s *Stage) ([]file, error) {
	if err := c.find(r, metadata.SNAPSHOT, metadata.TIMESTAMP); err != nil {
		return nil, err
	}
	if s.next == nil {
		err := r.signOnline(c)
		return c.published, err
	}
	old := s.root()
	all, err := r.keys.all()
	if err != nil {
		return nil, err
	}
	// The old keys sign too, where they are here, so that clients need not have
	// the new root yet.
	for _, role := range []string{metadata.SNAPSHOT, metadata.TIMESTAMP} {
		for _, id := range old.Signed.Roles[role].KeyIDs {
			key, ok := all[id]
			if ok && !slices.ContainsFunc(c.signers[role], func(k signingKey) bool { return k.id == id }) {
				c.signers[role] = append(c.signers[role], key)
			}
		}
	}
	if err := r.signOnline(c); err != nil {
		return nil, err
	}
	if err := old.VerifyDelegate(metadata.ROOT, s.next); err != nil {
		return nil, fmt.Errorf("verify new root: %w", err)
	}
	data, err := encode(rootAuthority(s.next, metadata.ROOT), s.next)
	if err != nil {
		return nil, err
	}
	root := file{r.metadataPath(metadata.ROOT, s.next.Signed.Version), data}
	if r.bridged(old, c) {
		return append(c.published, root), nil
	}
	return append([]file{root}, c.published...), nil
}

// bridged says whether the old root accepts everything that is about to be
// published.
func (r *Repository) bridged(old *metadata.Metadata[metadata.RootType], c *change) bool {
	for _, f := range c.published {
		var err error
		switch name := base(f.path); {
		case strings.HasSuffix(name, ".snapshot.json"):
			err = underRoot(old, metadata.SNAPSHOT, f.data, metadata.Snapshot())
		case name == "timestamp.json":
			err = underRoot(old, metadata.TIMESTAMP, f.data, metadata.Timestamp())
		case strings.HasSuffix(name, ".targets.json"):
			err = underRoot(old, metadata.TARGETS, f.data, metadata.Targets())
		}
		if err != nil {
			return false
		}
	}
	return true
}

func underRoot[T metadata.Roles](root *metadata.Metadata[metadata.RootType], role string, data []byte, md *metadata.Metadata[T]) error {
	parsed, err := parseSigned(role, data, md)
	if err != nil {
		return err
	}
	return root.VerifyDelegate(role, parsed)
}

// added are the targets that the stage publishes.
func (s *Stage) added() map[string]*metadata.TargetFiles {
	added := map[string]*metadata.TargetFiles{}
	for _, role := range s.roles {
		maps.Copy(added, role.md.Signed.Targets)
		if old := s.context[role.name]; old != nil {
			for name, f := range old.Signed.Targets {
				if equal(f, added[name]) {
					delete(added, name)
				}
			}
		}
	}
	return added
}

func (s *Stage) releases() []Release {
	var list []Release
	for name, f := range s.added() {
		if t := NewTarget(name, f); t.Release != nil {
			list = append(list, *t.Release)
		}
	}
	return list
}

// placeContent makes the staged content visible. It stays in the stage too until
// the metadata is: publishing can be repeated.
func (r *Repository) placeContent(s *Stage) error {
	for name, f := range s.added() {
		t := NewTarget(name, f)
		final := filepath.Join(r.dir, targetsDir, filepath.FromSlash(t.Path(true)))
		if exists(final) {
			continue
		}
		if err := os.MkdirAll(filepath.Dir(final), 0o755); err != nil {
			return fmt.Errorf("make directory: %w", err)
		}
		err := os.Link(r.stagePath(filepath.Join(contentDir, t.Hashes["sha256"])), final)
		if errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("%w: the content of %s is not here", ErrStage, name)
		}
		if err != nil {
			return fmt.Errorf("place content: %w", err)
		}
		if err := syncDir(filepath.Dir(final)); err != nil {
			return err
		}
		if err := r.step(final); err != nil {
			return err
		}
	}
	return nil
}
