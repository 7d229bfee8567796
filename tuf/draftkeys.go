package tuf

import (
	"crypto"
	"fmt"
	"slices"
	"strings"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// AddKey lets a key sign for a role: root, targets, snapshot, timestamp, or a
// delegated one.
func (d *Draft) AddKey(role string, pub crypto.PublicKey) error {
	key, id, err := PublicKey(pub)
	if err != nil {
		return err
	}
	return d.keys(role, func(ids *[]string, threshold *int, keys map[string]*metadata.Key) error {
		if slices.Contains(*ids, id) {
			return fmt.Errorf("%w: %s has key %s", ErrExists, role, short(id))
		}
		*ids, keys[id] = append(slices.Clone(*ids), id), key
		return nil
	})
}

// RemoveKey takes a key, named by the beginning of its id, from a role. What only
// it has signed is staged to be signed anew.
func (d *Draft) RemoveKey(role, id string) error {
	return d.keys(role, func(ids *[]string, threshold *int, _ map[string]*metadata.Key) error {
		var match []string
		for _, have := range *ids {
			if id != "" && strings.HasPrefix(have, id) {
				match = append(match, have)
			}
		}
		if len(match) != 1 {
			return fmt.Errorf("%w: %d keys of %s begin with %q", ErrInvalid, len(match), role, id)
		}
		if len(*ids)-1 < *threshold {
			return fmt.Errorf("%w: %s would keep %d keys for a threshold of %d: add a key or lower the threshold first", ErrInvalid, role, len(*ids)-1, *threshold)
		}
		*ids = slices.DeleteFunc(slices.Clone(*ids), func(have string) bool { return have == match[0] })
		return nil
	})
}

// SetThreshold says how many keys of a role must sign.
func (d *Draft) SetThreshold(role string, n int) error {
	return d.keys(role, func(ids *[]string, threshold *int, _ map[string]*metadata.Key) error {
		if n < 1 || n > len(*ids) {
			return fmt.Errorf("%w: %d of %d keys", ErrInvalid, n, len(*ids))
		}
		*threshold = n
		return nil
	})
}

// keys edits who signs for a role, wherever that is written. That of the bins is
// written twice: by targets and by the releases role.
func (d *Draft) keys(role string, edit func(ids *[]string, threshold *int, keys map[string]*metadata.Key) error) error {
	if slices.Contains(metadata.TOP_LEVEL_ROLE_NAMES[:], role) {
		root, err := d.newRoot()
		if err != nil {
			return err
		}
		entry := root.Signed.Roles[role]
		if err := edit(&entry.KeyIDs, &entry.Threshold, root.Signed.Keys); err != nil {
			return err
		}
		dropUnused(root)
		return nil
	}
	targets, err := d.delegations(metadata.TARGETS)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(targets.Roles, func(r metadata.DelegatedRole) bool { return r.Name == role })
	if i < 0 {
		return fmt.Errorf("role %.70q: %w", role, ErrNoRole)
	}
	if err := edit(&targets.Roles[i].KeyIDs, &targets.Roles[i].Threshold, targets.Keys); err != nil {
		return err
	}
	if role != releasesRole {
		return nil
	}
	releases, err := d.delegations(releasesRole)
	if err != nil {
		return err
	}
	return edit(&releases.SuccinctRoles.KeyIDs, &releases.SuccinctRoles.Threshold, releases.Keys)
}

func dropUnused(root *metadata.Metadata[metadata.RootType]) {
	for id := range root.Signed.Keys {
		used := false
		for _, role := range root.Signed.Roles {
			used = used || slices.Contains(role.KeyIDs, id)
		}
		if !used {
			delete(root.Signed.Keys, id)
		}
	}
}
