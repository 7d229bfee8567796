package attest

import (
	"errors"
	"slices"

	"troth/attest/ima"
)

// maxUnknownListed bounds Result.IMAUnknown; IMAResult.Unknown counts them all.
const maxUnknownListed = 16

// maxUnknownName bounds UnknownFile.Name, in bytes.
const maxUnknownName = 256

// UnknownFile is a measurement that nothing vouches for.
type UnknownFile struct {
	Name      string `json:"name"` // hostile text, at most 256 bytes of it
	Algorithm string `json:"algorithm"`
	Digest    Digest `json:"digest"`
	// Reason: "violation", "bad_signature" (signed, and it does not verify) or
	// "not_allowed".
	Reason string `json:"reason"`
}

// files judges the newly covered entries by what the verifier expects to run: an
// entry is known if the allow-list has its digest or a key of the keyring signed
// it. boot_aggregate is compared with the PCRs instead.
func (a *appraisal) files(list *ima.List, covered int) {
	if a.failed {
		return
	}
	by := IMAFiles{Allow: a.want.IMAAllow, Keys: a.want.IMAKeys}
	if a.want.IMAFiles != nil {
		by = a.want.IMAFiles(a.evidence.PCRs.clone())
	}
	if by.Allow == nil && by.Keys == nil {
		return
	}
	first := true
	if from := a.evidence.IMAFrom; from != nil && from.Entries > 0 {
		if from.JudgedBy != by.ID {
			a.fail(CodeIMAJudged, "what the IMA list continues was judged by other files: the whole list is needed")
			return
		}
		first = false
		a.result.IMA.Unknown, a.result.IMAUnknown = from.Unknown, slices.Clone(from.UnknownFiles)
	}
	a.result.IMA.JudgedBy = by.ID
	for i := range list.Entries[:covered] {
		e := &list.Entries[i]
		if first && i == 0 && e.Name == "boot_aggregate" {
			continue
		}
		if reason := by.unknown(e); reason != "" {
			a.unknown(e, reason)
		}
	}
}

func (a *appraisal) unknown(e *ima.Entry, reason string) {
	a.result.IMA.Unknown++
	if len(a.result.IMAUnknown) < maxUnknownListed {
		a.result.IMAUnknown = append(a.result.IMAUnknown, UnknownFile{
			Name: e.Name[:min(len(e.Name), maxUnknownName)], Algorithm: e.Algorithm, Digest: e.Digest, Reason: reason,
		})
	}
}

// unknown says why nothing vouches for an entry; empty where something does.
func (f IMAFiles) unknown(e *ima.Entry) string {
	if e.Violation {
		return "violation"
	}
	if f.Allow != nil && f.Allow.Allows(e) {
		return ""
	}
	if f.Keys == nil || len(e.Signature) == 0 {
		return "not_allowed"
	}
	switch err := f.Keys.Verify(e); {
	case err == nil:
		return ""
	case errors.Is(err, ima.ErrSignature):
		return "bad_signature"
	}
	return "not_allowed"
}
