package preview

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"

	"troth/internal/fleet"
	"troth/policy"
)

// Report is what a candidate would change.
type Report struct {
	Policy  string     `json:"policy"` // digest of the candidate
	At      time.Time  `json:"at"`
	Since   *time.Time `json:"since,omitempty"` // nil: each device's latest posture
	Seconds float64    `json:"seconds"`         // that it took
	// Decisions were replayed, of so many devices.
	Decisions int    `json:"decisions"`
	Devices   int    `json:"devices"`
	Counts    Counts `json:"counts"`

	Models   []Group   `json:"models"`
	GroupBy  string    `json:"group_by"` // label
	Groups   []Group   `json:"groups"`
	Controls []Control `json:"controls"`
	Actions  []Action  `json:"actions"`
	Problems []Problem `json:"problems"`

	// The devices by name, each kind up to a bound; Counts says how many there are.
	NewlyFailing []Device `json:"newly_failing"`
	NewlyPassing []Device `json:"newly_passing"`
	Changed      []Device `json:"changed"` // as before, with other controls or reasons
}

// Counts are decisions by what became of them.
type Counts struct {
	Same         int `json:"same"`
	Changed      int `json:"changed"`
	NewlyFailing int `json:"newly_failing"`
	NewlyPassing int `json:"newly_passing"`
	Undecided    int `json:"undecided"` // of all: the candidate could not decide
}

// Group is what happens to the devices of a model, or with a label's value.
type Group struct {
	Name string `json:"name"` // empty: they have none
	Counts
}

// Control is a control on which the candidate differs.
type Control struct {
	ID           string `json:"id"`
	NewlyFailing int    `json:"newly_failing"`
	NewlyPassing int    `json:"newly_passing"`
	Reasons      int    `json:"reasons"` // same outcome, another reason
}

// Action is what the candidate's remediation would do, and to how many.
type Action struct {
	Kind    string `json:"kind"`
	Control string `json:"control"`
	Release string `json:"release,omitempty"`
	Devices int    `json:"devices"`
}

// Problem is why the candidate could not decide, and how often.
type Problem struct {
	Message string `json:"message"`
	Count   int    `json:"count"`
}

// Device is a decision on which the candidate differs.
type Device struct {
	ID      string                `json:"id"`
	Name    string                `json:"name"`
	Model   string                `json:"model"`
	Group   string                `json:"group,omitempty"`
	At      time.Time             `json:"at"` // of the decision that was replayed
	Before  fleet.Verdict         `json:"before"`
	After   fleet.Verdict         `json:"after"`
	Changes []fleet.ControlChange `json:"changes"`
	Actions []string              `json:"actions,omitempty"`
	Problem string                `json:"problem,omitempty"`
}

// maxProblems and maxGroups bound what is kept apart.
const (
	maxProblems = 20
	maxGroups   = 1000
	otherGroups = "(others)"
)

// tally adds up outcomes.
type tally struct {
	Options
	mu       sync.Mutex
	n        int
	devices  map[fleet.DeviceID]struct{} // only where one may come twice
	r        Report
	models   map[string]*Counts
	groups   map[string]*Counts
	controls map[string]*Control
	actions  map[Action]int
	problems map[string]int
}

func newTally(o Options) *tally {
	return &tally{
		Options: o, devices: map[fleet.DeviceID]struct{}{}, models: map[string]*Counts{}, groups: map[string]*Counts{},
		controls: map[string]*Control{}, actions: map[Action]int{}, problems: map[string]int{},
	}
}

// add counts an outcome, and says now and then how many there are.
func (t *tally) add(o outcome, done func(int)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.n++
	if t.n%page == 0 {
		defer done(t.n)
	}
	if !t.Since.IsZero() {
		t.devices[o.was.Device] = struct{}{}
	}
	group := o.was.Labels[t.GroupBy]
	if _, known := t.groups[group]; !known && len(t.groups) >= maxGroups {
		group = otherGroups
	}
	kind := kindOf(o)
	for _, c := range []*Counts{&t.r.Counts, at(t.models, o.was.Model), at(t.groups, group)} {
		c.count(kind, o)
	}
	for _, a := range o.actions {
		t.actions[Action{Kind: a.Kind, Control: a.Control, Release: a.Release}]++
	}
	if o.problem != "" && (t.problems[o.problem] > 0 || len(t.problems) < maxProblems) {
		t.problems[o.problem]++
	}
	for _, c := range o.changes {
		at(t.controls, c.ID).count(c)
	}
	if list := t.list(kind); list != nil && len(*list) < t.Named {
		*list = append(*list, device(o, group))
	}
}

type kind int

const (
	same kind = iota
	changed
	newlyFailing
	newlyPassing
)

func kindOf(o outcome) kind {
	switch before, after := o.was.Verdict == fleet.Compliant, o.verdict == fleet.Compliant; {
	case before && !after:
		return newlyFailing
	case !before && after:
		return newlyPassing
	case len(o.changes) > 0 || o.was.Verdict != o.verdict:
		return changed
	}
	return same
}

func (c *Counts) count(k kind, o outcome) {
	switch k {
	case same:
		c.Same++
	case changed:
		c.Changed++
	case newlyFailing:
		c.NewlyFailing++
	case newlyPassing:
		c.NewlyPassing++
	}
	if o.verdict == fleet.Undecided {
		c.Undecided++
	}
}

func (c *Control) count(change fleet.ControlChange) {
	failing := func(o fleet.Outcome) bool { return o != "" && fleet.Control{Outcome: o}.Failing() }
	switch before, after := failing(change.Before), failing(change.After); {
	case !before && after:
		c.NewlyFailing++
	case before && !after:
		c.NewlyPassing++
	default:
		c.Reasons++
	}
}

func (t *tally) list(k kind) *[]Device {
	switch k {
	case newlyFailing:
		return &t.r.NewlyFailing
	case newlyPassing:
		return &t.r.NewlyPassing
	case changed:
		return &t.r.Changed
	}
	return nil
}

func device(o outcome, group string) Device {
	d := Device{
		ID: string(o.was.Device), Name: o.was.Name, Model: o.was.Model, Group: group, At: o.was.At,
		Before: o.was.Verdict, After: o.verdict, Changes: o.changes, Problem: o.problem,
	}
	if d.Changes == nil {
		d.Changes = []fleet.ControlChange{}
	}
	for _, a := range o.actions {
		d.Actions = append(d.Actions, describe(a))
	}
	return d
}

func describe(a policy.Action) string {
	if a.Release == "" {
		return a.Kind
	}
	return a.Kind + " " + a.Release
}

// report is what was counted, in an order that does not depend on who was first.
func (t *tally) report() Report {
	r := t.r
	r.Decisions, r.Devices, r.GroupBy = t.n, t.n, t.GroupBy
	if !t.Since.IsZero() {
		r.Devices = len(t.devices)
	}
	r.Models, r.Groups = groups(t.models), groups(t.groups)
	r.Controls, r.Actions, r.Problems = []Control{}, []Action{}, []Problem{}
	for id, c := range t.controls {
		c.ID = id
		r.Controls = append(r.Controls, *c)
	}
	slices.SortFunc(r.Controls, func(a, b Control) int {
		return cmp.Or(cmp.Compare(b.NewlyFailing, a.NewlyFailing), cmp.Compare(a.ID, b.ID))
	})
	for a, n := range t.actions {
		a.Devices = n
		r.Actions = append(r.Actions, a)
	}
	slices.SortFunc(r.Actions, func(a, b Action) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Control, b.Control), cmp.Compare(a.Release, b.Release))
	})
	for m, n := range t.problems {
		r.Problems = append(r.Problems, Problem{m, n})
	}
	slices.SortFunc(r.Problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Message, b.Message))
	})
	for _, list := range []*[]Device{&r.NewlyFailing, &r.NewlyPassing, &r.Changed} {
		if *list == nil {
			*list = []Device{}
		}
		slices.SortFunc(*list, func(a, b Device) int {
			return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID), a.At.Compare(b.At))
		})
	}
	return r
}

func groups(m map[string]*Counts) []Group {
	list := []Group{}
	for _, name := range slices.Sorted(maps.Keys(m)) {
		list = append(list, Group{name, *m[name]})
	}
	return list
}

func at[V any](m map[string]*V, key string) *V {
	v, ok := m[key]
	if !ok {
		v = new(V)
		m[key] = v
	}
	return v
}
