package attest

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"

	"troth/attest/eventlog"
	"troth/attest/ima"
)

// maxListed bounds the problems of a kind that one log can cause.
const maxListed = 16

// logs appraises the logs that were given against quoted PCR values.
func (a *appraisal) logs() {
	var replay map[string]map[int][]byte
	switch {
	case a.evidence.hasEventLog():
		replay = a.eventLog()
	case a.evidence.UserspaceLog != nil:
		a.fail(CodeUserspaceLogMismatch, "a userspace log continues an event log, and none is given")
	default:
		a.noEventLog()
	}
	if a.evidence.IMA != nil {
		a.ima(replay)
	}
}

// parsedLog reads the event log once, however often it is asked for.
func (a *appraisal) parsedLog() (*eventlog.Log, error) {
	if a.evidence.ReadLog != nil {
		return a.evidence.ReadLog.Log(), nil
	}
	if a.log == nil && a.logErr == nil {
		a.log, a.logErr = eventlog.Parse(a.evidence.EventLog)
	}
	return a.log, a.logErr
}

// replayed is what the log replays to, for the caller to change.
func (a *appraisal) replayed(log *eventlog.Log) map[string]map[int][]byte {
	if a.evidence.ReadLog == nil {
		banks := make([]string, 0, len(a.selection))
		for _, b := range a.selection {
			banks = append(banks, b.bank)
		}
		return log.ReplayBanks(banks)
	}
	known := a.evidence.ReadLog.Replay()
	if a.evidence.UserspaceLog == nil {
		return known // nobody changes it
	}
	out := make(map[string]map[int][]byte, len(known))
	for bank, values := range known {
		out[bank] = maps.Clone(values)
	}
	return out
}

func (a *appraisal) examine(log *eventlog.Log, covered eventlog.Coverage) ([]eventlog.Finding, eventlog.Facts) {
	if a.evidence.ReadLog == nil {
		return log.Examine(covered)
	}
	return a.evidence.ReadLog.Examine(covered)
}

// parsedList is parsedLog for the IMA list.
func (a *appraisal) parsedList() (*ima.List, error) {
	if a.list == nil && a.listErr == nil {
		a.list, a.listErr = ima.Parse(a.evidence.IMA)
	}
	return a.list, a.listErr
}

// eventLog replays the log into every quoted bank that it has, and returns the
// replayed values.
func (a *appraisal) eventLog() map[string]map[int][]byte {
	log, err := a.parsedLog()
	if err != nil {
		a.fail(CodeEventLogMalformed, "%v", err)
		a.result.EventLog = &EventLogResult{Given: true, UnexplainedPCRs: []int{}}
		return nil
	}
	out := &EventLogResult{Given: true, Events: len(log.Events), UnexplainedPCRs: []int{}}
	a.result.EventLog = out
	replay := a.replayed(log)
	if a.evidence.UserspaceLog != nil && !a.userspace(log, replay) {
		return replay
	}
	covered, agrees := a.compare(log, replay)
	if !a.explains(log, covered) || !agrees {
		return replay
	}
	out.Replayed = true
	out.UnexplainedPCRs = a.unexplained(func(bank string, pcr int) bool {
		_, explained := replay[bank][pcr]
		return explained || bytes.Equal(a.evidence.PCRs[bank][pcr], log.Initial(bank, pcr))
	})
	for _, pcr := range out.UnexplainedPCRs {
		say := a.warn
		if pcr <= 7 {
			say = a.fail
		}
		say(CodeUnexplainedPCR, "PCR %d is not at its reset value, and no event explains it", pcr)
	}
	findings, facts := a.examine(log, covered)
	a.findings(findings)
	if a.failed {
		return replay
	}
	out.BootLoaders, out.CommandLines, out.SCRTMVersion = facts.BootLoaders, facts.CommandLines, facts.SCRTMVersion
	out.Boot = facts.Boot
	a.result.SecureBoot = facts.SecureBoot
	return replay
}

// compare gives the PCRs that the log covers and that replay to their quoted
// values, with the banks in which they do.
func (a *appraisal) compare(log *eventlog.Log, replay map[string]map[int][]byte) (covered eventlog.Coverage, agrees bool) {
	agrees = true
	for _, b := range a.selection {
		if !slices.Contains(log.Banks, b.bank) {
			continue
		}
		for _, pcr := range b.indexes {
			value, ok := replay[b.bank][pcr]
			switch {
			case !ok:
			case pcr == ima.PCR && a.evidence.IMA != nil:
				// The IMA list continues from here.
			case !bytes.Equal(value, a.evidence.PCRs[b.bank][pcr]):
				agrees = false
				a.fail(CodeEventLogMismatch, "the event log does not replay to PCR %d of bank %s%s", pcr, b.bank, a.userspaceHint(pcr))
			default:
				covered[pcr] = append(covered[pcr], b.bank)
			}
		}
	}
	return covered, agrees
}

// explains refuses a log that has nothing to do with the quote: a log that was
// given must agree with it, and one that cannot be compared does not agree.
func (a *appraisal) explains(log *eventlog.Log, covered eventlog.Coverage) bool {
	if slices.ContainsFunc(covered[:], func(banks []string) bool { return len(banks) > 0 }) || a.failed {
		return !a.failed
	}
	for _, b := range a.selection {
		if slices.Contains(log.Banks, b.bank) {
			a.fail(CodeEventLogNotQuoted, "the quote covers %s, and the event log explains none of them", a.selection)
			return false
		}
	}
	a.fail(CodeEventLogBank, "the quote covers %s, and the event log has digests for %v only", a.selection, log.Banks)
	return false
}

// noEventLog says which quoted PCRs were extended though no log tells by what: a
// fact for policy. Where there is no log there may have been none: a kernel that
// was started past its EFI stub has none to give.
func (a *appraisal) noEventLog() {
	pcrs := a.unexplained(func(bank string, pcr int) bool {
		return bytes.Equal(a.evidence.PCRs[bank][pcr], resetValue(bank, pcr))
	})
	if len(pcrs) == 0 {
		return
	}
	a.result.EventLog = &EventLogResult{UnexplainedPCRs: pcrs}
	a.warn(CodeUnexplainedPCR, "no event log is given, so nothing explains the values of PCR %s",
		strings.ReplaceAll(strings.Trim(fmt.Sprint(pcrs), "[]"), " ", ", "))
}

// unexplained lists the quoted PCRs, of those that firmware, boot loader and
// operating system own, that explained says nothing for.
func (a *appraisal) unexplained(explained func(bank string, pcr int) bool) []int {
	out := []int{}
	for _, b := range a.selection {
		for _, pcr := range b.indexes {
			if pcr != ima.PCR && pcr <= 15 && !slices.Contains(out, pcr) && !explained(b.bank, pcr) {
				out = append(out, pcr)
			}
		}
	}
	slices.Sort(out)
	return out
}

// findings turns departures from the profile into problems. What real firmware
// is known to do is a warning: a type out of place, which costs the PCR its
// facts, and an S-CRTM version that is only claimed.
func (a *appraisal) findings(found []eventlog.Finding) {
	listed, outOfPlace := 0, 0
	for _, f := range found {
		switch f.Kind {
		case eventlog.Unverified:
			a.warn(CodeEventUnverified, "%s", f.Message)
			continue
		case eventlog.OutOfPlace:
			if outOfPlace++; outOfPlace <= maxListed {
				a.warn(CodeEventOutOfPlace, "%s; PCR %d yields no facts", f.Message, f.PCR)
			}
			continue
		}
		a.failed = true
		if listed++; listed <= maxListed {
			a.fail(findingCode(f.Kind), "%s", f.Message)
		}
	}
}

func findingCode(k eventlog.Kind) string {
	switch k {
	case eventlog.DigestMismatch:
		return CodeEventDataMismatch
	case eventlog.BadSeparator:
		return CodeSeparatorInvalid
	case eventlog.Repeated:
		return CodeEventRepeated
	}
	return CodeEventMalformed
}

// ima replays the list against PCR 10 in every quoted bank, from the state that
// it continues or from what the event log left in it.
func (a *appraisal) ima(replay map[string]map[int][]byte) {
	out := &IMAResult{}
	a.result.IMA = out
	if !a.continues() {
		return
	}
	list, err := a.parsedList()
	if err != nil {
		a.fail(CodeIMAMalformed, "%v", err)
		return
	}
	if !a.joins(list) {
		return
	}
	banks, total := 0, IMAResult{}
	for _, b := range a.selection {
		if !slices.Contains(b.indexes, ima.PCR) {
			continue
		}
		replayed, ok := a.replayIMA(list, b.bank, replay[b.bank][ima.PCR])
		if !ok {
			return
		}
		if banks > 0 && replayed.Entries != total.Entries {
			a.fail(CodeIMAMismatch, "the banks cover different numbers of IMA entries")
			return
		}
		if replayed.PaddedSHA1 {
			a.warn(CodeIMASHA1Padded, "the kernel extended padded SHA-1 template hashes into bank %s", b.bank)
		}
		banks++
		total = IMAResult{Entries: replayed.Entries, Violations: replayed.Violations, Ahead: replayed.Ahead, Replayed: true}
	}
	if banks == 0 {
		a.fail(CodeIMANotQuoted, "an IMA list is given, but the quote does not cover PCR %d", ima.PCR)
		return
	}
	*out = total
	a.result.IMACovered = list.Size(total.Entries)
	if from := a.evidence.IMAFrom; from == nil || from.Entries == 0 {
		out.BootAggregate = a.bootAggregate(list)
	} else {
		out.Entries, out.Violations, out.BootAggregate = from.Entries+total.Entries, from.Violations+total.Violations, from.BootAggregate
	}
	a.files(list, total.Entries)
}
