package evidence

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"

	"troth/attest"
	"troth/internal/fleet"
	"troth/policy"
)

// Bank is the PCR bank that quotes and reference values use.
const Bank = "sha256"

// PCRValues are the quoted values of the reference bank, hexadecimal.
func PCRValues(r attest.Result) map[int]string {
	values := map[int]string{}
	for i, digest := range r.PCRs[Bank] {
		values[i] = hex.EncodeToString(digest)
	}
	return values
}

// ClockOf is what the quote said of the TPM's time.
func ClockOf(r attest.Result) fleet.Clock {
	if r.Clock == nil {
		return fleet.Clock{}
	}
	return fleet.Clock{ResetCount: r.Clock.ResetCount, RestartCount: r.Clock.RestartCount, Clock: r.Clock.Clock, Safe: r.Clock.Safe}
}

// ClockInput is a clock as policies see it.
func ClockInput(c fleet.Clock) policy.ClockInput {
	return policy.ClockInput{ResetCount: c.ResetCount, RestartCount: c.RestartCount, Clock: c.Clock, Safe: c.Safe}
}

// Attestation is an appraisal as policies see it.
func Attestation(r attest.Result) policy.AttestationInput {
	in := policy.AttestationInput{Verified: r.Verified, Clock: ClockInput(ClockOf(r)), PCRs: map[string]string{}}
	for _, p := range r.Problems {
		in.Problems = append(in.Problems, p.Code)
	}
	for i, value := range PCRValues(r) {
		in.PCRs[strconv.Itoa(i)] = value
	}
	if l := r.EventLog; l != nil {
		in.EventLog = policy.EventLogInput{Given: l.Given, Replayed: l.Replayed, UnexplainedPCRs: l.UnexplainedPCRs}
	}
	if b := r.SecureBoot; b != nil {
		in.SecureBoot = policy.SecureBootInput{Known: true, Enabled: b.Enabled}
	}
	if l := r.IMA; l != nil {
		in.IMA = policy.IMAInput{Given: true, Replayed: l.Replayed, Entries: l.Entries, Violations: l.Violations}
	}
	return in
}

// Record makes a policy's decision one to keep: with its input as a blob, which
// the decision names by its digest.
func Record(kind string, id fleet.DeviceID, in policy.Input, d policy.Decision) (fleet.Decision, fleet.Blob, error) {
	input, err := policy.Document(in)
	if err != nil {
		return fleet.Decision{}, fleet.Blob{}, fmt.Errorf("record decision: %w", err)
	}
	document, err := json.Marshal(d)
	if err != nil {
		return fleet.Decision{}, fleet.Blob{}, fmt.Errorf("record decision: %w", err)
	}
	m := d.Digests()
	return fleet.Decision{
		ID: fleet.NewID(), Kind: kind, Device: id, At: m.At, Policy: m.Policy, Input: m.Input, Evidence: m.Evidence,
		Answer: d.Answer(), Document: document,
	}, NewBlob(input), nil
}
