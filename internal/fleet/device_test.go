package fleet_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"troth/internal/fleet"
)

var now = time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)

// id is a device id that is a repeated digit.
func id(digit string) fleet.DeviceID { return fleet.DeviceID(strings.Repeat(digit, 64)) }

type move func(fleet.Device, string, time.Time) (fleet.Device, error)

func TestLifecycle(t *testing.T) {
	const refused = fleet.Lifecycle("")
	tests := []struct {
		name string
		move move
		to   map[fleet.Lifecycle]fleet.Lifecycle
	}{
		{"quarantine", fleet.Device.Quarantine, map[fleet.Lifecycle]fleet.Lifecycle{
			fleet.Pending: refused, fleet.Active: fleet.Quarantined, fleet.Quarantined: fleet.Quarantined, fleet.Retired: refused,
		}},
		{"release", fleet.Device.Release, map[fleet.Lifecycle]fleet.Lifecycle{
			fleet.Pending: refused, fleet.Active: refused, fleet.Quarantined: fleet.Active, fleet.Retired: refused,
		}},
		{"retire", fleet.Device.Retire, map[fleet.Lifecycle]fleet.Lifecycle{
			fleet.Pending: fleet.Retired, fleet.Active: fleet.Retired, fleet.Quarantined: fleet.Retired, fleet.Retired: fleet.Retired,
		}},
	}
	for _, tt := range tests {
		for from, to := range tt.to {
			t.Run(tt.name+" "+string(from), func(t *testing.T) {
				before := fleet.Device{ID: id("a"), Lifecycle: from, LifecycleReason: "before", LifecycleAt: now}
				later := now.Add(time.Hour)
				got, err := tt.move(before, "why", later)
				if to == refused {
					if fleet.CodeOf(err) != "wrong_lifecycle" || !fleet.IsKind(err, fleet.Conflict) || got.Lifecycle != from || got.LifecycleReason != "before" {
						t.Fatalf("got %+v, %v; want it refused and unchanged", got, err)
					}
					return
				}
				if err != nil || got.Lifecycle != to {
					t.Fatalf("got %s, %v; want %s", got.Lifecycle, err, to)
				}
				moved := from != to
				if (got.LifecycleReason == "why") != moved || got.LifecycleAt.Equal(later) != moved {
					t.Errorf("reason %q at %s; a repeated move must change nothing, a real one both", got.LifecycleReason, got.LifecycleAt)
				}
			})
		}
	}
}

func TestRetiringGivesUpTheVerdict(t *testing.T) {
	d := fleet.Device{ID: id("a"), Lifecycle: fleet.Active, Verdict: fleet.Compliant, FreshUntil: now.Add(time.Hour)}
	d, err := d.Retire("sold", now)
	if err != nil || d.Believed(now) != fleet.Unknown {
		t.Errorf("a retired device is believed to be %s, %v", d.Believed(now), err)
	}
}

func TestBelieved(t *testing.T) {
	tests := []struct {
		name    string
		verdict fleet.Verdict
		fresh   time.Time
		want    fleet.Verdict
	}{
		{"fresh", fleet.Compliant, now.Add(time.Second), fleet.Compliant},
		{"at its last instant", fleet.Noncompliant, now, fleet.Noncompliant},
		{"a moment too old", fleet.Compliant, now.Add(-time.Nanosecond), fleet.Unknown},
		{"never fresh", fleet.Compliant, time.Time{}, fleet.Unknown},
		{"undecided", fleet.Undecided, now.Add(time.Second), fleet.Undecided},
		{"never decided", "", now.Add(time.Second), fleet.Unknown},
	}
	for _, tt := range tests {
		if got := (fleet.Device{Verdict: tt.verdict, FreshUntil: tt.fresh}).Believed(now); got != tt.want {
			t.Errorf("%s: believed %s, want %s", tt.name, got, tt.want)
		}
	}
}

func TestPresence(t *testing.T) {
	d := fleet.Device{LastSeen: now, NextCheckIn: now.Add(5 * time.Minute)}
	tests := []struct {
		after time.Duration
		want  fleet.Presence
	}{{0, fleet.Online}, {5 * time.Minute, fleet.Online}, {10 * time.Minute, fleet.Online}, {10*time.Minute + 1, fleet.Offline}}
	for _, tt := range tests {
		if got := d.PresenceAt(now.Add(tt.after)); got != tt.want {
			t.Errorf("%s after its last check-in it is %s, want %s", tt.after, got, tt.want)
		}
	}
	if got := (fleet.Device{}).PresenceAt(now); got != fleet.Offline {
		t.Errorf("a device never seen is %s", got)
	}
}

func TestExpire(t *testing.T) {
	tests := []struct {
		name      string
		lifecycle fleet.Lifecycle
		verdict   fleet.Verdict
		fresh     time.Time
		expires   bool
	}{
		{"stale", fleet.Active, fleet.Compliant, now.Add(-1), true},
		{"stale in quarantine", fleet.Quarantined, fleet.Noncompliant, now.Add(-1), true},
		{"at its last instant", fleet.Active, fleet.Compliant, now, false},
		{"unknown already", fleet.Active, fleet.Unknown, now.Add(-1), false},
		{"pending", fleet.Pending, fleet.Compliant, now.Add(-1), false},
		{"retired", fleet.Retired, fleet.Compliant, now.Add(-1), false},
	}
	for _, tt := range tests {
		before := fleet.Device{Lifecycle: tt.lifecycle, Verdict: tt.verdict, FreshUntil: tt.fresh}
		got, expired := before.Expire(now)
		if expired != tt.expires || expired && (got.Verdict != fleet.Unknown || !got.VerdictSince.Equal(now)) || !expired && got.Verdict != tt.verdict {
			t.Errorf("%s: expired %v to %s since %s, want %v", tt.name, expired, got.Verdict, got.VerdictSince, tt.expires)
		}
	}
}

func TestRegister(t *testing.T) {
	for _, bad := range []string{"", "abc", strings.Repeat("A", 64), strings.Repeat("g", 64), strings.Repeat("a", 65), strings.Repeat("a", 63) + "\n"} {
		if _, err := fleet.Register(fleet.DeviceID(bad), "n", "m", nil, now); fleet.CodeOf(err) != "invalid_ek_hash" {
			t.Errorf("EK hash %q: %v", bad, err)
		}
	}
	d, err := fleet.Register(id("a"), "pump", "edge", map[string]string{"site": "a"}, now)
	if err != nil || d.Lifecycle != fleet.Pending || d.Believed(now) != fleet.Unknown || !d.RegisteredAt.Equal(now) || d.Revision != 0 {
		t.Errorf("registered %+v, %v", d, err)
	}
}

func TestErrors(t *testing.T) {
	cause := errors.New("the password is hunter2")
	err := error(fleet.Because(cause, fleet.Unavailable, "away", "try %d times", 3))
	if !errors.Is(err, cause) || fleet.CodeOf(err) != "away" || !fleet.IsKind(err, fleet.Unavailable) || fleet.IsKind(err, fleet.Conflict) {
		t.Errorf("%v does not say what it is", err)
	}
	var e *fleet.Error
	if !errors.As(err, &e) || e.Message != "try 3 times" {
		t.Errorf("message %+v; it must not carry the cause", e)
	}
	if fleet.CodeOf(cause) != "internal" || fleet.IsKind(cause, fleet.Internal) {
		t.Error("an error of somebody else's was taken for one of ours")
	}
}

func TestTokenUsable(t *testing.T) {
	tests := []struct {
		name  string
		token fleet.Token
		want  bool
	}{
		{"good", fleet.Token{Role: fleet.RoleAdmin, ExpiresAt: now.Add(1)}, true},
		{"used before", fleet.Token{Role: fleet.RoleAdmin, ExpiresAt: now.Add(1), UsedAt: now}, true},
		{"at its end", fleet.Token{Role: fleet.RoleAdmin, ExpiresAt: now}, false},
		{"revoked", fleet.Token{Role: fleet.RoleAdmin, ExpiresAt: now.Add(1), RevokedAt: now}, false},
		{"bootstrap", fleet.Token{Role: fleet.RoleBootstrap, ExpiresAt: now.Add(1)}, true},
		{"spent bootstrap", fleet.Token{Role: fleet.RoleBootstrap, ExpiresAt: now.Add(1), UsedAt: now}, false},
	}
	for _, tt := range tests {
		if got := tt.token.Usable(now); got != tt.want {
			t.Errorf("%s: usable %v, want %v", tt.name, got, tt.want)
		}
	}
}
