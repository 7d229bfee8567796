package attest

import (
	"bytes"
	"crypto"
	"crypto/subtle"
	"slices"

	"troth/attest/eventlog"
	"troth/attest/ima"
)

// derive stands in for PCR values that were not given: what the event log and
// the IMA list replay to. The quoted digest still decides whether they are the
// TPM's, so a log that leaves anything out leads nowhere.
func (a *appraisal) derive(hash crypto.Hash, digest []byte) bool {
	values := PCRs{}
	for _, b := range a.selection {
		values[b.bank] = map[int]Digest{}
		for _, pcr := range b.indexes {
			values[b.bank][pcr] = resetValue(b.bank, pcr)
		}
	}
	if a.evidence.hasEventLog() {
		log, err := a.parsedLog()
		if err != nil {
			a.fail(CodeEventLogMalformed, "%v", err)
			return false
		}
		for bank, replayed := range log.Replay() {
			for pcr, value := range replayed {
				if _, quoted := values[bank][pcr]; quoted {
					values[bank][pcr] = value
				}
			}
			// Not only what is replayed: a locality changes PCR 0's reset value.
			if _, extended := replayed[0]; !extended && values[bank][0] != nil {
				values[bank][0] = log.Initial(bank, 0)
			}
		}
	}
	if !a.deriveUserspace(values) {
		return false
	}
	if a.evidence.IMA != nil {
		list, err := a.parsedList()
		if err != nil {
			a.fail(CodeIMAMalformed, "%v", err)
			return false
		}
		if from := a.evidence.IMAFrom; from != nil {
			for bank, value := range from.PCR {
				if _, quoted := values[bank][ima.PCR]; quoted {
					values[bank][ima.PCR] = bytes.Clone(value)
				}
			}
		}
		if !a.deriveIMA(list, values, hash, digest) {
			a.fail(CodePCRDigestMismatch, "no PCR values are given, and what the logs replay to does not hash to the quoted digest")
			return false
		}
	}
	a.evidence.PCRs = values
	return true
}

// deriveUserspace extends values by all of the userspace log: one that runs ahead
// of the quote needs the values.
func (a *appraisal) deriveUserspace(values PCRs) bool {
	if a.evidence.UserspaceLog == nil {
		return true
	}
	records, err := eventlog.ParseUserspace(a.evidence.UserspaceLog)
	if err != nil {
		a.fail(CodeUserspaceLogMalformed, "%v", err)
		return false
	}
	for _, r := range records {
		for bank := range values {
			if value, quoted := values[bank][r.PCR]; quoted && r.Digests.In(bank) != nil {
				values[bank][r.PCR] = r.Extend(nil, bank, value)
			}
		}
	}
	return true
}

// deriveIMA extends PCR 10 of values entry by entry until everything hashes to
// the quoted digest. Kernels that lack a bank's hash extend padded SHA-1; SHA-384
// and SHA-512 are one module, and so lacking together.
func (a *appraisal) deriveIMA(list *ima.List, values PCRs, hash crypto.Hash, digest []byte) bool {
	start := map[string]Digest{}
	for _, b := range a.selection {
		if value, quoted := values[b.bank][ima.PCR]; quoted {
			start[b.bank] = value
		}
	}
	if len(start) == 0 || len(list.Entries) == 0 {
		return true // the digest is compared by the caller
	}
	if a.evidence.IMAFrom != nil && subtle.ConstantTimeCompare(a.selection.digest(hash, values), digest) == 1 {
		return true // nothing new; all entries run ahead
	}
	for _, padded := range [][]string{nil, {"sha384", "sha512"}, {"sha256", "sha384", "sha512"}} {
		if len(padded) > 0 && !slices.ContainsFunc(padded, func(bank string) bool { return start[bank] != nil }) {
			continue
		}
		for bank, value := range start {
			values[bank][ima.PCR] = bytes.Clone(value)
		}
		for i := range list.Entries {
			for bank := range start {
				value := values[bank][ima.PCR]
				values[bank][ima.PCR] = list.Entries[i].Extend(value[:0], bank, value, slices.Contains(padded, bank))
			}
			if subtle.ConstantTimeCompare(a.selection.digest(hash, values), digest) == 1 {
				return true
			}
		}
	}
	return false
}

// resetValue is what a PCR holds that nothing was extended into: ones for those
// of a dynamic launch that never was, zeros for all others (PC Client Platform
// TPM Profile, section 4.6).
func resetValue(bank string, pcr int) Digest {
	h, ok := eventlog.HashOf(bank)
	if !ok {
		return nil
	}
	value := make(Digest, h.Size())
	if pcr >= 17 && pcr <= 22 {
		for i := range value {
			value[i] = 0xff
		}
	}
	return value
}
