package evidence

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
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
	in := policy.AttestationInput{
		Verified: r.Verified, Clock: ClockInput(ClockOf(r)), PCRs: map[string]string{},
		Boot: bootFacts(r), SecureBoot: secureBoot(r), IMA: imaFacts(r),
	}
	in.Problems, in.Warnings = problems(r)
	for i, value := range PCRValues(r) {
		in.PCRs[strconv.Itoa(i)] = value
	}
	if l := r.EventLog; l != nil {
		in.EventLog = policy.EventLogInput{Given: l.Given, Replayed: l.Replayed, UnexplainedPCRs: l.UnexplainedPCRs}
	}
	if l := r.UserspaceLog; l != nil {
		in.Userspace = policy.UserspaceInput{Given: true, Replayed: l.Replayed, Records: l.Records, Ahead: l.Ahead}
	}
	return in
}

// problems are the codes of everything that was found, each once, and those that
// are only warnings: a code that is also an error is none.
func problems(r attest.Result) (all, warnings []string) {
	isError := map[string]bool{}
	for _, p := range slices.Concat(r.Problems, r.ClockProblems) {
		if !slices.Contains(all, p.Code) {
			all = append(all, p.Code)
		}
		isError[p.Code] = isError[p.Code] || p.Severity == attest.SeverityError
	}
	for _, code := range all {
		if !isError[code] {
			warnings = append(warnings, code)
		}
	}
	return all, warnings
}

func secureBoot(r attest.Result) policy.SecureBootInput {
	s := r.SecureBoot
	if s == nil {
		return policy.SecureBootInput{}
	}
	in := policy.SecureBootInput{
		Known: true, Enabled: s.Enabled, SetupMode: len(s.PK) == 0, DebugMode: s.Debug, DBXSize: s.DBXEntries,
	}
	h := sha256.New()
	for _, entry := range s.DBX {
		fmt.Fprintln(h, entry)
	}
	in.DBXDigest = hex.EncodeToString(h.Sum(nil))
	for _, l := range []struct {
		name  string
		from  []string
		to    *[]string
		bound int
	}{{"pk", s.PK, &in.PK, maxListed}, {"kek", s.KEK, &in.KEK, maxListed}, {"db", s.DB, &in.DB, maxListed}, {"dbx", s.DBX, &in.DBX, maxDBX}} {
		*l.to = l.from[:min(len(l.from), l.bound)]
		if len(l.from) > l.bound {
			in.Cut = append(in.Cut, l.name)
		}
	}
	return in
}

// The bounds of what is shown of unknown files.
const (
	maxUnknown     = 8
	maxUnknownName = 128 // bytes
)

func imaFacts(r attest.Result) policy.IMAInput {
	l := r.IMA
	if l == nil {
		return policy.IMAInput{}
	}
	in := policy.IMAInput{
		Given: true, Replayed: l.Replayed, Entries: l.Entries, Violations: l.Violations, Ahead: l.Ahead,
		BootAggregate: string(l.BootAggregate), JudgedBy: l.JudgedBy, Unknown: l.Unknown,
	}
	for _, f := range r.IMAUnknown[:min(len(r.IMAUnknown), maxUnknown)] {
		in.UnknownFiles = append(in.UnknownFiles, policy.UnknownFile{
			Name: short(f.Name, maxUnknownName), Digest: f.Algorithm + ":" + f.Digest.String(), Reason: f.Reason,
		})
	}
	return in
}

// Record makes a policy's decision one to keep: with its input as a blob, which
// the decision names by its digest. What the policy masks is not kept.
func Record(kind string, id fleet.DeviceID, in policy.Input, d policy.Decision) (fleet.Decision, fleet.Blob, error) {
	m := d.Digests()
	input := m.Document()
	if len(input) == 0 { // nothing was decided
		var err error
		if input, err = policy.Document(in); err != nil {
			return fleet.Decision{}, fleet.Blob{}, fmt.Errorf("record decision: %w", err)
		}
	}
	document, err := json.Marshal(d)
	if err != nil {
		return fleet.Decision{}, fleet.Blob{}, fmt.Errorf("record decision: %w", err)
	}
	return fleet.Decision{
		ID: fleet.NewID(), Kind: kind, Device: id, At: m.At, Policy: m.Policy, Input: m.Input, Evidence: m.Evidence,
		Answer: d.Answer(), Document: document,
	}, NewBlob(input), nil
}
