package storetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"troth/internal/fleet"
	"troth/internal/store"
)

// testPolicies: one bundle is active, whoever races for it; what replicas and the
// shadow say is read back; a preview reads every posture once, a page at a time.
func testPolicies(t *testing.T, database Database) {
	t.Run("bundle", func(t *testing.T) { testBundle(t, database) })
	t.Run("activation", func(t *testing.T) { testActivation(t, database) })
	t.Run("shadow", func(t *testing.T) { testShadow(t, database) })
	t.Run("replicas", func(t *testing.T) { testReplicas(t, database) })
	t.Run("replays", func(t *testing.T) { testReplays(t, database) })
}

func testBundle(t *testing.T, database Database) {
	s, ctx := Open(t, database(t)), context.Background()
	base := get[fleet.Bundle](t)(s.ActiveBundle(ctx))
	same(t, "at first", base, fleet.Bundle{ID: fleet.BaseBundle, State: fleet.BundleActive, Revision: 1})
	b := fill[fleet.Bundle](3)
	b.ID, b.Counter, b.Revision = "3", 3, 0
	apply(t, s, fleet.Change{Bundles: []fleet.Bundle{b}})
	b.Revision = 1
	same(t, "inserted", get[fleet.Bundle](t)(s.Bundle(ctx, "3")), b)
	same(t, "in the shadow", get[fleet.Bundle](t)(s.ShadowBundle(ctx)), b)
	next := fill[fleet.Bundle](4)
	next.ID, next.Counter, next.Revision, next.ShadowBy = "3", 3, 1, ""
	apply(t, s, fleet.Change{Bundles: []fleet.Bundle{next, bundle(12, fleet.BundleRefused)}})
	next.Revision = 2
	same(t, "replaced", get[fleet.Bundle](t)(s.Bundle(ctx, "3")), next)
	if _, err := s.ShadowBundle(ctx); !errors.Is(err, fleet.ErrNotFound) {
		t.Errorf("nothing is in the shadow: %v", err)
	}
	var ids []string
	for _, b := range get[[]fleet.Bundle](t)(s.Bundles(ctx)) {
		ids = append(ids, b.ID)
	}
	same(t, "bundles", ids, []string{"12", "3", fleet.BaseBundle})
}

// testActivation: two that would be active at once conflict, in one change or two.
func testActivation(t *testing.T, database Database) {
	dsn, ctx := database(t), context.Background()
	s, other := Open(t, dsn), Open(t, dsn)
	for counter := uint64(1); counter <= 20; counter += 2 {
		apply(t, s, fleet.Change{Bundles: []fleet.Bundle{bundle(counter, fleet.BundleApproved), bundle(counter+1, fleet.BundleApproved)}})
		results := make(chan error, 2)
		active := get[fleet.Bundle](t)(s.ActiveBundle(ctx))
		for i, s := range []*store.Store{s, other} {
			b := get[fleet.Bundle](t)(s.Bundle(ctx, fmt.Sprint(counter+uint64(i))))
			b.ApprovedAt = active.ActivatedAt
			next, ended, err := b.Activate(active, "op", epoch)
			if err != nil {
				t.Fatal(err)
			}
			go func() { results <- s.Apply(ctx, fleet.Change{Bundles: []fleet.Bundle{next, ended}}) }()
		}
		first, second := <-results, <-results
		if first != nil {
			first, second = second, first
		}
		if first != nil || !errors.Is(second, fleet.ErrConflict) {
			t.Fatalf("one of two activations must win and the other conflict: %v, %v", first, second)
		}
	}
	refuse(t, s, fleet.Change{Bundles: []fleet.Bundle{bundle(99, fleet.BundleActive)}}, "conflict")
}

func testShadow(t *testing.T, database Database) {
	s, ctx := Open(t, database(t)), context.Background()
	one, two := bundle(1, fleet.BundleVerified), bundle(2, fleet.BundleVerified)
	one.ShadowBy, two.ShadowBy = "op", "op"
	apply(t, s, fleet.Change{Bundles: []fleet.Bundle{one}})
	refuse(t, s, fleet.Change{Bundles: []fleet.Bundle{two}}, "conflict")
	one.ShadowBy, one.Revision = "", 1
	apply(t, s, fleet.Change{Bundles: []fleet.Bundle{two, one}})
	count, device := fill[fleet.ShadowCount](5), fill[fleet.ShadowDevice](6)
	count.Bundle, count.Replica, device.Bundle, device.Device = "2", "r", "2", id(1)
	apply(t, s, fleet.Change{ShadowCounts: []fleet.ShadowCount{{Bundle: "2", Replica: "r"}}, ShadowDevices: []fleet.ShadowDevice{{Bundle: "2", Device: id(1)}}})
	apply(t, s, fleet.Change{ShadowCounts: []fleet.ShadowCount{count, {Bundle: "1", Replica: "r"}}, ShadowDevices: []fleet.ShadowDevice{device, {Bundle: "2", Device: id(2)}}})
	same(t, "counts", get[[]fleet.ShadowCount](t)(s.ShadowCounts(ctx, "2")), []fleet.ShadowCount{count})
	same(t, "devices", get[[]fleet.ShadowDevice](t)(s.ShadowDevices(ctx, "2", 1)), []fleet.ShadowDevice{device})
	same(t, "all devices", len(get[[]fleet.ShadowDevice](t)(s.ShadowDevices(ctx, "2", 0))), 2)
}

func testReplicas(t *testing.T, database Database) {
	s, ctx := Open(t, database(t)), context.Background()
	say := func(name string, at time.Time) fleet.Replica {
		r := fill[fleet.Replica](7)
		r.ID, r.At = name, at
		apply(t, s, fleet.Change{Replica: &r})
		return r
	}
	say("a", epoch)
	say("old", epoch.Add(-2*time.Hour))
	b := say("b", epoch.Add(time.Second))
	a := say("a", epoch.Add(time.Minute))
	same(t, "replicas", get[[]fleet.Replica](t)(s.Replicas(ctx, time.Time{})), []fleet.Replica{a, b})
	same(t, "lately", get[[]fleet.Replica](t)(s.Replicas(ctx, a.At)), []fleet.Replica{a})
}

func testReplays(t *testing.T, database Database) {
	s, ctx := Open(t, database(t)), context.Background()
	var want []fleet.Replay
	for n := range 5 {
		d, p, decision := device(n), fill[fleet.Posture](20), fill[fleet.Decision](21)
		input := blob(fmt.Sprintf(`{"n": %d}`, n))
		p.Device, p.Decision, p.Verdict = d.ID, fmt.Sprintf("decision-%d", n), fleet.Noncompliant
		decision.ID, decision.Device, decision.Kind, decision.Input = p.Decision, d.ID, "posture", input.Digest
		decision.At, decision.Answer = epoch.Add(time.Duration(n/2)*time.Second), string(p.Verdict)
		decision.Document = get[[]byte](t)(json.Marshal(map[string]any{"controls": p.Controls}))
		c := fleet.Change{Devices: []fleet.Device{d}, Posture: &p, Decisions: []fleet.Decision{decision}, Blobs: []fleet.Blob{input}}
		switch n {
		case 1:
			c.Blobs = nil // its input is not kept
		case 2:
			c.Devices[0].Lifecycle = fleet.Retired
		default:
			want = append(want, fleet.Replay{Device: d.ID, Name: d.Name, Model: d.Model, Labels: d.Labels, Decision: decision.ID, At: decision.At, Verdict: p.Verdict, Controls: p.Controls, Input: input.Content})
		}
		apply(t, s, c)
	}
	var latest, since []fleet.Replay
	for after := fleet.DeviceID(""); ; {
		page := get[[]fleet.Replay](t)(s.Replays(ctx, after, 2))
		if len(page) == 0 {
			break
		}
		latest, after = append(latest, page...), page[len(page)-1].Device
	}
	same(t, "latest", latest, want)
	for at, last := epoch, ""; ; {
		page := get[[]fleet.Replay](t)(s.ReplaysSince(ctx, at, last, 2))
		if len(page) == 0 {
			break
		}
		since, at, last = append(since, page...), page[len(page)-1].At, page[len(page)-1].Decision
	}
	same(t, "since", since, want)
	same(t, "after the first", get[[]fleet.Replay](t)(s.ReplaysSince(ctx, epoch.Add(time.Second), "", 9)), want[1:])
	same(t, "count", get[int](t)(s.CountReplays(ctx, time.Time{})), 5)
	same(t, "count since", get[int](t)(s.CountReplays(ctx, epoch.Add(time.Second))), 3)
}
