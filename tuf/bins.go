package tuf

import (
	"crypto"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// DefaultBinLifetime is how long the signature on a hash bin lives: there are many
// of them, and each publishing renews only its own.
const DefaultBinLifetime = 365 * 24 * time.Hour

// firstBins makes empty hash bins (TAP 15, TUF 1.0.31 section 4.5), if any are
// wanted: targets delegates everything to the releases role, which delegates to
// each bin the names whose hash begins with its number.
func (r *Repository) firstBins(targets *metadata.Metadata[metadata.TargetsType], snapshot *metadata.Metadata[metadata.SnapshotType], o InitOptions, life time.Duration) ([]file, error) {
	if o.BinBits == 0 {
		return nil, nil
	}
	key, err := o.keys().obtain(releasesRole, 1, o.KeyType)
	if err != nil {
		return nil, err
	}
	keys := map[string]*metadata.Key{key.id: key.public}
	targets.Signed.Delegations = &metadata.Delegations{Keys: keys, Roles: []metadata.DelegatedRole{toReleases([]string{key.id}, 1)}}
	releases := metadata.Targets(expiry(o.Now, DefaultBinLifetime))
	releases.Signed.Delegations = &metadata.Delegations{Keys: keys, SuccinctRoles: toBins([]string{key.id}, 1, o.BinBits)}
	by := []signingKey{key}
	a, _ := delegatedAuthority(targets, releasesRole, life)
	data, err := seal(a, releases, by)
	if err != nil {
		return nil, err
	}
	files := []file{{r.metadataPath(releasesRole, 1), data}}
	snapshot.Signed.Meta[releasesRole+".json"] = metaFile(1, data)
	for _, bin := range releases.Signed.Delegations.SuccinctRoles.GetRoles() {
		a, _ := delegatedAuthority(releases, bin, life)
		data, err := seal(a, metadata.Targets(expiry(o.Now, DefaultBinLifetime)), by)
		if err != nil {
			return nil, err
		}
		files = append(files, file{r.metadataPath(bin, 1), data})
		snapshot.Signed.Meta[bin+".json"] = &metadata.MetaFiles{Version: 1}
	}
	return files, nil
}

// toReleases is what targets says of the role that has the hash bins.
func toReleases(keys []string, threshold int) metadata.DelegatedRole {
	return metadata.DelegatedRole{
		Name: releasesRole, KeyIDs: keys, Threshold: threshold, Terminating: true, Paths: anyPath(),
		UnrecognizedFields: map[string]any{modelsField: anyList([]string{anyModel}), lifetimeField: int64(DefaultBinLifetime / time.Second)},
	}
}

// toBins is what that role says of them.
func toBins(keys []string, threshold, bits int) *metadata.SuccinctRoles {
	return &metadata.SuccinctRoles{
		KeyIDs: keys, Threshold: threshold, BitLength: bits, NamePrefix: binPrefix,
		UnrecognizedFields: map[string]any{lifetimeField: int64(DefaultBinLifetime / time.Second)},
	}
}

// Bins stages that a repository without hash bins gets 2^bits of them, signed by
// these keys, threshold of which must: what targets lists moves into them as it is.
// Devices and the service follow without being told: a name is looked up where
// targets now says that it is. Only a name that a supplier's patterns cover stays,
// because who looks for it asks the supplier and nobody after it. Nothing else can be
// in the same stage. Errors wrap ErrExists, ErrPending or ErrInvalid.
func (d *Draft) Bins(bits, threshold int, keys ...crypto.PublicKey) error {
	switch {
	case d.current.binned():
		return fmt.Errorf("%w: the releases are in hash bins already", ErrExists)
	case d.root != nil || len(d.roles) > 0:
		return fmt.Errorf("%w: publish or discard what is staged before the releases move", ErrPending)
	case bits < 1 || bits > MaxBinBits:
		return fmt.Errorf("%w: %d bits of hash bins, 1 to %d", ErrInvalid, bits, MaxBinBits)
	case threshold < 1 || threshold > len(keys):
		return fmt.Errorf("%w: %d keys cannot meet a threshold of %d", ErrInvalid, len(keys), threshold)
	}
	known, ids, err := keysByID(keys)
	if err != nil {
		return err
	}
	delegations, err := d.delegations(metadata.TARGETS)
	if err != nil {
		return err
	}
	maps.Copy(delegations.Keys, known)
	delegations.Roles = append(delegations.Roles, toReleases(ids, threshold))
	releases := metadata.Targets(d.now)
	releases.Signed.Delegations = &metadata.Delegations{Keys: known, SuccinctRoles: toBins(ids, threshold, bits)}
	d.roles = append(d.roles, changedRole{name: releasesRole, md: releases})
	return d.spread(releases.Signed.Delegations.SuccinctRoles)
}

func keysByID(keys []crypto.PublicKey) (map[string]*metadata.Key, []string, error) {
	known, ids := map[string]*metadata.Key{}, []string{}
	for _, pub := range keys {
		key, id, err := PublicKey(pub)
		if err != nil {
			return nil, nil, err
		}
		if known[id] != nil {
			return nil, nil, fmt.Errorf("%w: key %s is named twice", ErrInvalid, short(id))
		}
		known[id], ids = key, append(ids, id)
	}
	return known, ids, nil
}

// converting says that the hash bins are only staged.
func (d *Draft) converting() bool {
	return !d.current.binned() && slices.ContainsFunc(d.roles, func(c changedRole) bool { return c.name == releasesRole })
}

// spread moves what targets lists into new bins.
func (d *Draft) spread(succinct *metadata.SuccinctRoles) error {
	targets, err := d.edit(metadata.TARGETS)
	if err != nil {
		return err
	}
	bins := map[string]*metadata.Metadata[metadata.TargetsType]{}
	for _, name := range succinct.GetRoles() {
		bins[name] = metadata.Targets(d.now)
		d.roles = append(d.roles, changedRole{name: name, md: bins[name]})
	}
	theirs := suppliers(d.current.targets())
	for name, file := range targets.Signed.Targets {
		if slices.ContainsFunc(theirs, func(r metadata.DelegatedRole) bool { return covers(&r, name) }) {
			continue
		}
		if strings.Count(name, "/") >= maxBinDepth {
			return fmt.Errorf("%w: %s has more than %d segments: withdraw it first", ErrInvalid, name, maxBinDepth)
		}
		bins[succinct.GetRolesForTarget(name)[0].Name].Signed.Targets[name] = file
		delete(targets.Signed.Targets, name)
	}
	return nil
}
