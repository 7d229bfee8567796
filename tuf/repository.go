package tuf

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
	"github.com/theupdateframework/go-tuf/v2/metadata/trustedmetadata"
)

// Repository publishes into a directory. It keeps no state of its own: each
// operation reads and verifies what is on disk, so several processes may have
// the same repository open. Safe for concurrent use.
type Repository struct {
	dir  string
	keys Keys
	// afterStep is called after each durable step of a write; tests make it
	// fail to see what a crash there leaves behind.
	afterStep func(path string) error
}

// RoleStatus tells how long a role's signature still lives.
type RoleStatus struct {
	Role     string // root, targets, snapshot or timestamp
	Version  int64
	Expires  time.Time     // UTC
	Lifetime time.Duration // that a new signature gets
}

// Open opens a repository that Init made, and verifies its metadata (but not
// its expiry, which Refresh mends). Keys are read only when an operation needs
// them: keysDir may hold just some of them, or be empty to only read.
// The error wraps ErrNotFound if there is no repository in dir.
func Open(dir, keysDir string) (*Repository, error) {
	return OpenWith(dir, Keys{Dir: keysDir})
}

// OpenWith is Open with keys that are encrypted, or that a key management service
// holds.
func OpenWith(dir string, keys Keys) (*Repository, error) {
	r := &Repository{dir: dir, keys: keys}
	if err := r.mend(); err != nil {
		return nil, err
	}
	if _, err := r.load(); err != nil {
		return nil, err
	}
	return r, nil
}

// Releases lists the valid releases by model, newest first.
func (r *Repository) Releases() ([]Target, error) {
	current, err := r.load()
	if err != nil {
		return nil, err
	}
	bins, err := current.bins()
	if err != nil {
		return nil, err
	}
	var list []Target
	err = current.each(append(current.flat(), bins...), func(_ string, t Target) error {
		if t.Release != nil {
			list = append(list, t)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(list, func(a, b Target) int {
		return cmp.Or(cmp.Compare(a.Release.Model, b.Release.Model),
			cmp.Compare(b.Release.Counter, a.Release.Counter))
	})
	return list, nil
}

// Root returns the newest root metadata as signed: what a new device is given
// to trust.
func (r *Repository) Root() ([]byte, error) {
	current, err := r.load()
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile(r.metadataPath(metadata.ROOT, current.Root.Signed.Version))
	if err != nil {
		return nil, fmt.Errorf("read root: %w", err)
	}
	return data, nil
}

// Status lists the four roles in the order root, targets, snapshot, timestamp,
// so that a service can alert on those that Refresh cannot sign anew.
func (r *Repository) Status() ([]RoleStatus, error) {
	current, err := r.load()
	if err != nil {
		return nil, err
	}
	root, targets := current.Root.Signed, current.Targets[metadata.TARGETS].Signed
	snapshot, timestamp := current.Snapshot.Signed, current.Timestamp.Signed
	return []RoleStatus{
		{metadata.ROOT, root.Version, root.Expires, lifetime(current.Root, metadata.ROOT)},
		{metadata.TARGETS, targets.Version, targets.Expires, lifetime(current.Root, metadata.TARGETS)},
		{metadata.SNAPSHOT, snapshot.Version, snapshot.Expires, lifetime(current.Root, metadata.SNAPSHOT)},
		{metadata.TIMESTAMP, timestamp.Version, timestamp.Expires, lifetime(current.Root, metadata.TIMESTAMP)},
	}, nil
}

func (r *Repository) loadTrusted() (*trustedmetadata.TrustedMetadata, error) {
	first, err := os.ReadFile(r.metadataPath(metadata.ROOT, 1))
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("open repository %s: %w", r.dir, ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("read root: %w", err)
	}
	trusted, err := trustedmetadata.New(first)
	if err != nil {
		return nil, fmt.Errorf("verify root: %w", err)
	}
	// Before every expiry: an expired repository must still open to be mended.
	trusted.RefTime = time.Time{}
	if err := r.loadRoots(trusted); err != nil {
		return nil, err
	}
	timestamp, err := r.read(metadata.TIMESTAMP, 0)
	if err != nil {
		return nil, err
	}
	if _, err := trusted.UpdateTimestamp(timestamp); err != nil {
		return nil, fmt.Errorf("verify timestamp: %w", err)
	}
	meta := trusted.Timestamp.Signed.Meta["snapshot.json"]
	if meta == nil {
		return nil, errors.New("verify timestamp: it names no snapshot")
	}
	snapshot, err := r.read(metadata.SNAPSHOT, meta.Version)
	if err != nil {
		return nil, err
	}
	if _, err := trusted.UpdateSnapshot(snapshot, false); err != nil {
		return nil, fmt.Errorf("verify snapshot: %w", err)
	}
	meta = trusted.Snapshot.Signed.Meta["targets.json"]
	if meta == nil {
		return nil, errors.New("verify snapshot: it names no targets")
	}
	targets, err := r.read(metadata.TARGETS, meta.Version)
	if err != nil {
		return nil, err
	}
	if _, err := trusted.UpdateTargets(targets); err != nil {
		return nil, fmt.Errorf("verify targets: %w", err)
	}
	return trusted, nil
}

func (r *Repository) loadRoots(trusted *trustedmetadata.TrustedMetadata) error {
	for {
		next := trusted.Root.Signed.Version + 1
		data, err := os.ReadFile(r.metadataPath(metadata.ROOT, next))
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read root: %w", err)
		}
		if _, err := trusted.UpdateRoot(data); err != nil {
			return fmt.Errorf("verify root %d: %w", next, err)
		}
	}
}

func (r *Repository) read(role string, version int64) ([]byte, error) {
	data, err := os.ReadFile(r.metadataPath(role, version))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", role, err)
	}
	return data, nil
}

// metadataPath names a role's file; version 0 means the unversioned name.
func (r *Repository) metadataPath(role string, version int64) string {
	name := role + ".json"
	if version > 0 {
		name = fmt.Sprintf("%d.%s", version, name)
	}
	return filepath.Join(r.dir, metadataDir, name)
}
