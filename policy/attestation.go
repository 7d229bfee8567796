package policy

// AttestationInput is the result of appraising a device's evidence (package
// attest). What it says counts only if Verified. Text in it that a device chose
// is hostile. Lists are bounded by whoever fills them; what was cut is named in
// Cut.
//
// A field that is not in a document, because the document is older than the
// field, is unknown and never false: Rego sees it as undefined.
type AttestationInput struct {
	Verified   bool              `json:"verified"`
	Problems   []string          `json:"problems"` // codes (package attest), of errors and of warnings, also of the clock
	Warnings   []string          `json:"warnings"` // those of Problems that are no errors
	EventLog   EventLogInput     `json:"event_log"`
	Userspace  UserspaceInput    `json:"userspace"`
	Boot       BootInput         `json:"boot"`
	SecureBoot SecureBootInput   `json:"secure_boot"`
	IMA        IMAInput          `json:"ima"`
	Clock      ClockInput        `json:"clock"`
	PCRs       map[string]string `json:"pcrs"` // SHA-256 bank: index to value, hexadecimal
}

// EventLogInput is the TCG event log's part of an appraisal.
type EventLogInput struct {
	Given           bool  `json:"given"`
	Replayed        bool  `json:"replayed"` // it replays to the quoted values
	UnexplainedPCRs []int `json:"unexplained_pcrs"`
}

// UserspaceInput is how the log of systemd's own measurements fits the quote
// (/run/log/systemd/tpm2-measure.log).
type UserspaceInput struct {
	Given    bool `json:"given"`
	Replayed bool `json:"replayed"` // after the event log, it leads to the quoted values
	Records  int  `json:"records"`  // that the quote covers
	Ahead    int  `json:"ahead"`    // records after those
}

// SecureBootInput is what the event log says of UEFI Secure Boot (PCR 7). Lists
// hold the lower-case hexadecimal SHA-256 of each certificate, and hashes as they
// are.
type SecureBootInput struct {
	Known     bool     `json:"known"` // the log says something of it; else nothing below counts
	Enabled   bool     `json:"enabled"`
	SetupMode bool     `json:"setup_mode"` // no PK is enrolled, so that anyone can enrol one (UEFI 2.10, section 32.3)
	DebugMode bool     `json:"debug_mode"` // the firmware measured that it is in UEFI debug mode
	PK        []string `json:"pk"`
	KEK       []string `json:"kek"`
	DB        []string `json:"db"`
	DBX       []string `json:"dbx"`         // at most 1024
	DBXSize   int      `json:"dbx_entries"` // all of them
	// DBXDigest is the SHA-256 over all entries of dbx in order, each in
	// hexadecimal with a line feed: it names a version of dbx in one word.
	DBXDigest string   `json:"dbx_digest"`
	Cut       []string `json:"cut"` // lists of these that are longer than what is here
}

// BootInput is what the event log says of the boot beyond Secure Boot. Digests
// are SHA-256, lower-case hexadecimal, and authenticated by their PCR; a text is
// verified where that is said beside it, and otherwise only claimed by whoever
// wrote the log.
type BootInput struct {
	// Known: a log was given, replays, and was read. Without it the lists are
	// empty because nothing is known.
	Known bool `json:"known"`
	// Complete names the lists that account for every measurement of their PCR:
	// "option_roms" (PCR 2), "command_lines" (PCR 8 and 12), "shim" (PCR 14). The
	// types and labels of events are not authenticated, so that a list that is not
	// complete proves nothing by what it lacks.
	Complete []string `json:"complete"`
	Cut      []string `json:"cut"` // lists that are longer than what is here

	BootLoaders  []ImageInput       `json:"boot_loaders"`  // PCR 4: EFI applications and kernels, in order
	OptionROMs   []ImageInput       `json:"option_roms"`   // PCR 2
	CommandLines []CommandLineInput `json:"command_lines"` // of kernels: PCR 8 (GRUB), 9 (EFI stub), 12 (systemd)
	Authorities  []AuthorityInput   `json:"authorities"`   // PCR 7: what images were verified with
	Shim         []NamedInput       `json:"shim"`          // PCR 14, and flags in PCR 7: shim's owner database (MokList, …)
	Sections     []NamedInput       `json:"sections"`      // PCR 11: of the unified kernel image
	Files        []NamedInput       `json:"files"`         // PCR 9: what GRUB read
	Initrds      []NamedInput       `json:"initrds"`       // PCR 9: those that the kernel's EFI stub loaded
	// Configuration is systemd-boot's and systemd-stub's: loader.conf (PCR 5),
	// add-ons and credentials (PCR 12), extensions (PCR 13).
	Configuration []NamedInput `json:"configuration"`
	// Other is what was measured into PCR 2 and 8 to 15 besides, by its event type.
	Other        []NamedInput   `json:"other"`
	Variables    []BootVariable `json:"variables"` // PCR 1: BootOrder, Boot####
	SCRTMVersion TextInput      `json:"s_crtm_version"`
	SBATLevel    TextInput      `json:"sbat_level"` // PCR 7: the revocation level that shim enforced
	GPT          GPTInput       `json:"gpt"`
	Exit         ExitInput      `json:"exit_boot_services"`
}

// ImageInput is an EFI image by its Authenticode digest.
type ImageInput struct {
	Digest string `json:"digest"`
	Path   string `json:"path"`   // file, as claimed
	Device string `json:"device"` // device path as text, as claimed
	// Signer is the fingerprint of the db entry that the firmware verified the
	// image with; empty where the log does not tell.
	Signer string `json:"signer"`
}

// CommandLineInput is a kernel's command line. The kernel's EFI stub logs no
// text, only its digest.
type CommandLineInput struct {
	PCR      int    `json:"pcr"`
	Text     string `json:"text"`
	Digest   string `json:"digest"`
	Verified bool   `json:"verified"` // the digest is that of the text
}

// AuthorityInput is an entry of a key database that verified an image.
type AuthorityInput struct {
	Variable    string `json:"variable"`    // db; MokListRT, Shim and others of shim's
	Fingerprint string `json:"fingerprint"` // SHA-256 of the certificate, or the image's hash
	Verified    bool   `json:"verified"`    // it is one of db's entries in the same log
}

// NamedInput is something measured by its digest.
type NamedInput struct {
	PCR      int    `json:"pcr"`
	Name     string `json:"name"`
	Digest   string `json:"digest"`
	Verified bool   `json:"verified"` // of the name
}

// BootVariable is a UEFI boot variable.
type BootVariable struct {
	Name         string   `json:"name"`
	Order        []uint16 `json:"order"` // of BootOrder
	Description  string   `json:"description"`
	Device       string   `json:"device"`
	Verified     bool     `json:"verified"`      // the contents
	NameVerified bool     `json:"name_verified"` // and the name
}

// TextInput is a measured text. Known: the log has one.
type TextInput struct {
	Known    bool   `json:"known"`
	Text     string `json:"text"`
	Verified bool   `json:"verified"`
}

// GPTInput is the partition table of the disk that was booted from (PCR 5).
type GPTInput struct {
	Known      bool   `json:"known"`
	DiskGUID   string `json:"disk_guid"`
	Partitions int    `json:"partitions"`
	// Digest is the SHA-256 over the disk's GUID and, for each partition, its type,
	// GUID, first and last LBA in decimal, and name, each with a line feed.
	Digest   string `json:"digest"`
	Verified bool   `json:"verified"`
}

// ExitInput says how the firmware handed over (PCR 5). Known: it measured that.
type ExitInput struct {
	Known     bool `json:"known"`
	Invoked   bool `json:"invoked"`
	Succeeded bool `json:"succeeded"`
	Failed    bool `json:"failed"`
}

// IMAInput is the IMA measurement list's part of an appraisal.
type IMAInput struct {
	Given      bool `json:"given"`
	Replayed   bool `json:"replayed"`
	Entries    int  `json:"entries"`
	Violations int  `json:"violations"`
	Ahead      int  `json:"ahead"` // entries after those that the quote covers
	// BootAggregate: verified, unknown (its PCRs are not quoted), mismatch, absent;
	// empty where it was not compared.
	BootAggregate string `json:"boot_aggregate"`
	// JudgedBy names the release's allow-list and keys that the files were judged
	// by. Empty: they were not, and Unknown says nothing.
	JudgedBy string `json:"judged_by"`
	Unknown  int    `json:"unknown"` // entries of this boot that nothing vouches for
	// UnknownFiles are the first of them.
	UnknownFiles []UnknownFile `json:"unknown_files"`
}

// UnknownFile is a measured file that nothing vouches for.
type UnknownFile struct {
	Name   string `json:"name"`
	Digest string `json:"digest"` // algorithm:hexadecimal
	Reason string `json:"reason"` // not_allowed, bad_signature, violation
}

// ClockInput is the TPM's account of time (TPMS_CLOCK_INFO, TPM 2.0 Library
// part 2, section 10.11.1).
type ClockInput struct {
	ResetCount   uint32 `json:"reset_count"`
	RestartCount uint32 `json:"restart_count"`
	Clock        uint64 `json:"clock"` // milliseconds; zero if not known
	Safe         bool   `json:"safe"`
}

func (a AttestationInput) normal() AttestationInput {
	a.PCRs = filled(a.PCRs)
	a.Problems, a.Warnings = list(a.Problems), list(a.Warnings)
	a.EventLog.UnexplainedPCRs = list(a.EventLog.UnexplainedPCRs)
	a.Boot = a.Boot.normal()
	s := &a.SecureBoot
	s.PK, s.KEK, s.DB, s.DBX, s.Cut = list(s.PK), list(s.KEK), list(s.DB), list(s.DBX), list(s.Cut)
	a.IMA.UnknownFiles = list(a.IMA.UnknownFiles)
	return a
}

func (b BootInput) normal() BootInput {
	b.Complete, b.Cut = list(b.Complete), list(b.Cut)
	b.BootLoaders, b.OptionROMs, b.CommandLines = list(b.BootLoaders), list(b.OptionROMs), list(b.CommandLines)
	b.Authorities, b.Shim, b.Sections = list(b.Authorities), list(b.Shim), list(b.Sections)
	b.Files, b.Initrds, b.Configuration, b.Other = list(b.Files), list(b.Initrds), list(b.Configuration), list(b.Other)
	variables := make([]BootVariable, len(b.Variables))
	for i, v := range b.Variables {
		v.Order = list(v.Order)
		variables[i] = v
	}
	b.Variables = variables
	return b
}

// list makes one that is not there an empty one, so that JSON has no null.
func list[E any](l []E) []E {
	if l == nil {
		return []E{}
	}
	return l
}
