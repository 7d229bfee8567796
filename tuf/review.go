package tuf

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
)

// Proposal is a release that is about to become visible.
type Proposal struct {
	Target Target // the image; its Release is what its Approval's keys sign

	open func(target, sha256 string) (io.ReadCloser, error)
}

// Open gives the content of what is published beside the image, as the release
// names it. The caller closes it.
func (p Proposal) Open(target, sha256 string) (io.ReadCloser, error) {
	return p.open(target, sha256)
}

// Reviewer judges a release before it becomes visible; an error refuses it. It is
// asked while the repository is locked.
type Reviewer func(Proposal) error

// ReviewWith has every release judged that is published from now on, alone or in a
// stage. It is to be called before the repository is used.
func (r *Repository) ReviewWith(review Reviewer) { r.review = review }

// reviewStaged judges a release that is signed here and now; the image is the last
// of what is staged.
func (r *Repository) reviewStaged(c *change, staged []stagedTarget) error {
	if r.review == nil {
		return nil
	}
	image := staged[len(staged)-1].target()
	role, err := c.current.home(*image.Release, image.Name)
	if err != nil {
		return err
	}
	a, err := c.authority(role)
	if err != nil {
		return err
	}
	var ids []string
	for _, key := range c.signers[role] {
		ids = append(ids, key.id)
	}
	image.Approval = &Approval{role, a.threshold, a.distinct(ids)}
	p := Proposal{Target: image}
	p.open = func(name, _ string) (io.ReadCloser, error) {
		for _, s := range staged {
			if s.entry.Path == name {
				return io.NopCloser(io.NewSectionReader(s.file, 0, s.entry.Length)), nil
			}
		}
		return nil, fmt.Errorf("open %s: %w", name, os.ErrNotExist)
	}
	return r.review(p)
}

// reviewStage judges every release that the stage adds or changes.
func (r *Repository) reviewStage(s *Stage) error {
	if r.review == nil {
		return nil
	}
	needs, err := s.Needs()
	if err != nil {
		return err
	}
	added := s.added()
	for _, role := range s.roles {
		i := slices.IndexFunc(needs, func(n Need) bool { return n.Role == role.name })
		a, ok := s.authority(role.name)
		if i < 0 || !ok {
			return fmt.Errorf("role %q: %w", role.name, ErrNoRole)
		}
		approval := &Approval{role.name, needs[i].Threshold, a.distinct(needs[i].Signed)}
		for name := range role.md.Signed.Targets {
			f := added[name]
			if f == nil {
				continue
			}
			t := NewTarget(name, f)
			if t.Release == nil {
				continue
			}
			t.Approval = approval
			if err := r.review(Proposal{Target: t, open: r.openStored}); err != nil {
				return err
			}
		}
	}
	return nil
}

// openStored opens content that waits in the stage, or was published before.
func (r *Repository) openStored(name, sha256 string) (io.ReadCloser, error) {
	if !isSHA256(sha256) || ValidName(name) != nil {
		return nil, fmt.Errorf("open %.210q: %w", name, ErrInvalid)
	}
	f, err := os.Open(r.stagePath(filepath.Join(contentDir, sha256)))
	if errors.Is(err, os.ErrNotExist) {
		t := Target{Name: name, Hashes: map[string]string{"sha256": sha256}}
		f, err = os.Open(filepath.Join(r.dir, targetsDir, filepath.FromSlash(t.Path(true))))
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	return f, nil
}
