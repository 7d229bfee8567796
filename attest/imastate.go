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
	// Form of the list; what continues it has the same, so that both can be joined.
	Form ima.Form `json:"form"`
	// JudgedBy, Unknown and UnknownFiles are IMAResult.JudgedBy, IMAResult.Unknown
	// and Result.IMAUnknown: an unknown file remains one until the next boot.
	JudgedBy     string        `json:"judged_by,omitempty"`
	Unknown      int           `json:"unknown,omitempty"`
	UnknownFiles []UnknownFile `json:"unknown_files,omitempty"`
}

// continues says whether the evidence's state may precede this quote.
func (a *appraisal) continues() bool {
	from := a.evidence.IMAFrom
	switch {
	case from == nil:
		return true
	case from.Entries < 0 || from.Violations < 0 || from.Violations > from.Entries || from.Unknown < 0 || from.Unknown > from.Entries:
		a.fail(CodeIMAState, "the state that the IMA list continues is not one")
	case a.result.Clock == nil || from.ResetCount != a.result.Clock.ResetCount:
		a.fail(CodeIMAState, "the state that the IMA list continues is of another boot: the whole list is needed")
	default:
		return true
	}
	return false
}

// joins says whether the list may follow the one that the state is of.
func (a *appraisal) joins(list *ima.List) bool {
	from := a.evidence.IMAFrom
	switch {
	case from == nil:
		return true
	case list.Form != "" && from.Form != "" && list.Form != from.Form:
		a.fail(CodeIMAState, "the IMA list is %s, and the one that it continues %s: the whole list is needed", list.Form, from.Form)
	case from.Entries+len(list.Entries) > ima.MaxEntries:
		a.fail(CodeTooLarge, "the IMA list has %d entries with those before, more than %d", from.Entries+len(list.Entries), ima.MaxEntries)
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

// imaState is where this appraisal ended; nil for a text whose last line has no
// end, as nothing can be joined to it.
func (a *appraisal) imaState() *IMAState {
	covered := a.evidence.IMA[:a.result.IMACovered]
	if a.list.Form == ima.FormASCII && len(covered) > 0 && covered[len(covered)-1] != '\n' {
		return nil
	}
	r := a.result.IMA
	s := &IMAState{ResetCount: a.result.Clock.ResetCount, Entries: r.Entries, Violations: r.Violations, PCR: map[string]Digest{},
		BootAggregate: r.BootAggregate, Form: a.list.Form, JudgedBy: r.JudgedBy, Unknown: r.Unknown, UnknownFiles: a.result.IMAUnknown}
	if from := a.evidence.IMAFrom; from != nil && from.Form != "" {
		s.Form = from.Form
	}
	for _, b := range a.selection {
		if value, quoted := a.evidence.PCRs[b.bank][ima.PCR]; quoted {
			s.PCR[b.bank] = bytes.Clone(value)
		}
	}
	return s
}
