package storetest

import (
	"context"
	"errors"
	"testing"
	"time"

	"troth/internal/fleet"
)

// testMembers: a member that has ended stays as it is.
func testMembers(t *testing.T, database Database) {
	s, ctx := Open(t, database(t)), context.Background()
	r := rollout("r", "m", "1", fleet.RolloutRunning)
	apply(t, s, fleet.Change{Devices: []fleet.Device{device(1)}, Rollout: &r})
	write := func(state fleet.MemberState) error {
		return s.Apply(ctx, fleet.Change{Members: []fleet.Member{{Rollout: "r", Device: id(1), State: state}}})
	}
	for _, state := range []fleet.MemberState{fleet.MemberPending, fleet.MemberDownloading, fleet.MemberDownloading, fleet.MemberPending, fleet.MemberSuccess, fleet.MemberSuccess} {
		if err := write(state); err != nil {
			t.Fatalf("%s: %v", state, err)
		}
	}
	for _, state := range []fleet.MemberState{fleet.MemberInstalling, fleet.MemberFailure} {
		if err := write(state); !errors.Is(err, fleet.ErrConflict) {
			t.Errorf("%s after success: %v", state, err)
		}
	}
	for _, m := range []fleet.Member{{Rollout: "nowhere", Device: id(1)}, {Rollout: "r", Device: id(9)}} {
		if err := s.Apply(ctx, fleet.Change{Members: []fleet.Member{m}}); err == nil {
			t.Errorf("a member of nothing was kept: %+v", m)
		}
	}
}

// testBlobs: content is kept once, and only under its own digest.
func testBlobs(t *testing.T, database Database) {
	s, ctx := Open(t, database(t)), context.Background()
	b := blob("content")
	apply(t, s, fleet.Change{Blobs: []fleet.Blob{b, b}})
	apply(t, s, fleet.Change{Blobs: []fleet.Blob{b, blob("")}})
	same(t, "content", get[[]byte](t)(s.Blob(ctx, b.Digest)), b.Content)
	same(t, "empty content", len(get[[]byte](t)(s.Blob(ctx, blob("").Digest))), 0)
	same(t, "has", get[bool](t)(s.HasBlob(ctx, b.Digest)), true)
	forged := blob("other")
	forged.Content = []byte("forged")
	refuse(t, s, fleet.Change{Blobs: []fleet.Blob{forged}}, "invalid_digest")
	same(t, "has forged", get[bool](t)(s.HasBlob(ctx, forged.Digest)), false)
}

// testHostileText: a device's words are kept to the letter or refused, and never
// reach the SQL.
func testHostileText(t *testing.T, database Database) {
	s, ctx := Open(t, database(t)), context.Background()
	kept := []string{"'; DROP TABLE devices; --", "$1 ?1 %s", "\x1b[2J\r\n\t", "\u202e\ufeff\U0001f4a3", `\x00 "'`, " "}
	for i, text := range kept {
		d := device(i)
		d.Name, d.Model, d.Labels = text, text, map[string]string{text: text}
		apply(t, s, fleet.Change{Devices: []fleet.Device{d}})
		d.Revision = 1
		same(t, "kept", get[[]fleet.Device](t)(s.Devices(ctx, fleet.DeviceFilter{Name: text, Model: text})), []fleet.Device{d})
	}
	for _, text := range []string{"\x00", "a\x00b", "\xff", "\xc3\x28", "\xed\xa0\x80"} {
		d := device(99)
		d.Name = text
		refuse(t, s, fleet.Change{Devices: []fleet.Device{d}}, "invalid_text")
		if _, err := s.Devices(ctx, fleet.DeviceFilter{Name: text}); !fleet.IsKind(err, fleet.Invalid) {
			t.Errorf("read %q: %v", text, err)
		}
	}
	same(t, "devices", len(get[[]fleet.Device](t)(s.Devices(ctx, fleet.DeviceFilter{}))), len(kept))
}

// testUnavailable: a caller that gave up gets its own error, and a database that
// is gone is said to be unavailable.
func testUnavailable(t *testing.T, database Database) {
	s := Open(t, database(t))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for name, err := range everyCall(ctx, s) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s, cancelled: %v", name, err)
		}
	}
	ctx, cancel = context.WithTimeout(context.Background(), time.Nanosecond)
	defer cancel()
	<-ctx.Done()
	if err := s.Apply(ctx, wholeChange()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("apply, too late: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	Unavailable(t, s)
}
