package attest

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"troth/attest/eventlog"
)

// UserspaceResult says how systemd's log of its own measurements fits the quote.
type UserspaceResult struct {
	// Records that the quote covers; those after them ran ahead of it.
	Records int `json:"records"`
	Ahead   int `json:"ahead,omitempty"`
	// Replayed: event log and records lead to every quoted PCR that they extend.
	Replayed bool `json:"replayed"`
	// Events are the covered records of quoted PCRs, in order.
	Events []UserspaceEvent `json:"events"`
}

// UserspaceEvent is one measurement of systemd's. Text is hostile.
type UserspaceEvent struct {
	PCR  int    `json:"pcr"`
	Type string `json:"type,omitempty"` // as claimed: "phase", "machine-id", …
	Text string `json:"text"`
	// Verified: Text is what was measured. Else it is claimed (a volume key's name).
	Verified bool `json:"verified"`
}

// userspaceHint says in a mismatch what most often is behind it in the PCRs that
// systemd extends after the boot. Nothing here tells it from tampering.
func (a *appraisal) userspaceHint(pcr int) string {
	if a.evidence.UserspaceLog != nil {
		return ""
	}
	switch pcr {
	case 9, 11, 12, 13, 15:
		return "; systemd extends this PCR after boot (systemd-pcrphase, systemd-pcrextend, systemd-tpm2-setup): " +
			"if that is why, its log explains it, /run/log/systemd/tpm2-measure.log"
	}
	return ""
}

// userspace continues what the event log replays to with systemd's records, up
// to the last record at which every quoted PCR that they extend has its value.
func (a *appraisal) userspace(log *eventlog.Log, replay map[string]map[int][]byte) bool {
	out := &UserspaceResult{Events: []UserspaceEvent{}}
	a.result.UserspaceLog = out
	records, err := eventlog.ParseUserspace(a.evidence.UserspaceLog)
	if err != nil {
		a.fail(CodeUserspaceLogMalformed, "%v", err)
		return false
	}
	c := continuation{quoted: a.evidence.PCRs, values: map[string]map[int][]byte{}, matched: map[string]map[int]bool{}}
	for _, b := range a.selection {
		if slices.Contains(log.Banks, b.bank) {
			c.start(log, b, records, replay[b.bank])
		}
	}
	covered, err := c.run(records)
	if err != nil {
		a.fail(CodeUserspaceLogMismatch, "%v", err)
		return false
	}
	out.Records, out.Ahead, out.Replayed = covered, len(records)-covered, true
	for _, r := range records[:covered] {
		banks := c.banks(r.PCR)
		if len(banks) == 0 {
			continue // not quoted
		}
		verified := r.Recomputed(banks)
		if !verified && !r.MayBeSecret() {
			a.fail(CodeUserspaceLogData, "record %d of the userspace log: the digest in PCR %d is not the hash of its text", r.Sequence, r.PCR)
			return false
		}
		for _, bank := range banks {
			replay[bank][r.PCR] = a.evidence.PCRs[bank][r.PCR]
		}
		out.Events = append(out.Events, UserspaceEvent{PCR: r.PCR, Type: r.Type, Text: r.Text, Verified: verified})
	}
	return true
}

// continuation replays records into the quoted PCRs that they extend.
type continuation struct {
	quoted  PCRs
	values  map[string]map[int][]byte
	matched map[string]map[int]bool // ever
	wrong   int                     // values that are not the quoted ones
}

func (c *continuation) start(log *eventlog.Log, b bankSelection, records []eventlog.UserspaceRecord, replayed map[int][]byte) {
	c.values[b.bank], c.matched[b.bank] = map[int][]byte{}, map[int]bool{}
	for _, r := range records {
		if _, seen := c.values[b.bank][r.PCR]; seen || !slices.Contains(b.indexes, r.PCR) {
			continue
		}
		value, extended := replayed[r.PCR]
		if !extended {
			value = resetValue(b.bank, r.PCR)
			if r.PCR == 0 {
				value = log.Initial(b.bank, 0)
			}
		}
		c.values[b.bank][r.PCR] = bytes.Clone(value)
		c.wrong++
		c.settle(b.bank, r.PCR, false)
	}
}

// settle counts a value that may have become the quoted one; before says whether
// it was counted as that.
func (c *continuation) settle(bank string, pcr int, before bool) {
	if before {
		c.wrong++
	}
	if c.right(bank, pcr) {
		c.wrong--
		c.matched[bank][pcr] = true
	}
}

func (c *continuation) right(bank string, pcr int) bool {
	return bytes.Equal(c.values[bank][pcr], c.quoted[bank][pcr])
}

// banks are those in which a PCR is quoted.
func (c *continuation) banks(pcr int) (out []string) {
	for bank, values := range c.values {
		if _, ok := values[pcr]; ok {
			out = append(out, bank)
		}
	}
	return out
}

// run gives the largest number of records after which everything is right.
func (c *continuation) run(records []eventlog.UserspaceRecord) (int, error) {
	covered := -1
	if c.wrong == 0 {
		covered = 0
	}
	for n, r := range records {
		for _, bank := range c.banks(r.PCR) {
			before := c.right(bank, r.PCR)
			value := c.values[bank][r.PCR]
			if value = r.Extend(value[:0], bank, value); value == nil {
				return 0, fmt.Errorf("record %d of the userspace log has no digest of bank %s", r.Sequence, bank)
			}
			c.values[bank][r.PCR] = value
			c.settle(bank, r.PCR, before)
		}
		if c.wrong == 0 {
			covered = n + 1
		}
	}
	if covered < 0 {
		return 0, c.mismatch()
	}
	return covered, nil
}

// mismatch names the PCRs that were never right.
func (c *continuation) mismatch() error {
	var never []string
	for _, bank := range []string{"sha1", "sha256", "sha384", "sha512"} {
		for pcr := range maxPCR + 1 {
			if _, ok := c.values[bank][pcr]; ok && !c.matched[bank][pcr] {
				never = append(never, fmt.Sprintf("PCR %d of bank %s", pcr, bank))
			}
		}
	}
	if len(never) == 0 {
		never = []string{"all of its PCRs at once"}
	}
	return fmt.Errorf("event log and userspace log do not lead to %s", strings.Join(never, ", "))
}
