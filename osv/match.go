package osv

import (
	"fmt"
	"slices"
	"strings"
)

// Outcome is what a record says of a component.
type Outcome string

// The outcomes. Only NotAffected is good news.
const (
	NotAffected Outcome = "not_affected"
	HasIt       Outcome = "affected"
	Undecided   Outcome = "undecided" // it may be affected, and nothing shows that it is not
)

// Answer is what a record, or one package of it, says of a component.
type Answer struct {
	Outcome  Outcome
	Severity Severity
	Fixed    string // first version without it; empty: none is known
	Reason   string // why it is undecided
}

// Judge says whether the component has the vulnerability. A record that was
// withdrawn, or names other packages only, says NotAffected.
func (r Record) Judge(c Component) Answer {
	if !r.Withdrawn.IsZero() {
		return Answer{Outcome: NotAffected, Severity: Unrated}
	}
	return r.judge(c, r.Affected)
}

// About is the record without the packages that are not the component: Judge says
// the same of it.
func (r Record) About(c Component) Record {
	var about []Affected
	for _, a := range r.Affected {
		if a.names(c) {
			about = append(about, a)
		}
	}
	r.Affected = about
	return r
}

func (r Record) judge(c Component, affected []Affected) Answer {
	best := Answer{Outcome: NotAffected, Severity: Unrated}
	every := true // of the packages whose release is not decided
	var vague []Answer
	for _, a := range affected {
		if !a.names(c) {
			continue
		}
		is, decided := c.ofRelease(a.Package.Ecosystem)
		if decided && !is {
			continue
		}
		answer := a.judge(c)
		answer.Severity = r.Severity(a)
		if decided {
			best = best.worse(answer)
			continue
		}
		every = every && answer.Outcome == HasIt
		vague = append(vague, answer)
	}
	for _, answer := range vague {
		// What every release has, this one has too.
		if answer.Outcome == HasIt && !every {
			answer.Outcome, answer.Reason = Undecided, "the release of its distribution is not known"
		}
		best = best.worse(answer)
	}
	return best
}

// worse is the worse of two answers about one component; of two alike, the graver.
func (a Answer) worse(b Answer) Answer {
	rank := func(o Outcome) int { return slices.Index([]Outcome{HasIt, Undecided, NotAffected}, o) }
	switch {
	case rank(b.Outcome) < rank(a.Outcome):
		return b
	case b.Outcome == a.Outcome && b.Severity.Rank() < a.Severity.Rank():
		return b
	}
	return a
}

func (a Affected) names(c Component) bool {
	return slices.ContainsFunc(c.keys, func(key string) bool { return slices.Contains(a.Keys(), key) })
}

// judge follows the evaluation algorithm of the OSV schema.
func (a Affected) judge(c Component) Answer {
	if c.Version == "" {
		return Answer{Outcome: Undecided, Reason: "its version is not said"}
	}
	ecosystem, _, _ := strings.Cut(a.Package.Ecosystem, ":")
	if c.ecosystem != "" {
		ecosystem = c.ecosystem
	}
	best, ordered := Answer{Outcome: NotAffected}, false
	for _, line := range a.Ranges {
		if line.Type == "GIT" {
			continue
		}
		ordered = true
		if answer := line.judge(ecosystem, c.Version); best.Outcome != HasIt {
			best = best.worse(answer)
		}
	}
	switch {
	case best.Outcome == HasIt:
	case a.lists(ecosystem, c.Version):
		best = Answer{Outcome: HasIt}
	case !ordered && len(a.Versions) == 0:
		best = Answer{Outcome: Undecided, Reason: "the record does not say which versions have it"}
	}
	return best
}

// lists reports whether the version is among those that are listed.
func (a Affected) lists(ecosystem, version string) bool {
	if slices.Contains(a.Versions, version) {
		return true
	}
	if len(a.Versions) == 0 {
		return false
	}
	compare, err := order(ecosystem, "ECOSYSTEM", version)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(a.Versions, func(other string) bool {
		n, err := compare(other)
		return err == nil && n == 0
	})
}

// judge finds the last event at or before the version: what it says holds.
func (line Range) judge(ecosystem, version string) Answer {
	compare, err := order(ecosystem, line.Type, version)
	if err != nil {
		return Answer{Outcome: Undecided, Reason: err.Error()}
	}
	e := evaluation{compare: compare, rangeType: line.Type, ecosystem: ecosystem}
	for _, event := range line.Events {
		if err := e.add(event); err != nil {
			return Answer{Outcome: Undecided, Reason: err.Error()}
		}
	}
	switch {
	case !e.begins:
		return Answer{Outcome: Undecided, Reason: "the record does not say where it was introduced"}
	case e.in && (!e.limited || e.beforeLimit):
		return Answer{Outcome: HasIt, Fixed: e.fixed}
	}
	return Answer{Outcome: NotAffected}
}

type evaluation struct {
	compare              comparison
	ecosystem, rangeType string
	begins               bool   // an event says where it was introduced
	in                   bool   // the last event before the version introduced it
	last                 string // the version of that event
	after                bool   // that event comes after its version: it is the last that has it
	limited, beforeLimit bool
	fixed                string // first fix after the version
}

func (e *evaluation) add(event Event) error {
	switch {
	case event.Introduced == "0":
		e.begins = true
		e.in = e.in || e.last == ""
		return nil
	case event.Introduced != "":
		e.begins = true
		return e.turn(event.Introduced, true, false)
	case event.Fixed != "":
		if err := e.fix(event.Fixed); err != nil {
			return err
		}
		return e.turn(event.Fixed, false, false)
	case event.LastAffected != "":
		return e.turn(event.LastAffected, false, true)
	case event.Limit != "":
		return e.limit(event.Limit)
	}
	return fmt.Errorf("%w: an event without a version", errOrder)
}

// turn takes an event at or before the version (after: before it), if it is later
// than the one that holds so far. Of two at one version the last that has it
// holds, and then that which introduces.
func (e *evaluation) turn(at string, in, after bool) error {
	n, err := e.compare(at)
	if err != nil || n < 0 || n == 0 && after {
		return err
	}
	if e.last != "" {
		later, err := order(e.ecosystem, e.rangeType, at)
		if err != nil {
			return err
		}
		m, err := later(e.last)
		if err != nil || m < 0 || m == 0 && !after && (e.after || e.in) {
			return err
		}
	}
	e.last, e.in, e.after = at, in, after
	return nil
}

// fix remembers the earliest fix after the version.
func (e *evaluation) fix(at string) error {
	n, err := e.compare(at)
	if err != nil || n >= 0 {
		return err
	}
	if e.fixed != "" {
		this, err := order(e.ecosystem, e.rangeType, at)
		if err != nil {
			return err
		}
		if m, err := this(e.fixed); err != nil || m >= 0 {
			return err
		}
	}
	e.fixed = at
	return nil
}

func (e *evaluation) limit(at string) error {
	e.limited = true
	if at == "*" {
		e.beforeLimit = true
		return nil
	}
	n, err := e.compare(at)
	e.beforeLimit = e.beforeLimit || n < 0
	return err
}
