package attest

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// Reference holds the PCR values that a firmware release must boot into. In
// JSON: {"bank":"sha256","pcrs":{"0":"hex"}}.
type Reference struct {
	Bank string         `json:"bank"`
	PCRs map[int]Digest `json:"pcrs"`
}

// Valid reports whether the reference can be compared with: a bank of SHA-256
// or stronger, at least one PCR, and values of the bank's size.
func (r Reference) Valid() error {
	if r.Bank == "sha1" {
		return errors.New("reference values: the sha1 bank is not accepted")
	}
	if len(r.PCRs) == 0 {
		return errors.New("reference values: no PCR")
	}
	if err := (PCRs{r.Bank: r.PCRs}).check(); err != nil {
		return fmt.Errorf("reference values: %w", err)
	}
	return nil
}

// Mismatches lists, ascending, the PCRs of the reference that differ in p or
// that p does not cover. A reference that is not valid mismatches every PCR, so
// that an empty one never passes.
func (r Reference) Mismatches(p PCRs) []int {
	out := []int{}
	if r.Valid() != nil {
		for i := 0; i <= maxPCR; i++ {
			out = append(out, i)
		}
		return out
	}
	for _, i := range slices.Sorted(maps.Keys(r.PCRs)) {
		value, ok := p[r.Bank][i]
		if !ok || subtle.ConstantTimeCompare(value, r.PCRs[i]) != 1 {
			out = append(out, i)
		}
	}
	return out
}
