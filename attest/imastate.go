package attest

import (
	"bytes"

	"troth/attest/ima"
)

// IMAState is where the appraisal of an IMA list ended, so that the next one of
// the same boot needs only the entries after it. It is the verifier's own word:
// keep it where the device cannot change it, under the attestation key that it
// was quoted with. Its JSON is stable.
type IMAState struct {
	// ResetCount is the quoted one: a state of another boot continues nothing.
	ResetCount uint32 `json:"reset_count"`
	// Entries that the quoted PCR 10 covered, from the beginning of the list; the
	// next list begins with the entry of this index. Violations are among them.
	Entries    int `json:"entries"`
	Violations int `json:"violations"`
	// PCR maps each quoted bank to the value of PCR 10 after Entries.
	PCR map[string]Digest `json:"pcr"`
	// BootAggregate as it was found at the beginning.
	BootAggregate BootAggregate `json:"boot_aggregate,omitempty"`
}

// continues says whether the evidence's state may precede this quote.
func (a *appraisal) continues() bool {
	from := a.evidence.IMAFrom
	switch {
	case from == nil:
		return true
	case from.Entries < 0 || from.Violations < 0 || from.Violations > from.Entries:
		a.fail(CodeIMAState, "the state that the IMA list continues is not one")
	case a.result.Clock == nil || from.ResetCount != a.result.Clock.ResetCount:
		a.fail(CodeIMAState, "the state that the IMA list continues is of another boot: the whole list is needed")
	default:
		return true
	}
	return false
}

// replayIMA replays the list into one bank, from the state that it continues or
// from what the event log left in the PCR.
func (a *appraisal) replayIMA(list *ima.List, bank string, logged []byte) (ima.Replayed, bool) {
	start, value := logged, a.evidence.PCRs[bank][ima.PCR]
	if from := a.evidence.IMAFrom; from != nil {
		known, ok := from.PCR[bank]
		if !ok {
			a.fail(CodeIMAState, "the state that the IMA list continues has no PCR %d of bank %s: the whole list is needed", ima.PCR, bank)
			return ima.Replayed{}, false
		}
		if bytes.Equal(known, value) { // nothing new; all entries run ahead
			return ima.Replayed{Ahead: len(list.Entries)}, true
		}
		start = known
	}
	replayed, err := list.ReplayFrom(bank, start, value)
	if err != nil {
		a.fail(CodeIMAMismatch, "%v", err)
		return replayed, false
	}
	return replayed, true
}

// imaState is where this appraisal ended.
func (a *appraisal) imaState() *IMAState {
	s := &IMAState{ResetCount: a.result.Clock.ResetCount, Entries: a.result.IMA.Entries, Violations: a.result.IMA.Violations,
		PCR: map[string]Digest{}, BootAggregate: a.result.IMA.BootAggregate}
	for _, b := range a.selection {
		if value, quoted := a.evidence.PCRs[b.bank][ima.PCR]; quoted {
			s.PCR[b.bank] = bytes.Clone(value)
		}
	}
	return s
}
