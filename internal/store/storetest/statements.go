package storetest

import (
	"context"
	"testing"

	"troth/internal/fleet"
	"troth/internal/store"
)

// Statement is SQL that a store ran, with what was bound to it.
type Statement struct {
	Query string
	Args  []any
}

// Statements opens a store at dsn, calls each method once, reads with each
// sensible combination of a filter's fields, and returns every statement that
// this ran.
func Statements(t testing.TB, dsn string) []Statement {
	t.Helper()
	var f faults
	Open(t, dsn) // whose statements, the schema's, are not those of the methods
	s, ctx := Open(t, dsn, store.WithConnector(f.wrap)), context.Background()
	Populate(t, s)
	everyCall(ctx, s)
	for _, filter := range []fleet.DeviceFilter{
		{Limit: 10}, {After: id(1), Limit: 10}, {Model: "m", Limit: 10}, {Model: "m", After: id(1), Limit: 10},
		{Lifecycle: fleet.Active, After: id(1), Limit: 10}, {Model: "m", Lifecycle: fleet.Active, After: id(1), Limit: 10},
		{Name: "n"}, {IDPrefix: "ab", Limit: 2}, {Scope: fleet.Scope{"site": "lyon"}, After: id(1), Limit: 10},
	} {
		_, err := s.Devices(ctx, filter)
		get[any](t)(nil, err)
	}
	for _, filter := range []fleet.AlertFilter{
		{Limit: 10}, {Open: true, Limit: 10}, {Subject: "s", Limit: 10}, {Subject: "s", Open: true},
	} {
		_, err := s.Alerts(ctx, filter)
		get[any](t)(nil, err)
	}
	for _, filter := range []fleet.RolloutFilter{
		{}, {Model: "m"}, {Model: "m", States: []fleet.RolloutState{fleet.RolloutRunning}}, {States: []fleet.RolloutState{fleet.RolloutRunning, fleet.RolloutPaused}},
	} {
		_, err := s.Rollouts(ctx, filter)
		get[any](t)(nil, err)
	}
	for _, filter := range []fleet.VulnerabilityFilter{{Limit: 10}, {Severity: "s", After: "v", Limit: 10}, {Name: "n"}} {
		_, err := s.Vulnerabilities(ctx, filter)
		get[any](t)(nil, err)
	}
	for _, filter := range []fleet.DecisionFilter{
		{Limit: 10}, {Since: epoch, Until: epoch, Limit: 10}, {Kind: "access", Limit: 10}, {Device: id(1), Limit: 10},
		{Kind: "access", Before: fleet.DecisionCursor{At: epoch, ID: "d"}, Limit: 10}, {Before: fleet.DecisionCursor{At: epoch, ID: "d"}, Limit: 10},
	} {
		_, err := s.DecisionLog(ctx, filter)
		get[any](t)(nil, err)
	}
	_, err := s.Events(ctx, "s", 10)
	get[any](t)(nil, err)
	f.mu.Lock()
	defer f.mu.Unlock()
	var list []Statement
	for _, seen := range f.seen {
		st := Statement{Query: seen.query}
		for _, a := range seen.args {
			st.Args = append(st.Args, a.Value)
		}
		list = append(list, st)
	}
	return list
}
