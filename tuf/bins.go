package tuf

import (
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
	targets.Signed.Delegations = &metadata.Delegations{Keys: keys, Roles: []metadata.DelegatedRole{{
		Name: releasesRole, KeyIDs: []string{key.id}, Threshold: 1, Terminating: true, Paths: anyPath(),
		UnrecognizedFields: map[string]any{modelsField: anyList([]string{anyModel}), lifetimeField: int64(DefaultBinLifetime / time.Second)},
	}}}
	releases := metadata.Targets(expiry(o.Now, DefaultBinLifetime))
	releases.Signed.Delegations = &metadata.Delegations{Keys: keys, SuccinctRoles: &metadata.SuccinctRoles{
		KeyIDs: []string{key.id}, Threshold: 1, BitLength: o.BinBits, NamePrefix: binPrefix,
		UnrecognizedFields: map[string]any{lifetimeField: int64(DefaultBinLifetime / time.Second)},
	}}
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
