package storetest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"troth/internal/fleet"
	"troth/internal/store"
)

var certificateStates = []fleet.CertificateState{
	"", fleet.CertificateIntended, fleet.CertificateIssued, fleet.CertificateFailed, fleet.CertificateInDoubt, fleet.CertificateRevoked,
	fleet.CertificateRestricted,
}

// certificateIn brings a certificate into a state; "" is none.
func certificateIn(t *testing.T, s *store.Store, name string, state fleet.CertificateState) {
	t.Helper()
	path := map[fleet.CertificateState][]fleet.CertificateState{
		fleet.CertificateIntended:   {fleet.CertificateIntended},
		fleet.CertificateIssued:     {fleet.CertificateIntended, fleet.CertificateIssued},
		fleet.CertificateFailed:     {fleet.CertificateIntended, fleet.CertificateFailed},
		fleet.CertificateInDoubt:    {fleet.CertificateIntended, fleet.CertificateInDoubt},
		fleet.CertificateRestricted: {fleet.CertificateIntended, fleet.CertificateRestricted},
		fleet.CertificateRevoked:    {fleet.CertificateIntended, fleet.CertificateIssued, fleet.CertificateRevoked},
	}
	for _, step := range path[state] {
		c := certificate(name, id(1))
		c.State, c.Serial = step, name
		apply(t, s, fleet.Change{Certificates: []fleet.Certificate{c}})
	}
}

// live wants exactly the certificates with the ids, at an instant before or after
// the end of all of them.
func live(t *testing.T, s *store.Store, now time.Time, ids ...string) {
	t.Helper()
	list, err := s.LiveCertificates(context.Background(), now)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range list {
		got = append(got, c.ID)
	}
	if fmt.Sprint(got) != fmt.Sprint(ids) {
		t.Errorf("live at %v: %v, want %v", now, got, ids)
	}
}

// testCertificates: a certificate moves only forward.
func testCertificates(t *testing.T, database Database) {
	allowed := map[[2]fleet.CertificateState]bool{
		{"", fleet.CertificateIntended}:                          true,
		{fleet.CertificateIntended, fleet.CertificateIssued}:     true,
		{fleet.CertificateIntended, fleet.CertificateFailed}:     true,
		{fleet.CertificateIntended, fleet.CertificateInDoubt}:    true,
		{fleet.CertificateInDoubt, fleet.CertificateIssued}:      true,
		{fleet.CertificateInDoubt, fleet.CertificateFailed}:      true,
		{fleet.CertificateIssued, fleet.CertificateRevoked}:      true,
		{fleet.CertificateIntended, fleet.CertificateRestricted}: true,
		{fleet.CertificateInDoubt, fleet.CertificateRestricted}:  true,
		{fleet.CertificateRestricted, fleet.CertificateRevoked}:  true,
	}
	t.Run("life", func(t *testing.T) { testCertificateLife(t, database) })
	s := Open(t, database(t))
	for _, from := range certificateStates {
		for _, to := range certificateStates[1:] {
			c := certificate(fmt.Sprint(from, " to ", to), id(1))
			certificateIn(t, s, c.ID, from)
			c.State, c.Serial = to, c.ID
			err := s.Apply(context.Background(), fleet.Change{Certificates: []fleet.Certificate{c}})
			if want := allowed[[2]fleet.CertificateState{from, to}]; want != (err == nil) || (err != nil && !errors.Is(err, fleet.ErrConflict)) {
				t.Errorf("%s: allowed %v, got %v", c.ID, want, err)
			}
		}
	}
	if err := s.Apply(context.Background(), fleet.Change{Certificates: []fleet.Certificate{{ID: "c", State: "good"}}}); !fleet.IsKind(err, fleet.Invalid) {
		t.Errorf("to no state: %v", err)
	}
	t.Run("serial", func(t *testing.T) { testSerial(t, database) })
	t.Run("revocation", func(t *testing.T) { testRevocation(t, database) })
}

func testSerial(t *testing.T, database Database) {
	s, ctx := Open(t, database(t)), context.Background()
	a, b := certificate("a", id(1)), certificate("b", id(2))
	apply(t, s, fleet.Change{Certificates: []fleet.Certificate{a, b}})
	a.State, a.Serial = fleet.CertificateIssued, "0a"
	apply(t, s, fleet.Change{Certificates: []fleet.Certificate{a}})
	b.State, b.Serial = fleet.CertificateIssued, "0a"
	refuse(t, s, fleet.Change{Certificates: []fleet.Certificate{b}}, "conflict")
	stolen := certificate("b", id(1)) // another device's
	stolen.State, stolen.Serial = fleet.CertificateIssued, "0b"
	refuse(t, s, fleet.Change{Certificates: []fleet.Certificate{stolen}}, "conflict")
	same(t, "by serial", get[fleet.Certificate](t)(s.CertificateBySerial(ctx, "0a")).ID, "a")
	for _, serial := range []string{"", "0b"} {
		if _, err := s.CertificateBySerial(ctx, serial); !errors.Is(err, fleet.ErrNotFound) {
			t.Errorf("serial %q: %v", serial, err)
		}
	}
}

func testRevocation(t *testing.T, database Database) {
	s, ctx := Open(t, database(t)), context.Background()
	issue := func(name string, d fleet.DeviceID) fleet.Certificate {
		c := certificate(name, d)
		apply(t, s, fleet.Change{Certificates: []fleet.Certificate{c}})
		c.State, c.Serial, c.EndedAt = fleet.CertificateIssued, name, time.Time{}
		apply(t, s, fleet.Change{Certificates: []fleet.Certificate{c}})
		return c
	}
	state := func(name string) fleet.CertificateState {
		return get[fleet.Certificate](t)(s.Certificate(ctx, name)).State
	}
	issue("a", id(1))
	b := issue("b", id(1))
	issue("other", id(2))
	apply(t, s, fleet.Change{Certificates: []fleet.Certificate{certificate("open", id(1))}})
	refuse(t, s, fleet.Change{RevokeOthers: &b}, "invalid_change")
	b.EndedAt, b.Reason = epoch, "superseded"
	apply(t, s, fleet.Change{RevokeOthers: &b})
	a := get[fleet.Certificate](t)(s.Certificate(ctx, "a"))
	same(t, "revoked", []any{a.State, a.Reason, a.EndedAt, a.Serial}, []any{fleet.CertificateRevoked, "superseded", epoch, "a"})
	same(t, "not revoked", []any{state("b"), state("other"), state("open")}, []any{fleet.CertificateIssued, fleet.CertificateIssued, fleet.CertificateIntended})

	refuse(t, s, fleet.Change{RevokeAll: id(1)}, "invalid_change")
	d := device(1)
	d.LifecycleAt, d.LifecycleReason = epoch.Add(time.Hour), "lost"
	apply(t, s, fleet.Change{Devices: []fleet.Device{d}, RevokeAll: id(1)})
	got := get[fleet.Certificate](t)(s.Certificate(ctx, "b"))
	same(t, "revoked all", []any{got.State, got.Reason, got.EndedAt}, []any{fleet.CertificateRevoked, "lost", epoch.Add(time.Hour)})
	same(t, "revoked earlier stays", get[fleet.Certificate](t)(s.Certificate(ctx, "a")), a)
	same(t, "of another device", state("other"), fleet.CertificateIssued)
}

// testCertificateLife: what a certificate goes through between its issue and the
// CA's confirmation that it ended.
func testCertificateLife(t *testing.T, database Database) {
	s, ctx := Open(t, database(t)), context.Background()
	issue := func(name string, d fleet.DeviceID, succeeds bool) fleet.Certificate {
		c := certificate(name, d)
		c.RotateKey, c.Succeeds, c.Authority = false, succeeds, fleet.Revocation{}
		apply(t, s, fleet.Change{Certificates: []fleet.Certificate{c}})
		c.State, c.Serial, c.EndedAt, c.NotAfter = fleet.CertificateIssued, name, time.Time{}, epoch.Add(24*time.Hour)
		apply(t, s, fleet.Change{Certificates: []fleet.Certificate{c}})
		return c
	}
	one := func(name string) fleet.Certificate { return get[fleet.Certificate](t)(s.Certificate(ctx, name)) }
	names := func(list []fleet.Certificate, err error) (out []string) {
		for _, c := range get[[]fleet.Certificate](t)(list, err) {
			out = append(out, c.ID)
		}
		return out
	}
	issue("a", id(1), false)
	b := issue("b", id(1), true)
	issue("other", id(2), false)

	apply(t, s, fleet.Change{RotateKeys: id(1)})
	same(t, "to rotate", []bool{one("a").RotateKey, one("b").RotateKey, one("other").RotateKey}, []bool{true, true, false})
	same(t, "succeeding", names(s.Succeeding(ctx, b.CreatedAt.Add(time.Microsecond))), []string{"b"})
	same(t, "succeeding later", len(names(s.Succeeding(ctx, b.CreatedAt))), 0)

	refuse(t, s, fleet.Change{Restrict: id(1)}, "invalid_change")
	d := device(1)
	d.LifecycleAt, d.LifecycleReason = epoch.Add(time.Minute), "quarantined"
	apply(t, s, fleet.Change{Devices: []fleet.Device{d}, Restrict: id(1)})
	same(t, "restricted", []fleet.CertificateState{one("a").State, one("b").State, one("other").State},
		[]fleet.CertificateState{fleet.CertificateRestricted, fleet.CertificateRestricted, fleet.CertificateIssued})
	live(t, s, epoch, "a", "b", "other")
	live(t, s, epoch.Add(24*time.Hour))

	b.EndedAt, b.Reason = epoch.Add(time.Hour), "superseded"
	apply(t, s, fleet.Change{FirstUse: &b, RevokeOthers: &b})
	refuse(t, s, fleet.Change{FirstUse: &b, RevokeOthers: &b}, "conflict") // it is used first once
	same(t, "after the first use", []fleet.CertificateState{one("a").State, one("b").State}, []fleet.CertificateState{fleet.CertificateRevoked, fleet.CertificateRestricted})
	live(t, s, epoch, "b", "other")

	now := epoch.Add(2 * time.Hour)
	same(t, "to revoke", names(s.ToRevoke(ctx, now, 10)), []string{"a", "b"})
	same(t, "at most", len(names(s.ToRevoke(ctx, now, 1))), 1)
	same(t, "longest", get[fleet.Certificate](t)(s.LongestToRevoke(ctx, now)).ID, "b")
	late := one("b")
	late.Authority = late.Authority.Failed("away", now)
	apply(t, s, fleet.Change{Revocations: []fleet.Certificate{late}})
	same(t, "to revoke now", names(s.ToRevoke(ctx, now, 10)), []string{"a"})
	same(t, "to revoke later", names(s.ToRevoke(ctx, now.Add(time.Hour), 10)), []string{"a", "b"})
	late.Authority = late.Authority.Confirmed(now)
	apply(t, s, fleet.Change{Revocations: []fleet.Certificate{late}})
	refuse(t, s, fleet.Change{Revocations: []fleet.Certificate{late}}, "conflict")
	same(t, "when it has ended by itself", len(names(s.ToRevoke(ctx, epoch.Add(25*time.Hour), 10))), 0)
	a := one("a")
	a.Authority = a.Authority.Confirmed(now)
	apply(t, s, fleet.Change{Revocations: []fleet.Certificate{a}})
	if _, err := s.LongestToRevoke(ctx, now); !errors.Is(err, fleet.ErrNotFound) {
		t.Errorf("all are confirmed, and yet one waits: %v", err)
	}
	other := one("other")
	other.Authority = other.Authority.Confirmed(now)
	refuse(t, s, fleet.Change{Revocations: []fleet.Certificate{other}}, "conflict") // it has not ended
}

// testTokens: a bootstrap token is spent once, and no revocation is undone.
func testTokens(t *testing.T, database Database) {
	s, ctx := Open(t, database(t)), context.Background()
	write := func(tok fleet.Token) error { return s.Apply(ctx, fleet.Change{Tokens: []fleet.Token{tok}}) }
	boot := token("boot", fleet.RoleBootstrap)
	apply(t, s, fleet.Change{Tokens: []fleet.Token{boot}})
	used := boot
	used.UsedAt = epoch
	results := make(chan error, 2)
	for range 2 {
		go func() { results <- write(used) }() // at the very same microsecond
	}
	if a, b := <-results, <-results; (a == nil) == (b == nil) || !errors.Is(errors.Join(a, b), fleet.ErrConflict) {
		t.Errorf("a bootstrap token is spent exactly once: %v, %v", a, b)
	}
	for name, again := range map[string]fleet.Token{"unspent": boot, "spent again": used} {
		if err := write(again); !errors.Is(err, fleet.ErrConflict) {
			t.Errorf("%s: %v", name, err)
		}
	}
	api := token("api", fleet.RoleAdmin)
	apply(t, s, fleet.Change{Tokens: []fleet.Token{api}})
	revoked := api
	revoked.RevokedAt = epoch
	apply(t, s, fleet.Change{Tokens: []fleet.Token{revoked}})
	api.UsedAt = epoch.Add(time.Second) // read before the revocation
	apply(t, s, fleet.Change{Tokens: []fleet.Token{api}})
	got := get[fleet.Token](t)(s.TokenBySHA256(ctx, api.SHA256))
	same(t, "revoked and used", []time.Time{got.RevokedAt, got.UsedAt}, []time.Time{epoch, epoch.Add(time.Second)})
	twin := token("twin", fleet.RoleAdmin)
	twin.SHA256 = api.SHA256
	if err := write(twin); !errors.Is(err, fleet.ErrConflict) {
		t.Errorf("same secret: %v", err)
	}
}

// testEnrollments: a challenge can be answered once.
func testEnrollments(t *testing.T, database Database) {
	dsn, ctx := database(t), context.Background()
	a, b := Open(t, dsn), Open(t, dsn)
	save := func(name string, expires time.Time) {
		t.Helper()
		e := fill[fleet.Enrollment](1)
		e.ID, e.ExpiresAt = name, expires
		if err := a.SaveEnrollment(ctx, e); err != nil {
			t.Fatal(err)
		}
	}
	for range 20 {
		save("one", epoch)
		results := make(chan error, 2)
		for _, s := range []*store.Store{a, b} {
			go func() { _, err := s.TakeEnrollment(ctx, "one"); results <- err }()
		}
		if x, y := <-results, <-results; (x == nil) == (y == nil) || !errors.Is(errors.Join(x, y), fleet.ErrNotFound) {
			t.Fatalf("an enrolment is taken exactly once: %v, %v", x, y)
		}
	}
	for round := range 20 {
		save("one", epoch)
		same(t, "to be answered", get[fleet.Enrollment](t)(b.Enrollment(ctx, "one")).ID, "one")
		results := make(chan error, 3)
		for i, s := range []*store.Store{a, b} {
			go func() {
				results <- s.Apply(ctx, fleet.Change{Answers: "one", Events: []fleet.Event{{ID: fmt.Sprint("answer ", round, i)}}})
			}()
		}
		go func() {
			_, err := b.TakeEnrollment(ctx, "one")
			if errors.Is(err, fleet.ErrNotFound) {
				err = fleet.ErrConflict
			}
			results <- err
		}()
		won := 0
		for range 3 {
			if err := <-results; err == nil {
				won++
			} else if !errors.Is(err, fleet.ErrConflict) {
				t.Fatal(err)
			}
		}
		if won != 1 {
			t.Fatalf("a challenge is answered %d times", won)
		}
		if _, err := a.Enrollment(ctx, "one"); !errors.Is(err, fleet.ErrNotFound) {
			t.Errorf("an answered challenge: %v", err)
		}
	}
	save("old", epoch)
	save("new", epoch.Add(time.Microsecond))
	if err := a.SaveEnrollment(ctx, fleet.Enrollment{ID: "new"}); !errors.Is(err, fleet.ErrConflict) {
		t.Errorf("same id: %v", err)
	}
	same(t, "expired", get[int](t)(a.ExpireEnrollments(ctx, epoch.Add(time.Microsecond))), 1)
	if _, err := a.TakeEnrollment(ctx, "old"); !errors.Is(err, fleet.ErrNotFound) {
		t.Errorf("expired: %v", err)
	}
	get[fleet.Enrollment](t)(b.TakeEnrollment(ctx, "new"))
}
