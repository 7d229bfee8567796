package tuf

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// Rotate gives each named role new keys (as many as it had) and signs a new
// root; without roles it only renews the root's expiry. It needs the root keys
// and, of the other roles, the old keys of those named and the online keys.
// New keys are files KeysDir/<role>-v<root version>[-n].pem; the old files are
// left to be destroyed by their owner.
//
// Other roles than root change in two root versions: first both old and new
// keys are trusted, then everything is signed by both, then the old keys are
// dropped. So the repository verifies at each moment, and an interrupted
// rotation may be repeated. Once the old keys are dropped, a timestamp or
// snapshot that a thief signed with them no longer blocks clients
// (fast-forward recovery, TUF 1.0.31, section 5.3.11).
func (r *Repository) Rotate(now time.Time, roles ...string) error {
	for _, role := range roles {
		if !slices.Contains(metadata.TOP_LEVEL_ROLE_NAMES[:], role) {
			return fmt.Errorf("rotate keys: unknown role %q", role)
		}
	}
	if r.keys.Dir == "" {
		return errors.New("rotate keys: no keys directory given")
	}
	unlock, err := lock(filepath.Join(r.dir, lockFile))
	if err != nil {
		return fmt.Errorf("rotate keys: %w", err)
	}
	defer unlock()
	if err := r.rotate(now, roles); err != nil {
		return fmt.Errorf("rotate keys: %w", err)
	}
	return nil
}

func (r *Repository) rotate(now time.Time, roles []string) error {
	if err := r.finish(); err != nil {
		return err
	}
	current, err := r.load()
	if err != nil {
		return err
	}
	old := current.Root
	next, err := cloneRoot(old)
	if err != nil {
		return err
	}
	delegated := slices.DeleteFunc(slices.Clone(roles), func(role string) bool { return role == metadata.ROOT })
	added := map[string][]string{}
	for _, role := range roles {
		if added[role], err = r.newKeys(next, role, old.Signed.Version+1); err != nil {
			return err
		}
		if role == metadata.ROOT {
			if err := keepOnly(next, role, added[role]); err != nil {
				return err
			}
		}
	}
	if err := r.publishRoot(old, next, now); err != nil {
		return err
	}
	if len(delegated) == 0 {
		return nil
	}
	if err := r.signWithBoth(now, delegated); err != nil {
		return err
	}
	last, err := cloneRoot(next)
	if err != nil {
		return err
	}
	for _, role := range delegated {
		delete(last.Signed.Roles[role].UnrecognizedFields, retiringField)
		if err := keepOnly(last, role, added[role]); err != nil {
			return err
		}
	}
	return r.publishRoot(next, last, now)
}

// retiringField is a role's extra field in root.json: how many of its keys are
// about to be dropped. A rotation that finds it was preceded by one that was
// interrupted, and does not double the number of keys.
const retiringField = "x-troth-retiring"

// newKeys makes as many keys as the role has and adds them to root.
func (r *Repository) newKeys(root *metadata.Metadata[metadata.RootType], role string, version int64) ([]string, error) {
	delegation := root.Signed.Roles[role]
	count := len(delegation.KeyIDs)
	if retiring, ok := delegation.UnrecognizedFields[retiringField].(float64); ok && int(retiring) > 0 && int(retiring) < count {
		count -= int(retiring)
	}
	if role != metadata.ROOT {
		delegation.UnrecognizedFields[retiringField] = len(delegation.KeyIDs)
	}
	var ids []string
	for i := range count {
		name := fmt.Sprintf("%s-v%d.pem", role, version)
		if i > 0 {
			name = fmt.Sprintf("%s-v%d-%d.pem", role, version, i+1)
		}
		key, err := r.keys.create(filepath.Join(r.keys.Dir, name), keyTypeOf(root, role))
		if err != nil {
			return nil, err
		}
		if err := root.Signed.AddKey(key.public, role); err != nil {
			return nil, fmt.Errorf("add key: %w", err)
		}
		ids = append(ids, key.id)
	}
	return ids, nil
}

func keyTypeOf(root *metadata.Metadata[metadata.RootType], role string) string {
	for _, id := range root.Signed.Roles[role].KeyIDs {
		if key := root.Signed.Keys[id]; key != nil && key.Type != metadata.KeyTypeEd25519 {
			return KeyECDSA
		}
	}
	return KeyEd25519
}

// keepOnly revokes every key of role that is not in ids.
func keepOnly(root *metadata.Metadata[metadata.RootType], role string, ids []string) error {
	for _, id := range slices.Clone(root.Signed.Roles[role].KeyIDs) {
		if slices.Contains(ids, id) {
			continue
		}
		if err := root.Signed.RevokeKey(id, role); err != nil {
			return fmt.Errorf("revoke key: %w", err)
		}
	}
	return nil
}

// publishRoot signs next by its own root keys and by those of old (TUF 1.0.31,
// section 5.3.4: a threshold of both) and writes it.
func (r *Repository) publishRoot(old, next *metadata.Metadata[metadata.RootType], now time.Time) error {
	next.Signed.Version = old.Signed.Version + 1
	next.Signed.Expires = expiry(now, lifetime(next, metadata.ROOT))
	keys, err := r.keys.all()
	if err != nil {
		return err
	}
	before, err := r.signersFor(rootAuthority(old, metadata.ROOT), keys)
	if err != nil {
		return err
	}
	both, err := r.signersFor(rootAuthority(next, metadata.ROOT), keys)
	if err != nil {
		return err
	}
	for _, key := range before {
		if !slices.ContainsFunc(both, func(k signingKey) bool { return k.id == key.id }) {
			both = append(both, key)
		}
	}
	data, err := seal(rootAuthority(next, metadata.ROOT), next, both)
	if err != nil {
		return err
	}
	if err := old.VerifyDelegate(metadata.ROOT, next); err != nil {
		return fmt.Errorf("verify new root: %w", err)
	}
	return r.write([]file{{r.metadataPath(metadata.ROOT, next.Signed.Version), data}})
}

// signWithBoth signs the delegated roles anew while root trusts old and new keys.
func (r *Repository) signWithBoth(now time.Time, delegated []string) error {
	current, err := r.load()
	if err != nil {
		return err
	}
	c := &change{current: current, root: current.Root, snapshot: true, now: now}
	if slices.Contains(delegated, metadata.TARGETS) {
		targets := *current.targets()
		c.roles = []changedRole{{name: metadata.TARGETS, md: &targets}}
	}
	if err := c.find(r, metadata.SNAPSHOT, metadata.TIMESTAMP); err != nil {
		return err
	}
	if err := r.signOnline(c); err != nil {
		return err
	}
	return r.write(c.published)
}

func cloneRoot(root *metadata.Metadata[metadata.RootType]) (*metadata.Metadata[metadata.RootType], error) {
	data, err := root.ToBytes(false)
	if err != nil {
		return nil, fmt.Errorf("encode root: %w", err)
	}
	clone, err := metadata.Root().FromBytes(data)
	if err != nil {
		return nil, fmt.Errorf("parse root: %w", err)
	}
	return clone, nil
}
