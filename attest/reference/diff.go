package reference

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// Difference is how one PCR differs between two sets of reference values.
type Difference struct {
	PCR int `json:"pcr"`
	// A and B are the values, empty where a set has none.
	A string `json:"a,omitempty"`
	B string `json:"b,omitempty"`
	// Events are those that differ, in order; nil where a set does not have the
	// events that lead to its value.
	Events []EventDifference `json:"events,omitempty"`
	// Why there are no Events.
	Why string `json:"why,omitempty"`
}

// EventDifference is one place in the events of a PCR: changed where both are
// there, else only in A or only in B.
type EventDifference struct {
	A *Event `json:"a,omitempty"`
	B *Event `json:"b,omitempty"`
}

// Diff lists, ascending, the PCRs that differ or that only one of the sets has.
// Sets of different banks cannot be compared.
func Diff(a, b File) ([]Difference, error) {
	if a.Bank != b.Bank {
		return nil, fmt.Errorf("compare reference values: one is of bank %s, the other of %s", a.Bank, b.Bank)
	}
	if err := errors.Join(a.Valid(), b.Valid()); err != nil {
		return nil, fmt.Errorf("compare reference values: %w", err)
	}
	pcrs := maps.Clone(a.PCRs)
	maps.Copy(pcrs, b.PCRs)
	var out []Difference
	for _, pcr := range slices.Sorted(maps.Keys(pcrs)) {
		av, inA := a.PCRs[pcr]
		bv, inB := b.PCRs[pcr]
		if inA && inB && bytes.Equal(av, bv) {
			continue
		}
		d := Difference{PCR: pcr}
		if inA {
			d.A = av.String()
		}
		if inB {
			d.B = bv.String()
		}
		if inA && inB {
			d.explain(a, b)
		}
		out = append(out, d)
	}
	return out, nil
}

func (d *Difference) explain(a, b File) {
	ae, aok := a.eventsOf(d.PCR)
	be, bok := b.eventsOf(d.PCR)
	if !aok || !bok {
		d.Why = "the first has no events that lead to its value"
		if aok {
			d.Why = "the second has no events that lead to its value"
		}
		return
	}
	d.Events = align(ae, be)
}

// maxAligned bounds the work of finding what two lists have in common.
const maxAligned = 1 << 20

// align pairs two lists of events by what they have in common, and returns the
// rest.
func align(a, b []Event) []EventDifference {
	same := func(x, y Event) bool { return bytes.Equal(x.Digest, y.Digest) }
	for len(a) > 0 && len(b) > 0 && same(a[0], b[0]) {
		a, b = a[1:], b[1:]
	}
	for len(a) > 0 && len(b) > 0 && same(a[len(a)-1], b[len(b)-1]) {
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	if len(a)*len(b) > maxAligned {
		return pair(a, b)
	}
	// common[i][j] is the length of what a[i:] and b[j:] have in common.
	common := make([][]int, len(a)+1)
	for i := range common {
		common[i] = make([]int, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			common[i][j] = max(common[i+1][j], common[i][j+1])
			if same(a[i], b[j]) {
				common[i][j] = common[i+1][j+1] + 1
			}
		}
	}
	var out []EventDifference
	i, j, fromA, fromB := 0, 0, 0, 0 // from: behind the last event in common
	for i < len(a) && j < len(b) {
		switch {
		case same(a[i], b[j]):
			out = append(out, pair(a[fromA:i], b[fromB:j])...)
			i, j = i+1, j+1
			fromA, fromB = i, j
		case common[i+1][j] >= common[i][j+1]:
			i++
		default:
			j++
		}
	}
	return append(out, pair(a[fromA:], b[fromB:])...)
}

// pair lists events that are not in common: changed as far as both have some.
func pair(a, b []Event) []EventDifference {
	var out []EventDifference
	for n := range max(len(a), len(b)) {
		var d EventDifference
		if n < len(a) {
			d.A = &a[n]
		}
		if n < len(b) {
			d.B = &b[n]
		}
		out = append(out, d)
	}
	return out
}
