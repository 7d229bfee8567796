// Package preview says what a policy bundle would do before it does it: it decides
// anew, under the candidate, on the stored inputs of the decisions that are on
// record, and compares. It reads pages of rows and keeps only what differs, so its
// memory does not grow with the fleet; it writes nothing, and nothing that decides
// for real asks it.
package preview

import (
	"context"
	"runtime"
	"time"

	"golang.org/x/sync/errgroup"

	"troth/internal/fleet"
	"troth/policy"
)

// Store is where the recorded decisions are.
type Store interface {
	// Replays are the latest postures, in the order of the devices' ids.
	Replays(ctx context.Context, after fleet.DeviceID, limit int) ([]fleet.Replay, error)
	// ReplaysSince are recorded decisions, in the order of their time.
	ReplaysSince(ctx context.Context, at time.Time, id string, limit int) ([]fleet.Replay, error)
	CountReplays(ctx context.Context, since time.Time) (int, error)
}

// Service is the use case. It is safe for concurrent use.
type Service struct {
	store  Store
	now    func() time.Time
	places chan struct{}
}

// AtOnce is how many previews run at a time in a replica; each uses all cores.
const AtOnce = 1

// New returns the service.
func New(store Store, now func() time.Time) *Service {
	return &Service{store: store, now: now, places: make(chan struct{}, AtOnce)}
}

// Options say what to replay.
type Options struct {
	// Since replays every decision recorded since the instant; zero: each device's
	// latest.
	Since time.Time
	// GroupBy is the label by which devices are grouped; empty: group.
	GroupBy string
	// Named is how many of the devices that differ are named, of each kind; zero:
	// 1000.
	Named int
}

const (
	defaultGroup = "group"
	defaultNamed = 1000
	maxNamed     = 10000
	page         = 200 // rows that are read at a time
)

// Progress is told how far a preview is: at the start, and after each page.
type Progress func(done, total int)

// Reserve takes the place of a preview, to be given back with release. Where as
// many as may run already do, it is refused with the code preview_busy.
func (s *Service) Reserve() (release func(), err error) {
	select {
	case s.places <- struct{}{}:
		return func() { <-s.places }, nil
	default:
		return nil, fleet.Errorf(fleet.Unavailable, "preview_busy", "another preview is running: try again when it is through")
	}
}

// Run replays what is on record under the candidate, in a place that the caller has
// reserved. It ends early when ctx does. Progress is told from several goroutines,
// one at a time.
func (s *Service) Run(ctx context.Context, candidate *policy.Engine, o Options, progress Progress) (Report, error) {
	if o.GroupBy == "" {
		o.GroupBy = defaultGroup
	}
	if o.Named <= 0 {
		o.Named = defaultNamed
	}
	o.Named = min(o.Named, maxNamed)
	total, err := s.store.CountReplays(ctx, o.Since)
	if err != nil {
		return Report{}, err
	}
	progress(0, total)
	began := s.now()
	t := newTally(o)
	if err := s.replay(ctx, candidate, o, t, func(done int) { progress(done, max(done, total)) }); err != nil {
		return Report{}, err
	}
	r := t.report()
	r.Policy, r.At, r.Seconds = candidate.Digest(), began, s.now().Sub(began).Seconds()
	if !o.Since.IsZero() {
		r.Since = &o.Since
	}
	return r, nil
}

// replay has one goroutine read and one for each core decide.
func (s *Service) replay(ctx context.Context, candidate *policy.Engine, o Options, t *tally, done func(int)) error {
	group, ctx := errgroup.WithContext(ctx)
	rows := make(chan fleet.Replay, page)
	group.Go(func() error {
		defer close(rows)
		return s.pages(ctx, o.Since, func(list []fleet.Replay) error {
			for _, r := range list {
				select {
				case rows <- r:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			return nil
		})
	})
	for range runtime.GOMAXPROCS(0) {
		group.Go(func() error {
			for r := range rows {
				o := decide(ctx, candidate, r)
				if ctx.Err() != nil {
					return ctx.Err()
				}
				t.add(o, done)
			}
			return nil
		})
	}
	return group.Wait()
}

func (s *Service) pages(ctx context.Context, since time.Time, each func([]fleet.Replay) error) error {
	var last fleet.Replay
	last.At = since
	for {
		var list []fleet.Replay
		var err error
		if since.IsZero() {
			list, err = s.store.Replays(ctx, last.Device, page)
		} else {
			list, err = s.store.ReplaysSince(ctx, last.At, last.Decision, page)
		}
		if err != nil || len(list) == 0 {
			return err
		}
		if err := each(list); err != nil {
			return err
		}
		last = list[len(list)-1]
	}
}
