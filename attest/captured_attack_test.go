package attest_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"troth/attest"
	"troth/attest/eventlog"
)

// refusedCaptured appraises changed evidence of a boot and wants it refused, for
// one of the reasons (any, where none is given).
func refusedCaptured(t *testing.T, c captured, quote, what string, e attest.Evidence, codes ...string) {
	t.Helper()
	r := attest.Appraise(e, c.want(t, quote))
	if r.Verified {
		t.Errorf("%s: %s: accepted", c.Name, what)
		return
	}
	if len(codes) == 0 {
		return
	}
	for _, p := range r.Problems {
		if p.Severity == attest.SeverityError && slices.Contains(codes, p.Code) {
			return
		}
	}
	t.Errorf("%s: %s: %v, want %v", c.Name, what, r.Problems, codes)
}

func flipped(data []byte, at int) []byte {
	out := bytes.Clone(data)
	out[at] ^= 1
	return out
}

func TestAttack_Q1_CapturedQuoteAltered(t *testing.T) {
	for _, c := range capturedBoots(t) {
		e := c.evidence(t, "all")
		for i := range e.Quote {
			changed := e
			changed.Quote = flipped(e.Quote, i)
			refusedCaptured(t, c, "all", fmt.Sprintf("quote byte %d", i), changed)
		}
		for i := range e.Signature {
			changed := e
			changed.Signature = flipped(e.Signature, i)
			refusedCaptured(t, c, "all", fmt.Sprintf("signature byte %d", i), changed)
		}
	}
}

func TestAttack_Q2_CapturedPCRsAltered(t *testing.T) {
	for _, c := range capturedBoots(t) {
		for _, bank := range banksOf("all") {
			for pcr := range 24 {
				e := c.evidence(t, "all")
				e.PCRs[bank][pcr] = flipped(e.PCRs[bank][pcr], 0)
				refusedCaptured(t, c, "all", fmt.Sprintf("%s PCR %d", bank, pcr), e, attest.CodePCRDigestMismatch)
				delete(e.PCRs[bank], pcr)
				refusedCaptured(t, c, "all", fmt.Sprintf("%s PCR %d left out", bank, pcr), e, attest.CodePCRsMissing)
			}
		}
		// The quote of another bank of the same boot.
		other := c.evidence(t, "sha384")
		refusedCaptured(t, c, "sha256", "other bank", other, attest.CodeSelectionMismatch)
		// A weaker bank than the verifier allows.
		want := c.want(t, "sha1")
		want.AllowSHA1 = false
		if r := attest.Appraise(c.evidence(t, "sha1"), want); r.Verified || r.Problems[0].Code != attest.CodeSHA1 {
			t.Errorf("%s: SHA-1 bank: %v", c.Name, r.Problems)
		}
	}
}

// TestAttack_Q3_CapturedReplay shows each boot's evidence to a verifier that
// asked for another's, and mixes their parts.
func TestAttack_Q3_CapturedReplay(t *testing.T) {
	boots := capturedBoots(t)
	for _, c := range boots {
		for _, other := range boots {
			if c.Name == other.Name {
				continue
			}
			mine, theirs := c.evidence(t, "all"), other.evidence(t, "all")
			refusedCaptured(t, c, "all", "quote and key of "+other.Name, theirs, attest.CodeNonceMismatch)
			changed := mine
			changed.AK = theirs.AK
			refusedCaptured(t, c, "all", "key of "+other.Name, changed, attest.CodeSignatureInvalid)
			changed = mine
			changed.PCRs = theirs.PCRs
			refusedCaptured(t, c, "all", "PCRs of "+other.Name, changed, attest.CodePCRDigestMismatch)
			if theirs.EventLog != nil {
				changed = mine
				changed.EventLog = theirs.EventLog
				refusedCaptured(t, c, "all", "event log of "+other.Name, changed, attest.CodeEventLogMismatch)
			}
			changed = mine
			changed.IMA = theirs.IMA
			refusedCaptured(t, c, "all", "IMA list of "+other.Name, changed, attest.CodeIMAMismatch)
		}
	}
}

func TestAttack_K4_CapturedKeyAltered(t *testing.T) {
	const attributes = 4 // offset of TPMA_OBJECT in TPMT_PUBLIC
	bits := map[string]int{"fixedTPM": 1, "fixedParent": 4, "sensitiveDataOrigin": 5, "restricted": 16, "decrypt": 17, "sign": 18}
	for _, c := range capturedBoots(t) {
		for name, bit := range bits {
			e := c.evidence(t, "sha256")
			e.AK[attributes+3-bit/8] ^= 1 << (bit % 8)
			refusedCaptured(t, c, "sha256", name, e, attest.CodeAKAttributes)
		}
		e := c.evidence(t, "sha256")
		e.AK = flipped(e.AK, len(e.AK)-1)
		refusedCaptured(t, c, "sha256", "point", e)
	}
}

// TestAttack_L1_CapturedEventLogEdited changes every event of every log: its
// digest, its PCR, and the data of the types whose digest is that of the data.
func TestAttack_L1_CapturedEventLogEdited(t *testing.T) {
	hashedData := []eventlog.EventType{eventlog.Separator, eventlog.Action, eventlog.EFIAction,
		eventlog.EFIVariableDriverConfig, eventlog.EFIVariableAuthority, eventlog.EFIVariableBoot, eventlog.EFIGPTEvent}
	for _, c := range capturedBoots(t) {
		whole := c.evidence(t, "all")
		events := parsedCopy(t, whole.EventLog)
		for i := range events.Events {
			for _, bank := range banksOf("all") {
				e := whole
				e.EventLog = bytes.Clone(whole.EventLog)
				event := parsedIn(t, e.EventLog).Events[i] // its slices are of e.EventLog
				if event.Type == eventlog.NoAction {
					continue
				}
				event.Digests.In(bank)[0] ^= 1
				refusedCaptured(t, c, "all", fmt.Sprintf("event %d, %s digest", i, bank), e,
					attest.CodeEventLogMismatch, attest.CodeEventDataMismatch)
			}
			if !slices.Contains(hashedData, events.Events[i].Type) {
				continue
			}
			e := whole
			e.EventLog = bytes.Clone(whole.EventLog)
			data := parsedIn(t, e.EventLog).Events[i].Data
			data[len(data)-1] ^= 1
			refusedCaptured(t, c, "all", fmt.Sprintf("event %d, %s data", i, events.Events[i].Type), e,
				attest.CodeEventDataMismatch, attest.CodeSeparatorInvalid, attest.CodeEventMalformed)
		}
	}
}

// parsedIn parses a log, nil as an empty one; the events alias it.
func parsedIn(t *testing.T, log []byte) *eventlog.Log {
	t.Helper()
	if log == nil {
		return &eventlog.Log{}
	}
	l, err := eventlog.Parse(log)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func parsedCopy(t *testing.T, log []byte) *eventlog.Log {
	t.Helper()
	return parsedIn(t, bytes.Clone(log))
}

// TestAttack_L2_CapturedLogsCut hands in beginnings of the logs: a log that was
// given must lead to the quoted values.
func TestAttack_L2_CapturedLogsCut(t *testing.T) {
	for _, c := range capturedBoots(t) {
		whole := c.evidence(t, "sha256")
		for n := 0; n < len(whole.EventLog); n += 1 + len(whole.EventLog)/97 {
			e := whole
			e.EventLog = whole.EventLog[:n]
			refusedCaptured(t, c, "sha256", fmt.Sprintf("event log of %d bytes", n), e)
		}
		if whole.EventLog != nil {
			e := whole
			e.EventLog = append(bytes.Clone(whole.EventLog), 0)
			refusedCaptured(t, c, "sha256", "event log and a byte", e, attest.CodeEventLogMalformed)
		}
		binary := c.read(t, "ima.binary")
		for n := 1; n < len(binary)/2; n += 13 {
			e := whole
			e.IMA = binary[:n]
			refusedCaptured(t, c, "sha256", fmt.Sprintf("IMA list of %d bytes", n), e, attest.CodeIMAMalformed, attest.CodeIMAMismatch)
		}
	}
}

// TestAttack_L5_CapturedIMAListEdited drops, doubles, swaps and rewrites entries.
// The entry after those that the quote covers may go, and may not be forged.
func TestAttack_L5_CapturedIMAListEdited(t *testing.T) {
	for _, c := range capturedBoots(t) {
		whole := c.evidence(t, "all")
		lines := strings.SplitAfter(strings.TrimSuffix(string(whole.IMA), "\n"), "\n")
		quoted := len(lines) - 1
		if c.Name == "uki" {
			quoted = len(lines)
		}
		edit := func(what string, edited []string, codes ...string) {
			t.Helper()
			e := whole
			e.IMA = []byte(strings.Join(edited, ""))
			refusedCaptured(t, c, "all", what, e, codes...)
		}
		for i, line := range lines {
			name := fmt.Sprintf("entry %d ", i)
			if i < quoted && quoted > 1 {
				edit(name+"dropped", slices.Delete(slices.Clone(lines), i, i+1), attest.CodeIMAMismatch)
			}
			if i+1 < quoted { // the last one doubled would only be ahead
				edit(name+"doubled", slices.Insert(slices.Clone(lines), i, line), attest.CodeIMAMismatch)
				swapped := slices.Clone(lines)
				swapped[i], swapped[i+1] = swapped[i+1], swapped[i]
				edit(name+"swapped", swapped, attest.CodeIMAMismatch)
			}
			if strings.Contains(line, " 0000000000000000000000000000000000000000 ") {
				continue // a violation's digest and name are zeros and claims
			}
			for _, at := range []int{4, len(line) / 2, len(line) - 2} { // template hash, digest, name
				rewritten := slices.Clone(lines)
				rewritten[i] = line[:at] + string(other(line[at])) + line[at+1:]
				edit(name+"rewritten", rewritten, attest.CodeIMAMalformed)
			}
		}
		if quoted < len(lines) {
			e := whole
			e.IMA = []byte(strings.Join(lines[:quoted], ""))
			if r := attest.Appraise(e, c.want(t, "all")); !r.Verified || r.IMA.Entries != quoted {
				t.Errorf("%s: the list as of the quote: %v", c.Name, r.Problems)
			}
		}
	}
}

// other is another hex digit, or another letter.
func other(c byte) byte {
	if c == 'a' {
		return 'b'
	}
	return 'a'
}

// TestAttack_L5_CapturedViolationHidden turns the violation into a measurement.
func TestAttack_L5_CapturedViolationHidden(t *testing.T) {
	for _, c := range capturedBoots(t) {
		if c.Name == "uki" {
			continue
		}
		e := c.evidence(t, "all")
		lines := strings.SplitAfter(string(e.IMA), "\n")
		before := slices.IndexFunc(lines, func(l string) bool { return strings.Contains(l, " /etc/written") })
		if !strings.HasPrefix(lines[before+1], "10 0000000000000000000000000000000000000000 ") {
			t.Fatalf("%s: no violation after %q", c.Name, lines[before])
		}
		lines[before+1] = lines[before]
		e.IMA = []byte(strings.Join(lines, ""))
		refusedCaptured(t, c, "all", "violation hidden", e, attest.CodeIMAMismatch)
	}
}
