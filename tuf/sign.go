package tuf

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
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
	standard := DefaultTimestampLifetime
	switch role {
	case metadata.ROOT:
		standard = DefaultRootLifetime
	case metadata.TARGETS:
		standard = DefaultTargetsLifetime
	case metadata.SNAPSHOT:
		standard = DefaultSnapshotLifetime
	}
	return lifeOf(root.Signed.Roles[role].UnrecognizedFields, standard)
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

// metaFile pins a signed file in the role above it.
func metaFile(version int64, data []byte) *metadata.MetaFiles {
	sum := sha256.Sum256(data)
	return &metadata.MetaFiles{
		Version: version,
		Length:  int64(len(data)),
		Hashes:  metadata.Hashes{"sha256": sum[:]},
	}
}

// change is what an operation wants published. What it does not name stays as it is.
type change struct {
	current   *view
	root      *metadata.Metadata[metadata.RootType] // that everything is verified against
	roles     []changedRole                         // a delegator before those to whom it delegates
	snapshot  bool                                  // also if no role changed
	signers   map[string][]signingKey               // by role
	now       time.Time
	published []file // files to write, in order
}

// changedRole is targets or a delegated role with new content.
type changedRole struct {
	name   string
	md     *metadata.Metadata[metadata.TargetsType]
	sealed bool // version, expiry and signatures are those of a ceremony
}

type file struct {
	path string
	data []byte
}

// authority is who may sign a role once the change is published.
func (c *change) authority(role string) (authority, error) {
	if slices.Contains(metadata.TOP_LEVEL_ROLE_NAMES[:], role) {
		return rootAuthority(c.root, role), nil
	}
	for _, changed := range c.roles {
		if changed.md == nil {
			continue
		}
		if a, ok := delegatedAuthority(changed.md, role, lifetime(c.root, metadata.TARGETS)); ok {
			return a, nil
		}
	}
	return c.current.authority(role)
}

// find loads the keys for every role that has to be signed, or says which are
// missing.
func (c *change) find(r *Repository, roles ...string) error {
	keys, err := r.keys.all()
	if err != nil {
		return err
	}
	c.signers = map[string][]signingKey{}
	for _, changed := range c.roles {
		if !changed.sealed {
			roles = append(roles, changed.name)
		}
	}
	for _, role := range roles {
		a, err := c.authority(role)
		if err != nil {
			return err
		}
		if c.signers[role], err = r.signersFor(a, keys); err != nil {
			return err
		}
	}
	return nil
}

// signOnline fills c.published with the changed roles (if any), snapshot (if
// wanted or needed) and timestamp, in the order in which they may appear.
func (r *Repository) signOnline(c *change) error {
	snapshot, timestamp := *c.current.Snapshot, *c.current.Timestamp
	if len(c.roles) > 0 || c.snapshot {
		snapshot.Signed.Meta = maps.Clone(snapshot.Signed.Meta)
		for _, changed := range c.roles {
			meta, err := r.signRole(c, changed)
			if err != nil {
				return err
			}
			snapshot.Signed.Meta[changed.name+".json"] = meta
		}
		snapshot.Signed.Version = r.nextVersion(metadata.SNAPSHOT, c.current.Snapshot.Signed.Version)
		snapshot.Signed.Expires = expiry(c.now, lifetime(c.root, metadata.SNAPSHOT))
		data, err := seal(rootAuthority(c.root, metadata.SNAPSHOT), &snapshot, c.signers[metadata.SNAPSHOT])
		if err != nil {
			return err
		}
		c.add(r.metadataPath(metadata.SNAPSHOT, snapshot.Signed.Version), data)
		timestamp.Signed.Meta = map[string]*metadata.MetaFiles{"snapshot.json": metaFile(snapshot.Signed.Version, data)}
	}
	timestamp.Signed.Version++
	timestamp.Signed.Expires = expiry(c.now, lifetime(c.root, metadata.TIMESTAMP))
	data, err := seal(rootAuthority(c.root, metadata.TIMESTAMP), &timestamp, c.signers[metadata.TIMESTAMP])
	if err != nil {
		return err
	}
	c.add(r.metadataPath(metadata.TIMESTAMP, 0), data)
	return nil
}

// signRole signs a changed role, where no ceremony has, and says how the snapshot
// pins it. A bin is pinned by its version alone: a thousand lengths and hashes
// would make every device read three times as much.
func (r *Repository) signRole(c *change, changed changedRole) (*metadata.MetaFiles, error) {
	a, err := c.authority(changed.name)
	if err != nil {
		return nil, err
	}
	var data []byte
	if changed.sealed {
		data, err = encode(a, changed.md)
	} else {
		changed.md.Signed.Version = r.nextVersion(changed.name, c.publishedVersion(changed.name))
		changed.md.Signed.Expires = expiry(c.now, a.life)
		data, err = seal(a, changed.md, c.signers[changed.name])
	}
	if err != nil {
		return nil, err
	}
	c.add(r.metadataPath(changed.name, changed.md.Signed.Version), data)
	if strings.HasPrefix(changed.name, binPrefix+"-") {
		return &metadata.MetaFiles{Version: changed.md.Signed.Version}, nil
	}
	return metaFile(changed.md.Signed.Version, data), nil
}

// publishedVersion is that of the role's last metadata; 0 where it has none.
func (c *change) publishedVersion(role string) int64 {
	if meta := c.current.Snapshot.Signed.Meta[role+".json"]; meta != nil {
		return meta.Version
	}
	return 0
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

func rawJSON(v any) (*json.RawMessage, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode custom: %w", err)
	}
	raw := json.RawMessage(data)
	return &raw, nil
}
