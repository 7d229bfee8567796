package attest

import (
	"errors"

	"troth/attest/ima"
)

// maxUnknownListed bounds Result.IMAUnknown; IMAResult.Unknown counts them all.
const maxUnknownListed = 16

// UnknownFile is a measurement that nothing vouches for.
type UnknownFile struct {
	Name      string `json:"name"` // hostile text
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
	if a.want.IMAAllow == nil && a.want.IMAKeys == nil {
		return
	}
	for i := range list.Entries[:covered] {
		e := &list.Entries[i]
		if e.Name == "boot_aggregate" && i == 0 && a.evidence.IMAFrom == nil {
			continue
		}
		reason := a.unknown(e)
		if reason == "" {
			continue
		}
		a.result.IMA.Unknown++
		if len(a.result.IMAUnknown) < maxUnknownListed {
			a.result.IMAUnknown = append(a.result.IMAUnknown, UnknownFile{Name: e.Name, Algorithm: e.Algorithm, Digest: e.Digest, Reason: reason})
		}
	}
}

// unknown says why nothing vouches for an entry; empty where something does.
func (a *appraisal) unknown(e *ima.Entry) string {
	if e.Violation {
		return "violation"
	}
	if a.want.IMAAllow != nil && a.want.IMAAllow.Allows(e) {
		return ""
	}
	if a.want.IMAKeys == nil || len(e.Signature) == 0 {
		return "not_allowed"
	}
	switch err := a.want.IMAKeys.Verify(e); {
	case err == nil:
		return ""
	case errors.Is(err, ima.ErrSignature):
		return "bad_signature"
	}
	return "not_allowed"
}
