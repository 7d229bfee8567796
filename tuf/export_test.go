package tuf

import (
	"crypto/sha256"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// FailAfterStep makes the repository stop with an error after the durable step
// for which f returns one, as a crash there would.
func (r *Repository) FailAfterStep(f func(path string) error) { r.afterStep = f }

// Fill signs many releases into the hash bins in one change, without content: what
// a repository is like after years.
func (r *Repository) Fill(releases []Release, now time.Time) error {
	current, err := r.load()
	if err != nil {
		return err
	}
	c := &change{current: current, root: current.Root, now: now}
	for _, rel := range releases {
		role, err := current.home(rel, rel.Name)
		if err != nil {
			return err
		}
		md, err := c.edit(role)
		if err != nil {
			return err
		}
		custom, err := rawJSON(rel)
		if err != nil {
			return err
		}
		sum := sha256.Sum256([]byte(rel.Name))
		md.Signed.Targets[rel.Name] = &metadata.TargetFiles{Length: 1 << 20, Hashes: metadata.Hashes{"sha256": sum[:]}, Path: rel.Name, Custom: custom}
	}
	if err := c.find(r, metadata.SNAPSHOT, metadata.TIMESTAMP); err != nil {
		return err
	}
	if err := r.signOnline(c); err != nil {
		return err
	}
	return r.write(c.published)
}
