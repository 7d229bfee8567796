package eventlog

import (
	"bytes"
	"slices"
	"strings"
	"unicode/utf8"
)

// Facts is what a log says about the boot. Verified marks a text whose digest
// was recomputed; without it the text is only claimed by whoever wrote the log.
// Digests are authenticated by the PCR they replay to; they alias the log.
type Facts struct {
	SecureBoot *SecureBoot `json:"secure_boot,omitempty"`
	// BootLoaders lists, in order, everything in PCR 4 whose digest is not the
	// hash of the event's own data: boot loaders and kernels (EFI images, by
	// their Authenticode digest), and legacy boot code. An allow-list over all
	// of them leaves no room for an image logged under another type.
	BootLoaders  []Image       `json:"boot_loaders,omitempty"`
	CommandLines []CommandLine `json:"command_lines,omitempty"`
	SCRTMVersion *Text         `json:"s_crtm_version,omitempty"`
	Boot         *BootFacts    `json:"boot,omitempty"`
}

// SecureBoot is the configuration measured into PCR 7 before its separator.
// The lists hold lower-case hex: SHA-256 of each DER certificate, and hash
// entries as they are; "unparsed:" and the SHA-256 of a variable that is no
// signature list.
type SecureBoot struct {
	Enabled bool     `json:"enabled"`
	PK      []string `json:"pk"`
	KEK     []string `json:"kek"`
	DB      []string `json:"db"`
	DBX     []string `json:"dbx"`
	// DBXEntries counts DBX, and DBXLatest is its last entry: dbx only ever grows
	// at its end, so that the two tell its version.
	DBXEntries int    `json:"dbx_entries"`
	DBXLatest  string `json:"dbx_latest,omitempty"`
	// Debug is true where the firmware measured that it was in UEFI debug mode.
	Debug bool `json:"debug,omitempty"`
}

// Image is an EFI image or boot code measured into PCR 4.
type Image struct {
	Sequence int       `json:"sequence"`
	Type     EventType `json:"type"`
	Digests  Digests   `json:"digests"`
	// Path is the file path of the image's device path, as claimed.
	Path string `json:"path,omitempty"`
	// Device is the whole device path as text, as claimed (see DevicePath).
	Device string `json:"device_path,omitempty"`
}

// CommandLine is one that the boot loader or the kernel's EFI stub measured.
// The stub logs only a label, then Text is empty and Digests is the hash of the
// UTF-16LE load options.
type CommandLine struct {
	PCR      int     `json:"pcr"`
	Sequence int     `json:"sequence"`
	Text     string  `json:"text,omitempty"`
	Digests  Digests `json:"digests"`
	Verified bool    `json:"verified"`
}

// Text is a measured text.
type Text struct {
	Text     string `json:"text"`
	Verified bool   `json:"verified"`
}

// Facts reads the whole log in all its banks. It is what the log claims; use
// FactsFrom for what a quote supports.
func (l *Log) Facts() Facts { return l.FactsFrom(l.All()) }

// FactsFrom draws facts only from events in covered PCRs, with digests only of
// the covered banks. A PCR with any finding but Unverified yields none: its event
// types cannot be relied on.
func (l *Log) FactsFrom(covered Coverage) Facts {
	_, facts := l.Examine(covered)
	return facts
}

// Examine is Check and FactsFrom in one pass.
func (l *Log) Examine(covered Coverage) ([]Finding, Facts) {
	sound := covered
	findings := l.check(&sound)
	for _, finding := range findings {
		if finding.Kind != Unverified {
			sound[finding.PCR] = nil
		}
	}
	f := Facts{}
	b := factBuilder{covered: &sound, facts: &f}
	for i := range l.Events {
		if e := &l.Events[i]; e.Type != NoAction && len(sound[e.PCR]) > 0 {
			b.event(*e)
		}
	}
	if b.secureBootSeen {
		f.SecureBoot = &b.secureBoot
	}
	b.verifyAuthorities()
	return findings, f
}

type factBuilder struct {
	covered        *Coverage
	facts          *Facts
	secureBoot     SecureBoot
	secureBootSeen bool
	sectionName    string    // of the unified kernel image, measured just before
	actions        [3][]byte // see action
}

func (b *factBuilder) event(e Event) {
	switch {
	case e.Type == SCRTMVersion && e.PCR == 0:
		b.facts.SCRTMVersion = &Text{Text: text(e.Data), Verified: b.verified(e)}
	case e.PCR == 4 && e.Type != Separator && !mustRecompute(e.Type):
		if !b.verified(e) || e.Type == EFIBootServicesApplication {
			b.facts.BootLoaders = append(b.facts.BootLoaders, b.image(e))
		}
	case e.PCR == 2:
		b.optionROM(e)
	case e.PCR == 7:
		b.pcr7(e)
	case e.PCR == 1:
		b.bootVariable(e)
	case e.PCR == 5:
		b.pcr5(e)
	case e.PCR >= 8 && e.PCR <= 15:
		b.loader(e)
	}
}

// verified says whether the event's data is what was measured, as Recomputed. What
// mustRecompute lists is: check has looked, and its PCR would yield nothing.
func (b *factBuilder) verified(e Event) bool {
	return mustRecompute(e.Type) || e.Recomputed(b.covered[e.PCR])
}

// digests are those of the covered banks. Where these stand side by side, as one
// bank or all of them do, they are a part of the event's own list.
func (b *factBuilder) digests(e Event) Digests {
	covered := b.covered[e.PCR]
	isCovered := func(d BankDigest) bool { return slices.Contains(covered, d.Bank) }
	rest := e.Digests
	for len(rest) > 0 && !isCovered(rest[0]) {
		rest = rest[1:]
	}
	for len(rest) > 0 && !isCovered(rest[len(rest)-1]) {
		rest = rest[:len(rest)-1]
	}
	if slices.ContainsFunc(rest, func(d BankDigest) bool { return !isCovered(d) }) {
		return slices.DeleteFunc(slices.Clone(rest), func(d BankDigest) bool { return !isCovered(d) })
	}
	return slices.Clip(rest)
}

func (b *factBuilder) pcr5(e Event) {
	b.exitBootServices(e)
	switch e.Type {
	case EFIGPTEvent, EFIGPTEvent2:
		b.gpt(e)
	case EFIVariableBoot, EFIVariableBoot2: // in old firmware
		b.bootVariable(e)
	case EventTag:
		b.tagged(e)
	}
}

// loadOptionsLabel is what the kernel's EFI stub logs in place of the text.
const loadOptionsLabel = "LOADED_IMAGE::LoadOptions"

// commandLine reads one, of an IPL event with its text.
func (b *factBuilder) commandLine(e Event, ipl string) {
	shown := ""
	switch e.Type {
	case EventTag:
		id, tagged, ok := taggedEvent(e.Data)
		if !ok || id != eventTagLoadOptions {
			return
		}
		if t := text(tagged); t != loadOptionsLabel {
			shown = t
		}
	case IPL:
		label, rest, labelled := grubText(ipl)
		switch {
		case labelled && e.PCR == 8 && isKernelCommandLine(label):
			shown = rest
		case e.PCR == 12 && b.verified(e): // systemd-stub: the text itself
			shown = ipl
		default:
			return
		}
	default:
		return
	}
	b.facts.CommandLines = append(b.facts.CommandLines, CommandLine{PCR: e.PCR, Sequence: e.Sequence, Text: shown,
		Digests: b.digests(e), Verified: b.verified(e)})
}

// text decodes UTF-16LE where the bytes can only be that, else UTF-8, without
// trailing NULs. It is hostile text.
func text(data []byte) string {
	if len(data) >= 2 && len(data)%2 == 0 && data[1] == 0 {
		return utf16Text(data)
	}
	s := string(bytes.TrimRight(data, "\x00"))
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\ufffd")
	}
	return s
}
