package storetest

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"troth/internal/fleet"
)

// testDecisionLog compares every combination of a filter's fields with a plain
// loop, reads in pages of every size, and counts.
func testDecisionLog(t *testing.T, database Database) {
	s, ctx := Open(t, database(t)), context.Background()
	var c fleet.Change
	for i := range 24 {
		c.Decisions = append(c.Decisions, fleet.Decision{
			ID: fmt.Sprintf("d%02d", (i*7)%24), Kind: []string{"posture", "access"}[i%2], Device: id(i % 3),
			At: epoch.Add(time.Duration(i/4) * time.Second), Policy: []string{"p", "q"}[i/12], Answer: []string{"allow", "deny"}[i/2%2], Document: json.RawMessage(`{}`),
		})
	}
	apply(t, s, c)
	names := func(list []fleet.Decision) []string {
		out := []string{}
		for _, d := range list {
			out = append(out, d.ID)
		}
		return out
	}
	log := func(f fleet.DecisionFilter) []fleet.Decision {
		return get[[]fleet.Decision](t)(s.DecisionLog(ctx, f))
	}
	for bits := range 1 << 6 {
		f := decisionFilter(bits)
		var want []fleet.Decision
		for _, d := range c.Decisions {
			if selects(f, d) {
				want = append(want, d)
			}
		}
		slices.SortFunc(want, func(a, b fleet.Decision) int { return -newer(a, b) })
		same(t, fmt.Sprintf("%+v", f), names(log(f)), names(want))
		for _, size := range []int{1, 3} {
			var paged []fleet.Decision
			f.Limit, f.Before = size, fleet.DecisionCursor{}
			for page := log(f); len(page) > 0 && len(paged) <= len(want); page = log(f) {
				paged = append(paged, page...)
				f.Before = fleet.DecisionCursor{At: page[len(page)-1].At, ID: page[len(page)-1].ID}
			}
			same(t, fmt.Sprintf("in pages: %+v", f), names(paged), names(want))
		}
	}

	counted := c.Decisions[1]
	counted.Document, counted.Answer = json.RawMessage(`{"count":2}`), "another"
	apply(t, s, fleet.Change{Counted: []fleet.Decision{counted, {ID: "new", Kind: "access", Document: json.RawMessage(`{"count":1}`)}}})
	want := c.Decisions[1]
	want.Document = counted.Document // and nothing else
	same(t, "counted", get[fleet.Decision](t)(s.Decision(ctx, counted.ID)), want)
	same(t, "new", string(get[fleet.Decision](t)(s.Decision(ctx, "new")).Document), `{"count":1}`)
}

func decisionFilter(bits int) (f fleet.DecisionFilter) {
	for i, set := range []func(){
		func() { f.Kind = "access" }, func() { f.Device = id(1) }, func() { f.Answer = "deny" }, func() { f.Policy = "q" },
		func() { f.Since = epoch.Add(time.Second) }, func() { f.Until = epoch.Add(4 * time.Second) },
	} {
		if bits&(1<<i) != 0 {
			set()
		}
	}
	return f
}

func selects(f fleet.DecisionFilter, d fleet.Decision) bool {
	return (f.Kind == "" || f.Kind == d.Kind) && (f.Device == "" || f.Device == d.Device) && (f.Answer == "" || f.Answer == d.Answer) &&
		(f.Policy == "" || f.Policy == d.Policy) && (f.Since.IsZero() || !d.At.Before(f.Since)) && (f.Until.IsZero() || d.At.Before(f.Until))
}

func newer(a, b fleet.Decision) int {
	if c := a.At.Compare(b.At); c != 0 {
		return c
	}
	if a.ID > b.ID {
		return 1
	}
	return -1
}
