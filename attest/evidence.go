package attest

import (
	"troth/attest/eventlog"
	"troth/attest/ima"
)

// Evidence is what a device or an operator hands in. Every field is foreign.
type Evidence struct {
	// AK is the attestation key: a TPMT_PUBLIC, a TPM2B_PUBLIC, or a PEM block of
	// type PUBLIC KEY; at most 4 KiB.
	AK []byte
	// Quote is the TPMS_ATTEST that TPM2_Quote signed, or the TPM2B_ATTEST around
	// it; at most 4 KiB.
	Quote []byte
	// Signature is the TPMT_SIGNATURE over the TPMS_ATTEST; at most 2 KiB.
	Signature []byte
	// PCRs are the values of exactly the quoted PCRs. Where there are none and a
	// log is given, they are what the logs replay to, and reset values for PCRs
	// that no log extends: only a quote that the logs explain completely then
	// verifies.
	PCRs PCRs
	// EventLog is the firmware's log, at most eventlog.MaxSize; nil: none given.
	EventLog []byte
	// ReadLog is the firmware's log in place of EventLog, as the verifier has read
	// it before: an unchanged log need not be explained again. The result then
	// shares the reading's facts, and must not be changed.
	ReadLog *eventlog.Reading
	// UserspaceLog is what systemd measured after the firmware had ended, as in
	// /run/log/systemd/tpm2-measure.log, at most eventlog.MaxUserspaceSize; nil:
	// none given. It continues the event log and may run ahead of the quote.
	UserspaceLog []byte
	// IMA is the ASCII or binary runtime measurement list, at most ima.MaxSize;
	// nil: none given.
	IMA []byte
	// IMAFrom is the Result.IMAState of an earlier appraisal in this boot, where
	// IMA holds only the entries after it; IMA may then be empty, not nil. nil: IMA
	// is the whole list.
	IMAFrom *IMAState
}

// hasEventLog says whether the firmware's log was given in either form.
func (e *Evidence) hasEventLog() bool { return e.EventLog != nil || e.ReadLog != nil }

// Expectation is what the verifier requires of a quote.
type Expectation struct {
	// QualifyingData is the nonce as signed, at most 64 bytes. Empty is refused.
	QualifyingData []byte
	// Selection is the exact signed selection; nil accepts any that is not empty.
	// In both cases the evidence must hold exactly the quoted values.
	Selection map[string][]int
	// AllowSHA1 accepts quotes of the SHA-1 bank.
	AllowSHA1 bool
	// RequireAttributes refuses a PEM key, which carries no attributes.
	RequireAttributes bool
	// IMAAllow and IMAKeys say what may run: digests of a release, and keys that
	// files are signed with. What neither vouches for is counted in
	// IMAResult.Unknown, a fact for policy. Both nil: nothing is judged. Both may be
	// shared by all devices.
	IMAAllow *ima.AllowList
	IMAKeys  *ima.Keyring
	// IMAFiles, where it is not nil, chooses what may run by the PCR values, in
	// place of IMAAllow and IMAKeys: which release a device runs is known only from
	// them. It is called at most once, with values that the quote covers, and where
	// nothing failed before.
	IMAFiles func(PCRs) IMAFiles
	// LastClock is the one that was quoted last under the same key; zero: none.
	LastClock Clock
}

// IMAFiles is what may run, under a name.
type IMAFiles struct {
	// ID names the content of Allow and Keys: where it differs from that which
	// judged a list's beginning, the beginning must be judged anew.
	ID    string
	Allow *ima.AllowList
	Keys  *ima.Keyring // both nil: nothing is judged
}

// Result is the outcome of an appraisal.
type Result struct {
	// Verified: no problem is an error. The zero Result is not verified.
	Verified bool      `json:"verified"`
	Problems []Problem `json:"problems"`
	// PCRs are the values that the signature covers; empty until it is verified
	// that it does.
	PCRs PCRs `json:"pcrs"`
	// EventLog is present where the quote holds and a log was given, or none was
	// and quoted PCRs that a log would explain are extended.
	EventLog *EventLogResult `json:"event_log,omitempty"`
	// SecureBoot is present where the log tells it, from a quoted PCR 7.
	SecureBoot *SecureBoot `json:"secure_boot,omitempty"`
	// UserspaceLog is present where one was given and the quote holds.
	UserspaceLog *UserspaceResult `json:"userspace_log,omitempty"`
	// IMA is present where a list was given and the quote holds.
	IMA *IMAResult `json:"ima,omitempty"`
	// Clock is present where the quote holds.
	Clock *Clock `json:"clock,omitempty"`
	// ClockProblems are those of CompareClock with Expectation.LastClock: facts for
	// policy, which do not touch Verified.
	ClockProblems []Problem `json:"clock_problems,omitempty"`
	// IMAUnknown lists the first 16 of IMAResult.Unknown.
	IMAUnknown []UnknownFile `json:"ima_unknown,omitempty"`
	// IMACovered is how many bytes of Evidence.IMA the quoted PCR 10 covers: what
	// follows is sent again by a list that continues IMAState.
	IMACovered int `json:"-"`
	// IMAState is what a later appraisal of the rest of the list may begin with;
	// nil unless the evidence is verified and has an IMA list that can be continued.
	IMAState *IMAState `json:"-"`
}

// Err is nil for a verified result, and else an *Error whose Code is the first
// error's.
func (r Result) Err() error {
	if r.Verified {
		return nil
	}
	return &Error{Problems: r.Problems}
}

// EventLogResult says how the event log fits the quote, and what it tells.
type EventLogResult struct {
	// Given: there is a log. A missing log is not a log that agrees.
	Given  bool `json:"given"`
	Events int  `json:"events"`
	// Replayed: every quoted PCR that the log covers replays to its quoted value.
	Replayed bool `json:"replayed"`
	// UnexplainedPCRs lists quoted PCRs of 0 to 9 and 11 to 15 that no event
	// covers and that are not at their reset value. One of 0 to 7 is an error where
	// a log was given: only firmware extends them, and it logs what it extends.
	UnexplainedPCRs []int `json:"unexplained_pcrs"`
	// BootLoaders, CommandLines, SCRTMVersion and Boot come only from PCRs that
	// the quote covers, the log replays to, and that have no finding.
	BootLoaders  []eventlog.Image       `json:"boot_loaders,omitempty"`
	CommandLines []eventlog.CommandLine `json:"command_lines,omitempty"`
	SCRTMVersion *eventlog.Text         `json:"s_crtm_version,omitempty"`
	Boot         *eventlog.BootFacts    `json:"boot,omitempty"`
}

// SecureBoot is the Secure Boot configuration as measured into PCR 7.
type SecureBoot = eventlog.SecureBoot

// IMAResult says how the IMA list fits the quote.
type IMAResult struct {
	// Entries that the quoted PCR 10 covers, with those of the state that the list
	// continues; entries after them are not counted.
	Entries int `json:"entries"`
	// Violations among Entries.
	Violations int `json:"violations"`
	// Replayed: the list leads to the quoted PCR 10 in every quoted bank.
	Replayed bool `json:"replayed"`
	// Ahead counts the entries after those that the quote covers.
	Ahead int `json:"ahead,omitempty"`
	// BootAggregate says whether the list's first entry is the hash of the quoted
	// PCRs that the firmware and the boot loader measured into.
	BootAggregate BootAggregate `json:"boot_aggregate,omitempty"`
	// Unknown counts, among Entries, what nothing in the expectation vouches for.
	Unknown int `json:"unknown,omitempty"`
	// JudgedBy is the ID of the IMAFiles that judged Entries.
	JudgedBy string `json:"judged_by,omitempty"`
}

// BootAggregate is the outcome of comparing IMA's boot_aggregate.
type BootAggregate string

// Outcomes; empty where the list has no entries, or continues an earlier one, or
// an error was found before.
const (
	BootAggregateVerified BootAggregate = "verified"
	// BootAggregateUnknown: the quote does not cover all of its PCRs in its bank.
	BootAggregateUnknown  BootAggregate = "unknown"
	BootAggregateMismatch BootAggregate = "mismatch"
	// BootAggregateAbsent: the first entry is something else.
	BootAggregateAbsent BootAggregate = "absent"
)

// Clock is the TPM's clock as quoted (Part 2, TPMS_CLOCK_INFO).
type Clock struct {
	ResetCount   uint32 `json:"reset_count"`
	RestartCount uint32 `json:"restart_count"`
	Clock        uint64 `json:"clock"` // milliseconds
	// Safe: no larger value of Clock was ever reported before.
	Safe bool `json:"safe"`
}
