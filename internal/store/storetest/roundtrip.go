package storetest

import (
	"context"
	"testing"
	"time"

	"troth/internal/fleet"
	"troth/internal/store"
)

// testRoundTrip: what is written is read back, every field of it, and so is
// what has no value.
func testRoundTrip(t *testing.T, database Database) {
	s := Open(t, database(t))
	for _, kind := range []struct {
		name string
		test func(context.Context, *testing.T, *store.Store)
	}{
		{"device", roundTripDevice},
		{"posture", roundTripPosture},
		{"progress", roundTripProgress},
		{"decision", roundTripDecision},
		{"alert", roundTripAlert},
		{"rollout", roundTripRollout},
		{"certificate", roundTripCertificate},
		{"others", roundTripOthers},
		{"times", roundTripTimes},
	} {
		t.Run(kind.name, func(t *testing.T) { kind.test(t.Context(), t, s) })
	}
}

func roundTripDevice(ctx context.Context, t *testing.T, s *store.Store) {
	bare := fleet.Device{ID: id(2)}
	apply(t, s, fleet.Change{Devices: []fleet.Device{device(1), bare}})
	want := device(1)
	want.Revision, bare.Revision = 1, 1
	same(t, "filled", get[fleet.Device](t)(s.Device(ctx, id(1))), want)
	same(t, "bare", get[fleet.Device](t)(s.Device(ctx, id(2))), bare)
	want = fill[fleet.Device](99)
	want.ID, want.Revision = id(1), 1
	apply(t, s, fleet.Change{Devices: []fleet.Device{want}})
	want.Revision = 2
	same(t, "replaced", get[fleet.Device](t)(s.Device(ctx, id(1))), want)
}

func roundTripPosture(ctx context.Context, t *testing.T, s *store.Store) {
	for i, p := range []fleet.Posture{fill[fleet.Posture](3), {}, fill[fleet.Posture](4)} {
		p.Device = id(1)
		apply(t, s, fleet.Change{Posture: &p})
		same(t, "posture", get[fleet.Posture](t)(s.Posture(ctx, id(1))), p)
		if i == 0 {
			same(t, "postures", get[map[fleet.DeviceID]fleet.Posture](t)(s.Postures(ctx, []fleet.DeviceID{id(2), id(1)})), map[fleet.DeviceID]fleet.Posture{id(1): p})
		}
	}
}

func roundTripProgress(ctx context.Context, t *testing.T, s *store.Store) {
	for _, p := range []fleet.Progress{fill[fleet.Progress](7), {}, fill[fleet.Progress](8)} {
		p.Device = id(1)
		apply(t, s, fleet.Change{Progress: &p})
		same(t, "progress", get[fleet.Progress](t)(s.Progress(ctx, id(1))), p)
	}
}

func roundTripDecision(ctx context.Context, t *testing.T, s *store.Store) {
	for _, d := range []fleet.Decision{fill[fleet.Decision](5), {ID: "bare"}} {
		apply(t, s, fleet.Change{Decisions: []fleet.Decision{d}})
		same(t, "decision", get[fleet.Decision](t)(s.Decision(ctx, d.ID)), d)
	}
}

func roundTripAlert(ctx context.Context, t *testing.T, s *store.Store) {
	a := fill[fleet.Alert](6)
	a.Revision = 0
	apply(t, s, fleet.Change{Alerts: []fleet.Alert{a}})
	a.Revision = 1
	same(t, "inserted", get[fleet.Alert](t)(s.Alert(ctx, a.ID)), a)
	b := fill[fleet.Alert](7)
	b.ID, b.Revision = a.ID, 1
	apply(t, s, fleet.Change{Alerts: []fleet.Alert{b}})
	b.Revision = 2
	same(t, "replaced", get[fleet.Alert](t)(s.Alert(ctx, a.ID)), b)
}

func roundTripRollout(ctx context.Context, t *testing.T, s *store.Store) {
	r := fill[fleet.Rollout](8)
	r.Revision = 0
	apply(t, s, fleet.Change{Rollout: &r})
	r.Revision = 1
	same(t, "inserted", get[fleet.Rollout](t)(s.Rollout(ctx, r.ID)), r)
	u := fill[fleet.Rollout](9)
	u.ID, u.Revision = r.ID, 1
	apply(t, s, fleet.Change{Rollout: &u})
	u.Revision = 2
	same(t, "replaced", get[fleet.Rollout](t)(s.Rollout(ctx, r.ID)), u)
	m := fill[fleet.Member](10)
	m.Rollout, m.Device = r.ID, id(1)
	apply(t, s, fleet.Change{Members: []fleet.Member{m}})
	same(t, "member", get[[]fleet.Member](t)(s.Members(ctx, r.ID)), []fleet.Member{m})
}

func roundTripCertificate(ctx context.Context, t *testing.T, s *store.Store) {
	c := fill[fleet.Certificate](11)
	c.State, c.Serial = fleet.CertificateIntended, ""
	apply(t, s, fleet.Change{Certificates: []fleet.Certificate{c}})
	same(t, "intended", get[fleet.Certificate](t)(s.Certificate(ctx, c.ID)), c)
	issued := fill[fleet.Certificate](12)
	issued.ID, issued.Device, issued.CreatedAt, issued.State = c.ID, c.Device, c.CreatedAt, fleet.CertificateIssued
	apply(t, s, fleet.Change{Certificates: []fleet.Certificate{issued}})
	same(t, "issued", get[fleet.Certificate](t)(s.CertificateBySerial(ctx, issued.Serial)), issued)
	doubt := certificate("in doubt", id(1))
	apply(t, s, fleet.Change{Certificates: []fleet.Certificate{doubt}})
	doubt.State, doubt.Serial, doubt.DER, doubt.Reason = fleet.CertificateInDoubt, "0d", []byte("signed"), "never delivered"
	apply(t, s, fleet.Change{Certificates: []fleet.Certificate{doubt}})
	same(t, "in doubt", get[fleet.Certificate](t)(s.Certificate(ctx, doubt.ID)), doubt)
	doubt.Authority = fleet.Revocation{ConfirmedAt: epoch, Attempts: 3, NextAt: epoch.Add(time.Hour), Problem: "away"}
	apply(t, s, fleet.Change{Revocations: []fleet.Certificate{doubt}})
	same(t, "confirmed", get[fleet.Certificate](t)(s.Certificate(ctx, doubt.ID)), doubt)
	refuse(t, s, fleet.Change{Revocations: []fleet.Certificate{doubt}}, "conflict") // once
}

func roundTripOthers(ctx context.Context, t *testing.T, s *store.Store) {
	m, tok, e, en := fill[fleet.Manufacturer](13), fill[fleet.Token](14), fill[fleet.Event](15), fill[fleet.Enrollment](16)
	apply(t, s, fleet.Change{Manufacturers: []fleet.Manufacturer{m}, Tokens: []fleet.Token{tok}, Events: []fleet.Event{e}})
	same(t, "manufacturers", get[[]fleet.Manufacturer](t)(s.Manufacturers(ctx)), []fleet.Manufacturer{m})
	same(t, "token", get[fleet.Token](t)(s.TokenBySHA256(ctx, tok.SHA256)), tok)
	same(t, "events", get[[]fleet.Event](t)(s.Events(ctx, "", 0)), []fleet.Event{e})
	if err := s.SaveEnrollment(ctx, en); err != nil {
		t.Fatal(err)
	}
	same(t, "enrolment", get[fleet.Enrollment](t)(s.TakeEnrollment(ctx, en.ID)), en)
}

func roundTripTimes(ctx context.Context, t *testing.T, s *store.Store) {
	for _, at := range []time.Time{{}, time.Unix(0, 0).UTC(), time.Unix(0, -1000).UTC(), time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)} {
		d := get[fleet.Device](t)(s.Device(ctx, id(2)))
		d.LastSeen = at
		apply(t, s, fleet.Change{Devices: []fleet.Device{d}})
		same(t, "time", get[fleet.Device](t)(s.Device(ctx, id(2))).LastSeen, at)
	}
	d := get[fleet.Device](t)(s.Device(ctx, id(2)))
	d.LastSeen = epoch.Add(999 * time.Nanosecond).In(time.FixedZone("east", 7200))
	apply(t, s, fleet.Change{Devices: []fleet.Device{d}})
	same(t, "finer than a microsecond, elsewhere", get[fleet.Device](t)(s.Device(ctx, id(2))).LastSeen, epoch)
}
