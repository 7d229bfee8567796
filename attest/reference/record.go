package reference

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"troth/attest"
	"troth/attest/eventlog"
	"troth/attest/ima"
)

// RecordedPCRs is what Record takes over unless it is told: the PCRs that devices
// of one model have in common, as far as the event log extends them. Left out are
// settings and boot order (1, 3), the disk's own GUIDs (5), events of the platform
// (6), IMA's order (10), and what the running system or an owner extends (13 to
// 23).
func RecordedPCRs() []int { return []int{0, 2, 4, 7, 8, 9, 11, 12} }

// Record takes over the quoted values of verified evidence, with the events of
// those PCRs that the log replays to. pcrs nil: RecordedPCRs that the log extends,
// or PCR 0, 2, 4, 7 without a log.
func Record(result attest.Result, log []byte, bank string, pcrs []int) (File, error) {
	if !result.Verified {
		return File{}, errors.New("record reference values: the evidence is not verified")
	}
	values, quoted := result.PCRs[bank]
	if !quoted {
		return File{}, fmt.Errorf("record reference values: the quote has no bank %.16q", bank)
	}
	f := File{Reference: attest.Reference{Bank: bank, PCRs: map[int]attest.Digest{}}}
	var replayed map[int][]byte
	if log != nil {
		parsed, err := eventlog.Parse(log)
		if err != nil {
			return File{}, fmt.Errorf("record reference values: %w", err)
		}
		replayed = parsed.Replay()[bank]
		f.Events = keptEvents(parsed, bank)
	}
	if pcrs == nil {
		pcrs = defaultPCRs(values, replayed, log != nil)
	}
	for _, pcr := range pcrs {
		value, ok := values[pcr]
		if !ok {
			return File{}, fmt.Errorf("record reference values: the quote has no PCR %d in bank %s", pcr, bank)
		}
		f.PCRs[pcr] = value
	}
	f.Events = slices.DeleteFunc(f.Events, func(e Event) bool {
		value, chosen := f.PCRs[e.PCR]
		return !chosen || !bytes.Equal(value, replayed[e.PCR])
	})
	return f, f.Valid()
}

func defaultPCRs(values map[int]attest.Digest, replayed map[int][]byte, logged bool) []int {
	return slices.DeleteFunc(RecordedPCRs(), func(pcr int) bool {
		_, quoted := values[pcr]
		_, extended := replayed[pcr]
		return !quoted || logged && !extended || !logged && pcr > 7
	})
}

func keptEvents(log *eventlog.Log, bank string) []Event {
	var out []Event
	images := imageNames(log)
	for _, e := range log.Events {
		if e.Type != eventlog.NoAction {
			out = append(out, Event{PCR: e.PCR, Type: e.Type.String(), Digest: e.Digests.In(bank), What: describe(e, images), From: Kept})
		}
	}
	slices.SortStableFunc(out, func(a, b Event) int { return a.PCR - b.PCR })
	return out
}

// FromLog reads an event log as reference values of all that it extends, so that
// Diff can compare with it.
func FromLog(log *eventlog.Log, bank string) (File, error) {
	values, ok := log.Replay()[bank]
	if !ok {
		return File{}, fmt.Errorf("read event log: it has no bank %.16q", bank)
	}
	f := File{Reference: attest.Reference{Bank: bank, PCRs: map[int]attest.Digest{}}, Events: keptEvents(log, bank)}
	for pcr, value := range values {
		f.PCRs[pcr] = value
	}
	return f, f.Valid()
}

// AllowList writes what a golden device ran as lines of sha256sum ("hex  path", a
// leading backslash before escaped names), each file and digest once, ascending by
// path. It takes the entries that the quote covers, and counts those that are no
// SHA-256 of a file: violations, other algorithms, boot_aggregate.
func AllowList(list *ima.List, covered int) (lines []byte, left int) {
	var rows []string
	for _, e := range list.Entries[:min(covered, len(list.Entries))] {
		if e.Violation || e.Algorithm != "sha256" || len(e.Digest) != 32 || e.Name == "boot_aggregate" {
			left++
			continue
		}
		rows = append(rows, escapedName(e.Name)+"\x00"+hex.EncodeToString(e.Digest))
	}
	slices.Sort(rows)
	for _, row := range slices.Compact(rows) {
		name, digest, _ := strings.Cut(row, "\x00")
		mark := ""
		if strings.Contains(name, `\`) {
			mark = `\`
		}
		lines = append(lines, mark+digest+"  "+name+"\n"...)
	}
	return lines, left
}

// escapedName keeps a name on its line, as sha256sum does.
func escapedName(name string) string {
	return strings.NewReplacer(`\`, `\\`, "\n", `\n`, "\r", `\r`, "\x00", "").Replace(name)
}
