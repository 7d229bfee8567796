package attest_test

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"slices"
	"testing"

	"troth/attest"
	"troth/attest/eventlog"
)

// meaning is what a relying party could act on: everything in the result except
// what the verifier itself marks as claimed by nobody (the path of an image).
func meaning(t *testing.T, r attest.Result) string {
	t.Helper()
	if r.EventLog != nil {
		copied := *r.EventLog
		copied.BootLoaders = slices.Clone(copied.BootLoaders)
		for i := range copied.BootLoaders {
			copied.BootLoaders[i].Path, copied.BootLoaders[i].Device = "", ""
		}
		copied.CommandLines = slices.Clone(copied.CommandLines)
		for i := range copied.CommandLines {
			if !copied.CommandLines[i].Verified {
				copied.CommandLines[i].Text = ""
			}
		}
		copied.Boot = proven(copied.Boot)
		r.EventLog = &copied
	}
	raw, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// proven leaves out what BootFacts says is only claimed, where the devices here
// have it.
func proven(b *eventlog.BootFacts) *eventlog.BootFacts {
	if b == nil {
		return nil
	}
	copied := *b
	copied.Files = slices.Clone(b.Files)
	for i := range copied.Files {
		copied.Files[i].Name = ""
	}
	return &copied
}

// lessBoot gives base's facts where b withholds one: event types and GRUB's
// labels are not authenticated, so a fact may vanish, and a kernel command line
// turn into a command with the same proven text.
func lessBoot(b *eventlog.BootFacts, base *attest.EventLogResult) (*eventlog.BootFacts, bool) {
	if b == nil {
		return base.Boot, true
	}
	copied, withheld := *b, false
	if copied.Files == nil {
		copied.Files, withheld = base.Boot.Files, true
	}
	if copied.ExitBootServices == nil {
		copied.ExitBootServices, withheld = base.Boot.ExitBootServices, true
	}
	copied.Commands = slices.DeleteFunc(slices.Clone(b.Commands), func(c eventlog.Command) bool {
		return !c.Verified || c.Text == base.CommandLines[0].Text
	})
	if len(copied.Commands) == 0 {
		copied.Commands = nil
	}
	// What an event was may vanish; that it was measured does not.
	copied.Other = slices.DeleteFunc(slices.Clone(b.Other), func(o eventlog.Named) bool {
		return slices.ContainsFunc(append(slices.Clone(base.Boot.Files), eventlog.Named{PCR: 8, Digests: base.CommandLines[0].Digests}),
			func(n eventlog.Named) bool { return n.PCR == o.PCR && n.Digests.Equal(o.Digests) })
	})
	if len(copied.Other) == 0 {
		copied.Other = nil
	}
	return &copied, withheld
}

// TestSingleByteMutations changes one byte of valid evidence at a time: it is
// refused, or it means the same or less, and never something else.
func TestSingleByteMutations(t *testing.T) {
	d := booted(t)
	whole := d.evidence(t)
	want := d.want()
	base := attest.Appraise(whole, want)
	accepted(t, base)
	random := rand.New(rand.NewPCG(1, 2))
	parts := map[string]struct {
		data []byte
		with func([]byte) attest.Evidence
		// loose parts hold bytes that no digest covers.
		loose bool
	}{
		"AK":        {whole.AK, func(b []byte) attest.Evidence { e := whole; e.AK = b; return e }, false},
		"quote":     {whole.Quote, func(b []byte) attest.Evidence { e := whole; e.Quote = b; return e }, false},
		"signature": {whole.Signature, func(b []byte) attest.Evidence { e := whole; e.Signature = b; return e }, false},
		"event log": {whole.EventLog, func(b []byte) attest.Evidence { e := whole; e.EventLog = b; return e }, true},
		"IMA":       {whole.IMA, func(b []byte) attest.Evidence { e := whole; e.IMA = b; return e }, true},
	}
	for name, part := range parts {
		t.Run(name, func(t *testing.T) {
			for i := range part.data {
				mutated := bytes.Clone(part.data)
				mutated[i] ^= byte(1 + random.IntN(255))
				r := attest.Appraise(part.with(mutated), want)
				if !r.Verified {
					continue
				}
				if !part.loose {
					// A TPMA_OBJECT bit that means nothing to a verifier (noDA,
					// stClear) and the AK's policy change only the key's name.
					if name == "AK" && meaning(t, r) == meaning(t, base) {
						continue
					}
					t.Errorf("byte %d of %d: accepted", i, len(part.data))
					continue
				}
				if !isLess(t, r, base) {
					t.Errorf("byte %d of %d: accepted with another meaning:\n%s\n%s", i, len(part.data), meaning(t, r), meaning(t, base))
				}
			}
		})
	}
}

// isLess accepts a result that says the same, or that withholds facts and says
// why in a warning.
func isLess(t *testing.T, r, base attest.Result) bool {
	t.Helper()
	if meaning(t, r) == meaning(t, base) {
		return true
	}
	warned := len(codes(r, attest.SeverityWarning)) > 0
	r.Problems = base.Problems
	if r.SecureBoot == nil {
		r.SecureBoot = base.SecureBoot
	}
	if r.EventLog != nil {
		copied := *r.EventLog
		if warned {
			copied.UnexplainedPCRs = base.EventLog.UnexplainedPCRs
		}
		if copied.BootLoaders == nil {
			copied.BootLoaders = base.EventLog.BootLoaders
		}
		if v := copied.SCRTMVersion; v == nil || (warned && !v.Verified) {
			copied.SCRTMVersion = base.EventLog.SCRTMVersion
		}
		if len(copied.CommandLines) == 0 || !copied.CommandLines[0].Verified {
			// The label "kernel_cmdline" is the log's own word; without it, or
			// with another text beside the digest, there is no verified text.
			warned = true
			copied.CommandLines = base.EventLog.CommandLines
		}
		var withheld bool
		copied.Boot, withheld = lessBoot(copied.Boot, base.EventLog)
		warned = warned || withheld
		r.EventLog = &copied
	}
	return warned && meaning(t, r) == meaning(t, base)
}
