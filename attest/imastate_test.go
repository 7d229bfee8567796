package attest_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"troth/attest"
)

// continued appraises a first check-in, then measures another file, and returns
// the evidence of a second one that holds only what is new.
func continued(t *testing.T) (*device, attest.Evidence) {
	t.Helper()
	d := booted(t)
	r := d.appraise(t)
	accepted(t, r)
	raw, err := json.Marshal(r.IMAState)
	if err != nil {
		t.Fatal(err)
	}
	var state attest.IMAState
	if err := json.Unmarshal(raw, &state); err != nil {
		t.Fatal(err)
	}
	before := len(d.ima)
	d.file("/usr/bin/new", "new")
	e := d.evidence(t)
	e.IMA, e.IMAFrom = d.ima[before:], &state
	return d, e
}

func TestIMAContinues(t *testing.T) {
	d, e := continued(t)
	r := attest.Appraise(e, d.want())
	accepted(t, r)
	want := attest.IMAResult{Entries: 3, Replayed: true, BootAggregate: attest.BootAggregateVerified}
	if *r.IMA != want || r.IMAState.Entries != 3 || !bytes.Equal(r.IMAState.PCR["sha256"], d.pcrs["sha256"][10]) {
		t.Errorf("IMA %+v, state %+v", r.IMA, r.IMAState)
	}
	t.Run("without PCR values", func(t *testing.T) {
		e := e
		e.PCRs = nil
		accepted(t, attest.Appraise(e, d.want()))
	})
	t.Run("without anything new", func(t *testing.T) {
		e := e
		late := e.IMA
		e.IMAFrom = r.IMAState
		for _, values := range []attest.PCRs{d.pcrs, nil} {
			e.PCRs = values
			for ahead, list := range [][]byte{{}, late} {
				e.IMA = list
				again := attest.Appraise(e, d.want())
				accepted(t, again)
				want := attest.IMAResult{Entries: 3, Replayed: true, Ahead: ahead, BootAggregate: attest.BootAggregateVerified}
				if *again.IMA != want {
					t.Errorf("IMA %+v", again.IMA)
				}
			}
		}
	})
}

// TestAttack_L5_ContinuedList: a state that the list does not continue.
func TestAttack_L5_ContinuedList(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*device, *attest.Evidence)
		code   string
	}{
		"another boot's":     {func(_ *device, e *attest.Evidence) { e.IMAFrom.ResetCount-- }, attest.CodeIMAState},
		"of no bank":         {func(_ *device, e *attest.Evidence) { e.IMAFrom.PCR = nil }, attest.CodeIMAState},
		"one bank missing":   {func(_ *device, e *attest.Evidence) { delete(e.IMAFrom.PCR, "sha384") }, attest.CodeIMAState},
		"negative":           {func(_ *device, e *attest.Evidence) { e.IMAFrom.Entries = -1 }, attest.CodeIMAState},
		"another value":      {func(_ *device, e *attest.Evidence) { e.IMAFrom.PCR["sha256"][0] ^= 1 }, attest.CodeIMAMismatch},
		"a short value":      {func(_ *device, e *attest.Evidence) { e.IMAFrom.PCR["sha256"] = attest.Digest{1} }, attest.CodeIMAMismatch},
		"the whole list":     {func(d *device, e *attest.Evidence) { e.IMA = d.ima }, attest.CodeIMAMismatch},
		"no state":           {func(_ *device, e *attest.Evidence) { e.IMAFrom = nil }, attest.CodeIMAMismatch},
		"an entry left out":  {func(_ *device, e *attest.Evidence) { e.IMA = []byte{} }, attest.CodeIMAMismatch},
		"banks of two times": {func(d *device, e *attest.Evidence) { e.IMAFrom.PCR["sha256"] = d.pcrs["sha256"][10] }, attest.CodeIMAMismatch},
	} {
		t.Run(name, func(t *testing.T) {
			d, e := continued(t)
			tt.change(d, &e)
			r := attest.Appraise(e, d.want())
			refused(t, r, tt.code)
			if r.IMAState != nil || r.IMA.Replayed {
				t.Errorf("IMA %+v, state %+v", r.IMA, r.IMAState)
			}
		})
	}
}
