package tuf

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// Policy bundles in a repository.
const (
	// PolicyPrefix begins the target names of policy bundles, and of nothing else.
	PolicyPrefix = "policies/"
	// PolicyModel is what a delegation names as a model to let its role sign policy
	// bundles: troth tuf delegate --model policy --path 'policies/*'.
	PolicyModel = "policy"
	// MaxPolicyBytes bounds the archive of a bundle.
	MaxPolicyBytes = 16 << 20
)

// PolicyBundle is what is signed about one policy bundle: the "custom" field of
// its entry in targets metadata (TUF 1.0.31, section 4.5), below the key "policy",
// so that no release is taken for a bundle and no bundle for a release.
type PolicyBundle struct {
	Name    string `json:"name"`            // target name: PolicyPrefix and plain segments; see ValidName
	Version string `json:"version"`         // for people; never compared
	Counter uint64 `json:"counter"`         // 1 to MaxCounter, grows with every bundle
	Notes   string `json:"notes,omitempty"` // for people, at most 16 KiB
}

type policyCustom struct {
	Policy *PolicyBundle `json:"policy"`
}

// Validate says what is wrong with a bundle's metadata, or nil. Its errors wrap
// ErrInvalid.
func (b PolicyBundle) Validate() error {
	if err := ValidName(b.Name); err != nil {
		return err
	}
	if !strings.HasPrefix(b.Name, PolicyPrefix) {
		return fmt.Errorf("%w: the target name of a policy bundle begins with %s", ErrInvalid, PolicyPrefix)
	}
	if err := validWord("version", b.Version); err != nil {
		return err
	}
	if b.Counter < 1 || b.Counter > MaxCounter {
		return fmt.Errorf("%w: counter %d is not in 1 to %d", ErrInvalid, b.Counter, uint64(MaxCounter))
	}
	if len(b.Notes) > maxNotes || !utf8.ValidString(b.Notes) {
		return fmt.Errorf("%w: notes must be UTF-8 of at most %d bytes", ErrInvalid, maxNotes)
	}
	return nil
}

// PolicyBundle reads a target as a policy bundle. The error wraps ErrInvalid for a
// target that is none, or says another name than its own.
func (t Target) PolicyBundle() (PolicyBundle, error) {
	refuse := func(err error) (PolicyBundle, error) {
		return PolicyBundle{}, fmt.Errorf("target %s: %w: it is no policy bundle: %w", t.Name, ErrInvalid, err)
	}
	if len(t.Custom) > MaxReleaseBytes {
		return refuse(fmt.Errorf("%d bytes of metadata", len(t.Custom)))
	}
	var c policyCustom
	if err := json.NewDecoder(bytes.NewReader(t.Custom)).Decode(&c); err != nil {
		return refuse(err)
	}
	if c.Policy == nil {
		return refuse(errors.New("nothing signed says so"))
	}
	if err := c.Policy.Validate(); err != nil {
		return refuse(err)
	}
	if c.Policy.Name != t.Name || t.Length > MaxPolicyBytes || t.Hashes["sha256"] == "" {
		return refuse(errors.New("its name, length or hash is not that of one"))
	}
	return *c.Policy, nil
}

// Model is what a role must be allowed to sign for to sign the target: the hardware
// model of a release, PolicyModel of a policy bundle, and nothing of other files.
func (t Target) Model() string {
	if t.Release != nil {
		return t.Release.Model
	}
	if _, err := t.PolicyBundle(); err == nil {
		return PolicyModel
	}
	return ""
}

// PublishPolicy stores the archive of a policy bundle and signs it into targets (or
// the role that PolicyModel is delegated to), snapshot and timestamp, as Publish
// does with firmware. Its errors are those of Publish; ErrCounter: there is a
// bundle with this counter or a higher one.
func (r *Repository) PublishPolicy(ctx context.Context, b PolicyBundle, archive io.Reader, now time.Time) (Target, error) {
	target, err := r.publishPolicy(ctx, b, archive, now)
	if err != nil {
		return Target{}, fmt.Errorf("publish %q: %w", b.Name, err)
	}
	return target, nil
}

func (r *Repository) publishPolicy(ctx context.Context, b PolicyBundle, archive io.Reader, now time.Time) (Target, error) {
	if err := b.Validate(); err != nil {
		return Target{}, err
	}
	custom, err := rawJSON(policyCustom{&b})
	if err != nil {
		return Target{}, err
	}
	unlockUpload, err := lock(filepath.Join(r.dir, uploadFile))
	if err != nil {
		return Target{}, err
	}
	defer unlockUpload()
	r.sweepStaging()
	staged, err := r.stageTarget(ctx, b.Name, io.LimitReader(archive, MaxPolicyBytes+1))
	if err != nil {
		return Target{}, err
	}
	defer discard(staged.file)
	staged.entry.Custom = custom
	if _, err := staged.target().PolicyBundle(); err != nil {
		return Target{}, err
	}
	unlock, err := lock(filepath.Join(r.dir, lockFile))
	if err != nil {
		return Target{}, err
	}
	defer unlock()
	c, role, err := r.preparePolicy(b, now)
	if err != nil {
		return Target{}, err
	}
	md, err := c.edit(role)
	if err != nil {
		return Target{}, err
	}
	md.Signed.Targets[b.Name] = staged.entry
	if err := c.find(r, metadata.SNAPSHOT, metadata.TIMESTAMP); err != nil {
		return Target{}, err
	}
	if err := r.signOnline(c); err != nil {
		return Target{}, err
	}
	if err := r.placeAll([]stagedTarget{staged}); err != nil {
		return Target{}, err
	}
	return staged.target(), r.indexed(c, nil, func() error { return r.write(c.published) })
}

// preparePolicy checks what does not depend on the content. The caller holds the
// lock.
func (r *Repository) preparePolicy(b PolicyBundle, now time.Time) (*change, string, error) {
	if err := r.finish(); err != nil {
		return nil, "", err
	}
	current, err := r.load()
	if err != nil {
		return nil, "", err
	}
	if now.After(current.Root.Signed.Expires) {
		return nil, "", fmt.Errorf("%w: root, on %s", ErrExpired, current.Root.Signed.Expires.Format(time.DateOnly))
	}
	if r.pending() {
		return nil, "", fmt.Errorf("%w: it was made for the repository as it is: publish it first, or discard it", ErrPending)
	}
	as := Release{Name: b.Name, Model: PolicyModel}
	c := &change{current: current, root: current.Root, now: now}
	if err := c.free(as, b.Name); err != nil {
		return nil, "", err
	}
	bins, err := current.bins()
	if err != nil {
		return nil, "", err
	}
	err = current.each(append(current.flat(), bins...), func(_ string, t Target) error {
		have, err := t.PolicyBundle()
		if err == nil && have.Counter >= b.Counter {
			return fmt.Errorf("%w: policy bundle %s has counter %d, and this one has %d", ErrCounter, have.Name, have.Counter, b.Counter)
		}
		return nil
	})
	if err != nil {
		return nil, "", err
	}
	role, err := current.home(as, b.Name)
	return c, role, err
}
