package decision_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"troth/internal/decision"
	"troth/internal/fleet"
	"troth/internal/store"
	"troth/policy"
)

var now = time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)

func open(t testing.TB) *store.Store {
	t.Helper()
	s, err := store.Open(context.Background(), "sqlite:"+filepath.Join(t.TempDir(), "troth.db")+"?synchronous=normal")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// slot is a database that can be away.
type slot struct {
	*store.Store
	mu    sync.Mutex
	away  bool
	calls int
}

func (s *slot) Apply(ctx context.Context, c fleet.Change) error {
	s.mu.Lock()
	away := s.away
	s.calls++
	s.mu.Unlock()
	if away {
		return fleet.Errorf(fleet.Unavailable, "store_unavailable", "away")
	}
	return s.Store.Apply(ctx, c)
}

type row struct {
	Allow          bool
	Code, Operator string
	Action         string
	Resource       string
	Count          int64
	First, Last    time.Time
}

func rows(t testing.TB, s *store.Store) (list []row) {
	t.Helper()
	page, _, err := (&decision.Log{Store: s}).List(t.Context(), fleet.DecisionFilter{Limit: decision.MaxPage}, "", false)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range page {
		var r row
		if err := json.Unmarshal(d.Document, &r); err != nil {
			t.Fatal(err)
		}
		if (d.Answer == "allow") != r.Allow || !d.At.Equal(r.First) {
			t.Errorf("%+v does not say what its row says: %+v", r, d)
		}
		list = append(list, r)
	}
	return list
}

func ruling(at time.Time, resource string) fleet.Ruling {
	return fleet.Ruling{Kind: "access", Device: "aa", Action: "get", Resource: resource, Allow: true, At: at, Policy: "p", Input: "i", Evidence: "e"}
}

func TestEqualAnswersAreOneRow(t *testing.T) {
	s := open(t)
	r := decision.NewRecorder(s)
	record := func(a fleet.Ruling) {
		t.Helper()
		if err := r.Record(t.Context(), a); err != nil {
			t.Fatal(err)
		}
	}
	flush := func(at time.Time) {
		t.Helper()
		if err := r.Flush(t.Context(), at); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 5 {
		record(ruling(now.Add(time.Duration(i)*10*time.Second), "/a?token=secret"))
		flush(now.Add(time.Duration(i) * 10 * time.Second))
	}
	denied := ruling(now, "/a")
	denied.Allow, denied.Code = false, "device_offline"
	record(denied)
	flush(now.Add(50 * time.Second))
	record(ruling(now.Add(61*time.Second), "/a")) // the next minute
	flush(now.Add(62 * time.Second))
	got := rows(t, s)
	if len(got) != 3 {
		t.Fatalf("%+v", got)
	}
	counts := map[string]int64{}
	for _, g := range got {
		counts[fmt.Sprint(g.Allow, g.First.Equal(now))] = g.Count
		if g.Resource != "/a" {
			t.Errorf("resource %q", g.Resource)
		}
		if g.Count == 5 && !g.Last.Equal(now.Add(40*time.Second)) {
			t.Errorf("last %s", g.Last)
		}
	}
	if counts["true true"] != 5 || counts["false true"] != 1 || counts["true false"] != 1 {
		t.Errorf("%v", counts)
	}
}

// TestAttack_S3_WordsOfRequestsAreBounded: what a client of a proxy writes is cut.
func TestAttack_S3_WordsOfRequestsAreBounded(t *testing.T) {
	s := open(t)
	r := decision.NewRecorder(s)
	a := ruling(now, "/"+strings.Repeat("ä", 1000)+"\x00\xff")
	a.Action = strings.Repeat("g", 10000) + "\xff"
	if err := r.Record(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	if err := r.Record(t.Context(), ruling(now, "\x00\xff\u202e")); err != nil {
		t.Fatal(err)
	}
	if err := r.Flush(t.Context(), now); err != nil {
		t.Fatal(err)
	}
	for _, g := range rows(t, s) {
		if len(g.Resource) > 256 || len(g.Action) > 64 {
			t.Errorf("%d and %d bytes", len(g.Resource), len(g.Action))
		}
	}
}

// TestAttack_S9_FullQueueRefuses: while nothing can be written, memory is bounded,
// and what is not recorded is not allowed; afterwards nothing is missing.
func TestAttack_S9_FullQueueRefuses(t *testing.T) {
	s := &slot{Store: open(t), away: true}
	r := decision.NewRecorder(s)
	soon, cancel := context.WithCancel(t.Context())
	cancel()
	taken := 0
	for i := range 10_000 {
		err := r.Record(soon, ruling(now, fmt.Sprintf("/%d", i)))
		if err == nil {
			taken++
			continue
		}
		if fleet.CodeOf(err) != "decision_unrecorded" || !fleet.IsKind(err, fleet.Refused) {
			t.Fatal(err)
		}
	}
	if taken == 0 || taken > 5000 {
		t.Fatalf("%d were taken", taken)
	}
	for range 3 { // a flush that fails makes no room
		if err := r.Flush(t.Context(), now); fleet.CodeOf(err) != "store_unavailable" {
			t.Fatal(err)
		}
		if err := r.Record(soon, ruling(now, "/more")); fleet.CodeOf(err) != "decision_unrecorded" {
			t.Fatal(err)
		}
	}
	if err := r.Record(soon, ruling(now, "/0")); err != nil {
		t.Error("one that is counted needs no room:", err)
	}

	waits := make(chan error)
	go func() { waits <- r.Record(context.WithoutCancel(t.Context()), ruling(now, "/waits")) }()
	s.mu.Lock()
	s.away = false
	s.mu.Unlock()
	if err := r.Flush(t.Context(), now); err != nil {
		t.Fatal(err)
	}
	if err := <-waits; err != nil {
		t.Error("after the flush:", err)
	}
	if err := r.Flush(t.Context(), now); err != nil {
		t.Fatal(err)
	}
	found, err := s.DecisionLog(t.Context(), fleet.DecisionFilter{})
	if err != nil || len(found) != taken+1 {
		t.Errorf("%d rows of %d, %v", len(found), taken+1, err)
	}
	calls := s.calls
	if err := r.Flush(t.Context(), now); err != nil || s.calls != calls {
		t.Errorf("nothing to write: %v, %d calls", err, s.calls-calls)
	}
}

// TestCountsUnderLoad: requests and flushes at once lose and repeat nothing.
func TestCountsUnderLoad(t *testing.T) {
	s := open(t)
	r := decision.NewRecorder(s)
	var work sync.WaitGroup
	for g := range 8 {
		work.Go(func() {
			for i := range 200 {
				if err := r.Record(t.Context(), ruling(now, fmt.Sprintf("/%d", (g+i)%3))); err != nil {
					t.Error(err)
				}
				if i%50 == 0 {
					if err := r.Flush(t.Context(), now); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	work.Wait()
	if err := r.Flush(t.Context(), now); err != nil {
		t.Fatal(err)
	}
	got, sum := rows(t, s), int64(0)
	for _, g := range got {
		sum += g.Count
	}
	if len(got) != 3 || sum != 1600 {
		t.Errorf("%d rows count %d", len(got), sum)
	}
}

// rules refuses all but reading, and does not decide on nothing.
type rules struct{}

func (rules) Operator(_ context.Context, in policy.OperatorInput) (policy.OperatorDecision, error) {
	switch in.Action {
	case "device.list":
		return policy.OperatorDecision{Allow: true}, nil
	case "":
		return policy.OperatorDecision{}, errors.New("no decision")
	}
	return policy.OperatorDecision{Code: "role_insufficient", Meta: policy.Meta{Policy: "p", Input: "i"}}, nil
}

func TestRefusedOperators(t *testing.T) {
	s := open(t)
	r := decision.NewRecorder(s)
	o := decision.Operators{Policy: rules{}, Log: r, Now: func() time.Time { return now }}
	for _, action := range []string{"device.list", "device.retire", "device.retire", ""} {
		d, err := o.Operator(t.Context(), policy.OperatorInput{Operator: "ada", Role: "viewer", Action: action, Resource: "press-7"})
		if d.Allow != (action == "device.list") || (err != nil) != (action == "") {
			t.Errorf("%q: %+v, %v", action, d, err)
		}
	}
	if err := r.Flush(t.Context(), now); err != nil {
		t.Fatal(err)
	}
	counts := map[string]int64{}
	for _, g := range rows(t, s) {
		counts[g.Code] = g.Count
		if g.Allow || g.Operator != "ada" || g.Resource != "press-7" {
			t.Errorf("%+v", g)
		}
	}
	if len(counts) != 2 || counts["role_insufficient"] != 2 || counts["policy_error"] != 1 {
		t.Errorf("%v", counts)
	}
}

// TestPages: a page ends where it would become too large, and none is missing.
func TestPages(t *testing.T) {
	s := open(t)
	content := make([]byte, 3<<20)
	input := fleet.Blob{Digest: fmt.Sprintf("%x", sha256.Sum256(content)), Content: content}
	var c fleet.Change
	for i := range 7 {
		c.Decisions = append(c.Decisions, fleet.Decision{ID: fmt.Sprintf("d%d", i), Kind: "posture", At: now, Input: input.Digest, Document: json.RawMessage(`{}`)})
	}
	c.Blobs = []fleet.Blob{input}
	c.Decisions[0].Input = "not kept"
	if err := s.Apply(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	l := &decision.Log{Store: s}
	var ids []string
	for after := ""; ; {
		page, next, err := l.List(t.Context(), fleet.DecisionFilter{Limit: 100}, after, true)
		if err != nil || len(page) > 3 {
			t.Fatalf("%d decisions, %v", len(page), err)
		}
		for _, d := range page {
			ids = append(ids, d.ID)
			if (d.InputDocument == nil) != (d.ID == "d0") {
				t.Errorf("%s: %d bytes of input", d.ID, len(d.InputDocument))
			}
		}
		if after = next; next == "" {
			break
		}
	}
	if got := strings.Join(ids, " "); got != "d6 d5 d4 d3 d2 d1 d0" {
		t.Error(got)
	}
	if _, err := l.Get(t.Context(), "none"); fleet.CodeOf(err) != "decision_not_found" {
		t.Error(err)
	}
}

// FuzzCursor: only what the log wrote is taken.
func FuzzCursor(f *testing.F) {
	for _, seed := range []string{"0.a", "-62135596800000000.d", "1.", ".a", "01.a", "+1.a", "1.a.b", "9223372036854775808.a", "1.a' OR 1=1", "1.\x00"} {
		f.Add(seed)
	}
	l := &decision.Log{Store: open(f)}
	f.Fuzz(func(t *testing.T, after string) {
		page, next, err := l.List(t.Context(), fleet.DecisionFilter{}, after, false)
		if err != nil && fleet.CodeOf(err) != "cursor_malformed" || len(page) > 0 || next != "" {
			t.Errorf("%q: %v, %v, %v", after, page, next, err)
		}
	})
}
