package bundle

import (
	"context"
	"fmt"
	"io/fs"
	"strings"

	"troth/internal/fleet"
	"troth/policy"
	"troth/policy/archive"
)

// Approve is a second person's agreement.
func (s *Service) Approve(ctx context.Context, id, by string) (fleet.Bundle, error) {
	return s.move(ctx, id, by, "policy.approve", "", func(b fleet.Bundle) (fleet.Bundle, error) { return b.Approve(by, s.Now()) })
}

// Reject turns down a bundle that waits.
func (s *Service) Reject(ctx context.Context, id, by, reason string) (fleet.Bundle, error) {
	return s.move(ctx, id, by, "policy.reject", reason, func(b fleet.Bundle) (fleet.Bundle, error) { return b.Reject(by, reason) })
}

// Rollback proposes to go back to a bundle that decided before. It is examined
// anew: the program may have changed since.
func (s *Service) Rollback(ctx context.Context, id, by, reason string) (fleet.Bundle, error) {
	return s.move(ctx, id, by, "policy.rollback", reason, func(b fleet.Bundle) (fleet.Bundle, error) {
		next, err := b.Propose(by, reason, s.Now())
		if err != nil {
			return b, err
		}
		engine, err := s.Engine(ctx, b)
		if err != nil {
			return b, err
		}
		if err := s.try(ctx, engine); err != nil {
			return b, fleet.Because(err, fleet.Refused, "policy_refused", "bundle %s does not decide any more: %v", b.ID, err)
		}
		return next, nil
	})
}

// Activate has an approved bundle decide, here at once and within seconds in every
// replica.
func (s *Service) Activate(ctx context.Context, id, by string) (fleet.Bundle, error) {
	b, err := s.find(ctx, id)
	if err != nil {
		return b, err
	}
	active, err := s.Store.ActiveBundle(ctx)
	if err != nil {
		return b, err
	}
	now := s.Now()
	next, ended, err := b.Activate(active, by, now)
	if err != nil {
		return b, err
	}
	if _, err := s.Engine(ctx, b); err != nil { // what does not load here would load nowhere
		return b, err
	}
	err = s.Store.Apply(ctx, fleet.Change{
		Bundles: []fleet.Bundle{next, ended},
		Events: []fleet.Event{fleet.NewEvent(now, by, "policy.activate", b.Subject(),
			fmt.Sprintf("policy %s instead of bundle %s; proposed by %s, approved by %s", next.Policy, ended.ID, next.ProposedBy, next.ApprovedBy))},
	})
	if err != nil {
		return b, err
	}
	next.Revision++
	return s.shown(next), s.Sync(ctx)
}

// Shadow lets a bundle decide beside the active one, in place of one that does; or
// ends that.
func (s *Service) Shadow(ctx context.Context, id, by string, on bool) (fleet.Bundle, error) {
	b, err := s.find(ctx, id)
	if err != nil {
		return b, err
	}
	change, action := fleet.Change{}, "policy.unshadow"
	if !on {
		b = b.Unshadow()
	} else {
		action = "policy.shadow"
		if before, err := s.Store.ShadowBundle(ctx); err == nil && before.ID != b.ID {
			change.Bundles = append(change.Bundles, before.Unshadow())
		} else if err != nil && !fleet.IsKind(err, fleet.NotFound) {
			return b, err
		}
		if b, err = b.Shadow(by, s.Now()); err != nil {
			return b, err
		}
	}
	change.Bundles = append(change.Bundles, b)
	change.Events = []fleet.Event{fleet.NewEvent(s.Now(), by, action, b.Subject(), "")}
	if err := s.Store.Apply(ctx, change); err != nil {
		return b, err
	}
	b.Revision++
	return b, s.Sync(ctx)
}

func (s *Service) move(ctx context.Context, id, by, action, detail string, do func(fleet.Bundle) (fleet.Bundle, error)) (fleet.Bundle, error) {
	b, err := s.find(ctx, id)
	if err != nil {
		return b, err
	}
	if b, err = do(b); err != nil {
		return b, err
	}
	err = s.Store.Apply(ctx, fleet.Change{
		Bundles: []fleet.Bundle{b},
		Events:  []fleet.Event{fleet.NewEvent(s.Now(), by, action, b.Subject(), detail)},
	})
	b.Revision++
	return s.shown(b), err
}

// Archive is a bundle as one file. That of the base is the one of this replica.
func (s *Service) Archive(ctx context.Context, id string) ([]byte, error) {
	b, err := s.find(ctx, id)
	if err != nil {
		return nil, err
	}
	if b.ID == fleet.BaseBundle {
		return packBase(s.Base)
	}
	return s.Store.Blob(ctx, b.Archive)
}

// packBase declares for a base bundle, which nobody has to have declared them for,
// the roots that its directories are.
func packBase(base fs.FS) ([]byte, error) {
	entries, err := fs.ReadDir(base, ".")
	if err != nil {
		return nil, fmt.Errorf("read base bundle: %w", err)
	}
	var roots []string
	for _, e := range entries {
		if e.IsDir() && !strings.HasPrefix(e.Name(), ".") {
			roots = append(roots, e.Name())
		}
	}
	content, err := archive.Pack(base, fleet.BaseBundle, roots)
	if err != nil {
		return nil, fleet.Because(err, fleet.Refused, "policy_refused", "the base bundle cannot be packed: %v", err)
	}
	return content, nil
}

// Engine compiles a bundle that was verified before.
func (s *Service) Engine(ctx context.Context, b fleet.Bundle) (*policy.Engine, error) {
	if b.ID == fleet.BaseBundle {
		return s.base, nil
	}
	if b.Policy == "" {
		return nil, fleet.Errorf(fleet.Conflict, "policy_state", "bundle %s is %s: it cannot decide", b.ID, b.State)
	}
	content, err := s.Store.Blob(ctx, b.Archive)
	if err != nil {
		return nil, fmt.Errorf("read bundle %s: %w", b.ID, err)
	}
	unpacked, err := archive.Read(content)
	if err != nil {
		return nil, broken(b, err)
	}
	engine, err := policy.New(ctx, unpacked.FS, policy.Options{})
	if err != nil {
		return nil, broken(b, err)
	}
	if engine.Digest() != b.Policy {
		return nil, broken(b, fmt.Errorf("it is %s, and was verified as %s", engine.Digest(), b.Policy))
	}
	return engine, nil
}

func broken(b fleet.Bundle, err error) error {
	return fleet.Because(err, fleet.Refused, "policy_refused", "bundle %s was verified, and cannot be loaded by this program: %v", b.ID, err)
}

// Candidate compiles a bundle to be tried: one on record by its id, or anybody's
// archive, which nobody has to have signed because it decides nothing.
func (s *Service) Candidate(ctx context.Context, id string, content []byte) (*policy.Engine, error) {
	if len(content) == 0 {
		b, err := s.find(ctx, id)
		if err != nil {
			return nil, err
		}
		return s.Engine(ctx, b)
	}
	unpacked, err := archive.Read(content)
	if err != nil {
		return nil, fleet.Because(err, fleet.Refused, "policy_refused", "%v", err)
	}
	engine, err := policy.New(ctx, unpacked.FS, policy.Options{})
	if err != nil {
		return nil, fleet.Because(err, fleet.Refused, "policy_refused", "%v", err)
	}
	return engine, nil
}
