package attest

import (
	"crypto/subtle"

	"troth/attest/eventlog"
	"troth/attest/ima"
)

// bootAggregate compares the first entry of a list that replays: the hash of
// what firmware and boot loader measured, as the kernel found it (Linux,
// ima_calc_boot_aggregate_tfm). It ties the list to the boot that the other PCRs
// describe.
func (a *appraisal) bootAggregate(list *ima.List) BootAggregate {
	if a.result.IMA.Entries == 0 || a.failed {
		return ""
	}
	first := list.Entries[0]
	if first.Name != "boot_aggregate" || first.Violation {
		a.warn(CodeIMABootAggregate, "the IMA list does not begin with boot_aggregate")
		return BootAggregateAbsent
	}
	known := false
	for _, last := range aggregateSpans(first.Algorithm) {
		sum, ok := a.aggregate(first.Algorithm, last)
		if ok && subtle.ConstantTimeCompare(sum, first.Digest) == 1 {
			return BootAggregateVerified
		}
		known = ok // of the longest span
	}
	if !known {
		return BootAggregateUnknown
	}
	a.fail(CodeIMABootAggregate, "the IMA list's boot_aggregate is not the hash of the quoted PCRs of bank %s", first.Algorithm)
	return BootAggregateMismatch
}

// aggregateSpans gives the highest PCR that an aggregate may cover: 7 with SHA-1,
// as ever; with others 9, and 7 in older kernels. All PCRs that
// either covers are quoted, so accepting both gives nothing away.
func aggregateSpans(algorithm string) []int {
	if algorithm == "sha1" {
		return []int{7}
	}
	return []int{7, 9}
}

// aggregate hashes the quoted PCRs 0 to last of a bank; false where the quote
// does not cover them all.
func (a *appraisal) aggregate(bank string, last int) ([]byte, bool) {
	h, ok := eventlog.HashOf(bank)
	if !ok {
		return nil, false
	}
	d := h.New()
	for pcr := 0; pcr <= last; pcr++ {
		value, quoted := a.evidence.PCRs[bank][pcr]
		if !quoted {
			return nil, false
		}
		d.Write(value)
	}
	return d.Sum(nil), true
}
