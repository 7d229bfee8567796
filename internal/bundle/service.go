// Package bundle is the life of a policy bundle in the service: it is pushed as a
// signed target of the TUF repository, examined, approved by a second person,
// activated, and from then on decides in every replica; and it can be gone back to.
// What may follow what is in package fleet; here it is looked up, examined and
// written. The rules of a bundle's format are those of OPA's bundles
// (https://www.openpolicyagent.org/docs/management-bundles), as package
// policy/archive narrows them.
package bundle

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"troth/internal/fleet"
	"troth/policy"
	"troth/policy/archive"
)

// Store is what the use case needs to know and to record.
type Store interface {
	Bundle(ctx context.Context, id string) (fleet.Bundle, error)
	Bundles(ctx context.Context) ([]fleet.Bundle, error)
	ActiveBundle(ctx context.Context) (fleet.Bundle, error)
	ShadowBundle(ctx context.Context) (fleet.Bundle, error)
	Blob(ctx context.Context, digest string) ([]byte, error)
	Replicas(ctx context.Context, since time.Time) ([]fleet.Replica, error)
	// Replays are recorded decisions, for a trial of a new bundle.
	Replays(ctx context.Context, after fleet.DeviceID, limit int) ([]fleet.Replay, error)
	ShadowCounts(ctx context.Context, bundle string) ([]fleet.ShadowCount, error)
	ShadowDevices(ctx context.Context, bundle string, limit int) ([]fleet.ShadowDevice, error)
	Alerts(ctx context.Context, f fleet.AlertFilter) ([]fleet.Alert, error)
	Apply(ctx context.Context, c fleet.Change) error
}

// Source are the signed bundles: the verifier is a client of the TUF repository.
type Source interface {
	PolicyBundle(ctx context.Context, target string) (fleet.SignedBundle, []byte, error)
}

// MaxArchive bounds the archive of a bundle, in bytes.
const MaxArchive = archive.MaxBytes

// Config is what the service is made of.
type Config struct {
	Store   Store
	Source  Source
	Current *policy.Current // what decides in this replica
	Base    fs.FS           // the bundle that this replica brings along
	Now     func() time.Time
	// Deadline bounds the examination of a bundle; Memory how much the heap may grow
	// meanwhile, in bytes. Zero: a minute and a half, and 512 MiB.
	Deadline time.Duration
	Memory   uint64
}

// Service is the use case. It is safe for concurrent use.
type Service struct {
	Config
	replica string
	base    *policy.Engine

	examining chan struct{} // a place for the one examination at a time

	mu     sync.Mutex // of sync
	loaded fleet.Bundle
	said   fleet.Replica // what was last written

	beside atomic.Pointer[shadow] // nil: no bundle is in the shadow
}

// The bounds of an examination.
const (
	defaultDeadline = 90 * time.Second
	defaultMemory   = 512 << 20
)

// New returns the service. It examines the base bundle as it would any other, but
// for its signature: whoever installs the program, or mounts the directory,
// answers for it. Decide nothing before Start.
func New(ctx context.Context, c Config) (*Service, error) {
	if c.Deadline == 0 {
		c.Deadline = defaultDeadline
	}
	if c.Memory == 0 {
		c.Memory = defaultMemory
	}
	base, err := policy.New(ctx, c.Base, policy.Options{})
	if err != nil {
		return nil, err
	}
	return &Service{Config: c, replica: fleet.NewID(), base: base, examining: make(chan struct{}, 1)}, nil
}

// List are all bundles, the newest first.
func (s *Service) List(ctx context.Context) ([]fleet.Bundle, error) {
	list, err := s.Store.Bundles(ctx)
	for i := range list {
		list[i] = s.shown(list[i])
	}
	return list, err
}

// shown says of the base what it is in this replica.
func (s *Service) shown(b fleet.Bundle) fleet.Bundle {
	if b.ID == fleet.BaseBundle {
		b.Policy, b.Version, b.Checks.Controls = s.base.Digest(), "base", len(s.base.Controls())
	}
	return b
}

// Detail is a bundle and what decides where.
type Detail struct {
	fleet.Bundle
	Replicas []fleet.Replica
	Shadow   []fleet.ShadowCount
}

// shownFor is how long a replica that says nothing is still shown.
const shownFor = time.Minute

// Get is one bundle; active stands for the one that decides.
func (s *Service) Get(ctx context.Context, id string) (Detail, error) {
	b, err := s.find(ctx, id)
	if err != nil {
		return Detail{}, err
	}
	d := Detail{Bundle: s.shown(b)}
	replicas, err := s.Store.Replicas(ctx, s.Now().Add(-shownFor))
	if err != nil {
		return Detail{}, err
	}
	d.Replicas = slices.DeleteFunc(replicas, func(r fleet.Replica) bool { return r.Bundle != b.ID })
	d.Shadow, err = s.Store.ShadowCounts(ctx, b.ID)
	return d, err
}

func (s *Service) find(ctx context.Context, id string) (fleet.Bundle, error) {
	find := func() (fleet.Bundle, error) {
		if id == "active" {
			return s.Store.ActiveBundle(ctx)
		}
		return s.Store.Bundle(ctx, id)
	}
	b, err := find()
	if errors.Is(err, fleet.ErrNotFound) {
		return b, fleet.Errorf(fleet.NotFound, "policy_unknown", "there is no policy bundle %s: see troth policy list", id)
	}
	return b, err
}

// Push takes in the bundle that the repository has signed under the target name,
// and examines it. A bundle that fails is on record with the reason, people are
// told by an alert, and what decides is as it was.
func (s *Service) Push(ctx context.Context, target, by string) (fleet.Bundle, error) {
	select {
	case s.examining <- struct{}{}:
		defer func() { <-s.examining }()
	default:
		return fleet.Bundle{}, fleet.Errorf(fleet.Unavailable, "policy_busy", "another bundle is being examined: try again")
	}
	signed, content, err := s.Source.PolicyBundle(ctx, target)
	if err != nil {
		return fleet.Bundle{}, s.turnAway(ctx, target, by, err)
	}
	if sum := sha256.Sum256(content); hex.EncodeToString(sum[:]) != signed.Archive {
		return fleet.Bundle{}, fleet.Errorf(fleet.Unavailable, "repository_unavailable", "the bundle changed while it was read: try again")
	}
	b, err := s.take(ctx, signed, content, by)
	if err != nil {
		return fleet.Bundle{}, s.turnAway(ctx, target, by, err)
	}
	// From here on it ends with an answer on record, whoever still waits for it.
	ctx = context.WithoutCancel(ctx)
	found, err := s.examine(ctx, content)
	if err != nil {
		return s.refuse(ctx, b, err)
	}
	return s.verify(ctx, b, found, by)
}

// take records the candidate.
func (s *Service) take(ctx context.Context, signed fleet.SignedBundle, content []byte, by string) (fleet.Bundle, error) {
	all, err := s.Store.Bundles(ctx)
	if err != nil {
		return fleet.Bundle{}, err
	}
	if err := signed.Supersedes(all); err != nil {
		return fleet.Bundle{}, err
	}
	now := s.Now()
	b := fleet.NewBundle(signed, by, now)
	if i := slices.IndexFunc(all, func(known fleet.Bundle) bool { return known.ID == b.ID }); i >= 0 {
		if b, err = all[i].Again(by, now); err != nil {
			return fleet.Bundle{}, err
		}
	}
	err = s.Store.Apply(ctx, fleet.Change{
		Bundles: []fleet.Bundle{b}, Blobs: []fleet.Blob{{Digest: signed.Archive, Content: content}},
		Events: []fleet.Event{fleet.NewEvent(now, by, "policy.push", b.Subject(), signed.Target+", version "+signed.Version+", archive "+signed.Archive)},
	})
	b.Revision++
	return b, err
}

// turnAway tells people of a push that did not become a candidate because of what
// it was, and returns the cause.
func (s *Service) turnAway(ctx context.Context, target, by string, cause error) error {
	if !fleet.IsKind(cause, fleet.Refused) {
		return cause
	}
	now := s.Now()
	alert, err := s.refusal(ctx, "policy:"+target, fleet.CodeOf(cause), now)
	if err != nil {
		return errors.Join(cause, err)
	}
	err = s.Store.Apply(ctx, fleet.Change{
		Alerts: []fleet.Alert{alert},
		Events: []fleet.Event{fleet.NewEvent(now, by, "policy.refuse", "policy:"+target, cause.Error())},
	})
	if err != nil && !fleet.IsKind(err, fleet.Conflict) {
		return errors.Join(cause, err)
	}
	return cause
}

func (s *Service) refusal(ctx context.Context, subject, reason string, now time.Time) (fleet.Alert, error) {
	open, err := s.Store.Alerts(ctx, fleet.AlertFilter{Subject: subject, Open: true})
	return fleet.Raise(open, fleet.Alert{
		Subject: subject, Key: fleet.KeyPolicyRefused, Severity: fleet.High, Title: "Policy bundle refused", Reason: reason,
	}, now), err
}

func (s *Service) refuse(ctx context.Context, b fleet.Bundle, cause error) (fleet.Bundle, error) {
	refused := fleet.Because(cause, fleet.Refused, "policy_refused", "bundle %s: %v", b.ID, cause)
	b, err := b.Refuse(cause.Error())
	if err != nil {
		return b, err
	}
	now := s.Now()
	alert, err := s.refusal(ctx, b.Subject(), cause.Error(), now)
	if err != nil {
		return b, errors.Join(refused, err)
	}
	err = s.Store.Apply(ctx, fleet.Change{
		Bundles: []fleet.Bundle{b}, Alerts: []fleet.Alert{alert},
		Events: []fleet.Event{fleet.NewEvent(now, "system", "policy.refuse", b.Subject(), cause.Error())},
	})
	if err != nil {
		return b, errors.Join(refused, err)
	}
	return b, refused
}

func (s *Service) verify(ctx context.Context, b fleet.Bundle, found examined, by string) (fleet.Bundle, error) {
	b, err := b.Verify(found.engine.Digest(), found.checks)
	if err != nil {
		return b, err
	}
	now := s.Now()
	open, err := s.Store.Alerts(ctx, fleet.AlertFilter{Subject: b.Subject(), Key: fleet.KeyPolicyRefused, Open: true})
	if err != nil {
		return b, err
	}
	change := fleet.Change{
		Bundles: []fleet.Bundle{b},
		Events:  []fleet.Event{fleet.NewEvent(now, "system", "policy.verify", b.Subject(), "policy "+b.Policy+", pushed by "+by)},
	}
	for _, a := range open {
		change.Alerts = append(change.Alerts, a.Resolve(now))
	}
	err = s.Store.Apply(ctx, change)
	b.Revision++
	return b, err
}
