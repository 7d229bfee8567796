package tuf

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
	"github.com/theupdateframework/go-tuf/v2/metadata/trustedmetadata"
)

// lifetimeField is a role's extra field in root.json: for how many seconds a
// new signature of that role is valid. It is signed, so whoever holds only the
// online keys cannot stretch it.
const lifetimeField = "x-troth-lifetime"

// Lifetimes of a new repository's signatures.
const (
	DefaultRootLifetime      = 365 * 24 * time.Hour
	DefaultTargetsLifetime   = 90 * 24 * time.Hour
	DefaultSnapshotLifetime  = 7 * 24 * time.Hour
	DefaultTimestampLifetime = 24 * time.Hour
)

func setLifetime(role *metadata.Role, d time.Duration) {
	if role.UnrecognizedFields == nil {
		role.UnrecognizedFields = map[string]any{}
	}
	role.UnrecognizedFields[lifetimeField] = int64(d / time.Second)
}

func lifetime(root *metadata.Metadata[metadata.RootType], role string) time.Duration {
	if seconds, ok := root.Signed.Roles[role].UnrecognizedFields[lifetimeField].(float64); ok && seconds >= 1 {
		return time.Duration(seconds) * time.Second
	}
	switch role {
	case metadata.ROOT:
		return DefaultRootLifetime
	case metadata.TARGETS:
		return DefaultTargetsLifetime
	case metadata.SNAPSHOT:
		return DefaultSnapshotLifetime
	}
	return DefaultTimestampLifetime
}

// expiry is the end of a lifetime that begins now, in the whole seconds that
// TUF's dates have.
func expiry(now time.Time, d time.Duration) time.Time {
	return now.UTC().Add(d).Truncate(time.Second)
}

// due says that less than half of a signature's life is left.
func due(now, expires time.Time, life time.Duration) bool {
	return expires.Sub(now) < life/2
}

// seal signs with every key and returns the bytes to publish, after verifying
// that root accepts them for role.
func seal[T metadata.Roles](root *metadata.Metadata[metadata.RootType], role string, md *metadata.Metadata[T], keys []signingKey) ([]byte, error) {
	md.ClearSignatures()
	for _, key := range keys {
		if _, err := md.Sign(key.signer); err != nil {
			return nil, fmt.Errorf("sign %s: %w", role, err)
		}
	}
	if err := root.VerifyDelegate(role, md); err != nil {
		return nil, fmt.Errorf("verify new %s: %w", role, err)
	}
	data, err := md.ToBytes(false)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", role, err)
	}
	return data, nil
}

// metaFile pins a signed file in the role above it.
func metaFile(version int64, data []byte) *metadata.MetaFiles {
	sum := sha256.Sum256(data)
	return &metadata.MetaFiles{
		Version: version,
		Length:  int64(len(data)),
		Hashes:  metadata.Hashes{"sha256": sum[:]},
	}
}

// change is what an operation wants signed anew. A nil role stays as it is.
type change struct {
	current   *trustedmetadata.TrustedMetadata
	root      *metadata.Metadata[metadata.RootType] // that everything is verified against
	targets   *metadata.Metadata[metadata.TargetsType]
	snapshot  bool // also if targets is nil
	signers   map[string][]signingKey
	now       time.Time
	published []file // files to write, in order
}

type file struct {
	path string
	data []byte
}

// signOnline fills c.published with the new targets (if any), snapshot (if
// wanted or needed) and timestamp, in the order in which they may appear.
func (r *Repository) signOnline(c *change) error {
	current := c.current
	snapshot, timestamp := *current.Snapshot, *current.Timestamp
	if c.targets != nil {
		c.targets.Signed.Version = r.nextVersion(metadata.TARGETS, current.Targets[metadata.TARGETS].Signed.Version)
		c.targets.Signed.Expires = expiry(c.now, lifetime(c.root, metadata.TARGETS))
		data, err := seal(c.root, metadata.TARGETS, c.targets, c.signers[metadata.TARGETS])
		if err != nil {
			return err
		}
		c.add(r.metadataPath(metadata.TARGETS, c.targets.Signed.Version), data)
		snapshot.Signed.Meta = map[string]*metadata.MetaFiles{}
		for name, meta := range current.Snapshot.Signed.Meta {
			snapshot.Signed.Meta[name] = meta
		}
		snapshot.Signed.Meta["targets.json"] = metaFile(c.targets.Signed.Version, data)
	}
	if c.targets != nil || c.snapshot {
		snapshot.Signed.Version = r.nextVersion(metadata.SNAPSHOT, current.Snapshot.Signed.Version)
		snapshot.Signed.Expires = expiry(c.now, lifetime(c.root, metadata.SNAPSHOT))
		data, err := seal(c.root, metadata.SNAPSHOT, &snapshot, c.signers[metadata.SNAPSHOT])
		if err != nil {
			return err
		}
		c.add(r.metadataPath(metadata.SNAPSHOT, snapshot.Signed.Version), data)
		timestamp.Signed.Meta = map[string]*metadata.MetaFiles{"snapshot.json": metaFile(snapshot.Signed.Version, data)}
	}
	timestamp.Signed.Version++
	timestamp.Signed.Expires = expiry(c.now, lifetime(c.root, metadata.TIMESTAMP))
	data, err := seal(c.root, metadata.TIMESTAMP, &timestamp, c.signers[metadata.TIMESTAMP])
	if err != nil {
		return err
	}
	c.add(r.metadataPath(metadata.TIMESTAMP, 0), data)
	return nil
}

func (c *change) add(path string, data []byte) {
	c.published = append(c.published, file{path, data})
}

// nextVersion skips versions that an interrupted operation already wrote: a
// versioned file never changes, so that caches may keep it for ever.
func (r *Repository) nextVersion(role string, current int64) int64 {
	next := current + 1
	for exists(r.metadataPath(role, next)) {
		next++
	}
	return next
}

// write makes signed files visible one by one, in order.
func (r *Repository) write(files []file) error {
	for _, f := range files {
		if err := writeFile(r.dir, f.path, f.data, 0o644); err != nil {
			return err
		}
		if err := r.step(f.path); err != nil {
			return err
		}
	}
	return nil
}

func (r *Repository) step(path string) error {
	if r.afterStep == nil {
		return nil
	}
	return r.afterStep(path)
}

// signers loads the keys of the named roles, or says which are missing.
func (r *Repository) signers(root *metadata.Metadata[metadata.RootType], roles ...string) (map[string][]signingKey, error) {
	keys, err := loadKeys(r.keysDir)
	if err != nil {
		return nil, err
	}
	found := map[string][]signingKey{}
	for _, role := range roles {
		if found[role], err = r.signersFor(root, keys, role); err != nil {
			return nil, err
		}
	}
	return found, nil
}

func rawJSON(v any) (*json.RawMessage, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode custom: %w", err)
	}
	raw := json.RawMessage(data)
	return &raw, nil
}
