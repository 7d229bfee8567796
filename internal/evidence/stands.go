package evidence

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
)

// pcrIMA grows while a device runs, by the files that it opens.
const pcrIMA = 10

// Stands reports whether a kept document says of a device's keys and boot what a
// newer one says: the same keys, event log and quoted values, but for PCR 10,
// which grows. Nonce, clock, report and IMA list differ in every check-in, or
// nearly, and are not compared. What follows from the log, as the Secure Boot
// configuration does, is the same where the log is.
func Stands(kept, newer []byte) (bool, error) {
	var k, n Document
	for _, d := range []struct {
		from []byte
		to   *Document
	}{{kept, &k}, {newer, &n}} {
		if err := json.Unmarshal(d.from, d.to); err != nil {
			return false, fmt.Errorf("read evidence: %w", err)
		}
	}
	return bytes.Equal(k.AK, n.AK) && bytes.Equal(k.ClientKey, n.ClientKey) && k.EventLog == n.EventLog &&
		maps.EqualFunc(k.PCRs, n.PCRs, func(a, b map[int]string) bool { return maps.Equal(booted(a), booted(b)) }), nil
}

// booted are the values that only a boot changes, or somebody who extends a PCR.
func booted(values map[int]string) map[int]string {
	out := maps.Clone(values)
	delete(out, pcrIMA)
	return out
}
