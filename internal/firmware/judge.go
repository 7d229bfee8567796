package firmware

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"

	"troth/internal/fleet"
	"troth/internal/publication"
	"troth/policy"
	"troth/tuf/client"
)

// Policy decides which releases are taken in.
type Policy interface {
	publication.Policy
	Digest() string
}

// judged remembers what policy said of each release, so that it is asked again
// only when the release, who approved it, or the policy has changed.
type judged struct {
	policy   string // digest of what decided
	again    bool   // something could not be decided, or read
	verdicts map[string]verdict
}

type verdict struct {
	content [sha256.Size]byte // of what was judged
	policy  string
	allow   bool
	code    string
	reason  string
	again   bool // there was a fault: it is asked again
}

// by says whether nothing needs to be judged again under the policy.
func (j judged) by(p Policy) bool { return p == nil || !j.again && j.policy == p.Digest() }

// judge parts the releases into those that are taken in and those that are not.
//
// A fault of ours must not make firmware unknown that devices run: where policy
// gives no answer, or something beside an image cannot be read now, a release that
// was taken in stays so; undecided says why. A new one is not taken in meanwhile.
// With err nothing was judged.
func (r *Repository) judge(ctx context.Context, updater *client.Client, targets []client.Target) (taken fleet.Catalog, refused []fleet.RefusedRelease, undecided, err error) {
	taken, refused = make(fleet.Catalog, 0, len(targets)), []fleet.RefusedRelease{}
	next := judged{verdicts: map[string]verdict{}}
	if r.Policy != nil {
		next.policy = r.Policy.Digest()
	}
	var errs []error
	for _, t := range targets {
		release, ok := release(t)
		if !ok {
			continue
		}
		v, fault := r.verdict(ctx, updater, t)
		if ctx.Err() != nil || errors.Is(fault, policy.ErrNoBundle) {
			return nil, nil, nil, errors.Join(ctx.Err(), fault)
		}
		if fault != nil {
			next.again = true
			errs = append(errs, fmt.Errorf("judge release %s of %s: %w", release.Version, release.Model, fault))
		}
		next.verdicts[t.Name] = v
		if v.allow {
			taken = append(taken, release)
		} else {
			refused = append(refused, fleet.RefusedRelease{Release: release, Code: v.code, Reason: v.reason})
		}
	}
	r.judged = next
	return taken, refused, errors.Join(errs...), nil
}

func (r *Repository) verdict(ctx context.Context, updater *client.Client, t client.Target) (verdict, error) {
	if r.Policy == nil {
		return verdict{allow: true}, nil
	}
	v := verdict{content: contentOf(t), policy: r.Policy.Digest()}
	before, known := r.judged.verdicts[t.Name]
	known = known && before.content == v.content
	if known && before.policy == v.policy && !before.again {
		return before, nil
	}
	judge := publication.Judge{Policy: r.Policy, Trust: r.Trust, Where: policy.AtIntake}
	d, fault := judge.Decide(ctx, publication.Release{Target: t, Open: func(name, _ string) (io.ReadCloser, error) {
		return r.fetch(ctx, updater, name)
	}}, r.Now())
	if fault != nil && known && before.allow {
		before.policy, before.again = v.policy, true
		return before, fault
	}
	v.allow, v.code, v.reason, v.again = d.Allow, d.Code, d.Reason, fault != nil
	return v, fault
}

// contentOf names what is judged of a release.
func contentOf(t client.Target) [sha256.Size]byte {
	signers := ""
	if t.Approval != nil {
		signers = t.Approval.Role + " " + strings.Join(t.Approval.Signers, " ")
	}
	return sha256.Sum256(fmt.Appendf(nil, "%q %d %q %q %q", t.Name, t.Length, t.Hashes["sha256"], t.Custom, signers))
}
