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
	// review judges what is about to be published; nil: nobody does.
	review Reviewer
	// afterStep is called after each durable step of a write; tests make it
	// fail to see what a crash there leaves behind.
	afterStep func(path string) error
}

// RoleStatus tells how long a role's signature still lives, and who signs it.
type RoleStatus struct {
	Role      string // root, targets, snapshot, timestamp, a delegated role, or the hash bin that expires first
	Version   int64  // 0: it has published nothing yet
	Expires   time.Time
	Lifetime  time.Duration // that a new signature gets
	KeyIDs    []string
	Threshold int
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

// Status lists the roles: root, targets, snapshot, timestamp, then those that are
// delegated, and of hash bins the one that expires first.
func (r *Repository) Status() ([]RoleStatus, error) {
	current, err := r.load()
	if err != nil {
		return nil, err
	}
	list, err := current.status()
	if err != nil {
		return nil, err
	}
	first, err := current.firstBin()
	if err != nil {
		return nil, err
	}
	return current.signers(append(list, first...))
}

// Roles is Status without the hash bins, which it does not read.
func (r *Repository) Roles() ([]RoleStatus, error) {
	current, err := r.load()
	if err != nil {
		return nil, err
	}
	list, err := current.status()
	if err != nil {
		return nil, err
	}
	return current.signers(list)
}

func (v *view) status() ([]RoleStatus, error) {
	current := v
	root, targets := current.Root.Signed, current.targets().Signed
	snapshot, timestamp := current.Snapshot.Signed, current.Timestamp.Signed
	list := []RoleStatus{
		{Role: metadata.ROOT, Version: root.Version, Expires: root.Expires},
		{Role: metadata.TARGETS, Version: targets.Version, Expires: targets.Expires},
		{Role: metadata.SNAPSHOT, Version: snapshot.Version, Expires: snapshot.Expires},
		{Role: metadata.TIMESTAMP, Version: timestamp.Version, Expires: timestamp.Expires},
	}
	if targets.Delegations != nil {
		for _, d := range targets.Delegations.Roles {
			s := RoleStatus{Role: d.Name}
			if current.published(d.Name) {
				md, err := current.role(d.Name)
				if err != nil {
					return nil, err
				}
				s.Version, s.Expires = md.Signed.Version, md.Signed.Expires
			}
			list = append(list, s)
		}
	}
	return list, nil
}

// signers says who signs each role, and for how long.
func (v *view) signers(list []RoleStatus) ([]RoleStatus, error) {
	for i := range list {
		a, err := v.authority(list[i].Role)
		if err != nil {
			return nil, err
		}
		list[i].Lifetime, list[i].KeyIDs, list[i].Threshold = a.life, a.ids, a.threshold
	}
	return list, nil
}

// firstBin is the hash bin that expires first, if there are any.
func (v *view) firstBin() ([]RoleStatus, error) {
	bins, err := v.bins()
	if err != nil {
		return nil, err
	}
	var first []RoleStatus
	for _, bin := range bins {
		md, err := v.role(bin)
		if err != nil {
			return nil, err
		}
		if first == nil || md.Signed.Expires.Before(first[0].Expires) {
			first = []RoleStatus{{Role: bin, Version: md.Signed.Version, Expires: md.Signed.Expires}}
		}
		delete(v.Targets, bin)
	}
	return first, nil
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
