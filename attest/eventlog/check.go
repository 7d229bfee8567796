package eventlog

import (
	"bytes"
	"fmt"
)

// Kind classifies a Finding.
type Kind string

// Kinds of finding.
const (
	// DigestMismatch: the profile says that the digest is the hash of the data,
	// and it is not.
	DigestMismatch Kind = "digest_mismatch"
	// BadSeparator: PCR 0 to 7 does not have exactly one separator, or its
	// value is neither of the two allowed ones.
	BadSeparator Kind = "bad_separator"
	// Malformed: the data of a recomputed event does not parse.
	Malformed Kind = "malformed"
	// Repeated: a Secure Boot variable was measured twice or after the separator.
	Repeated Kind = "repeated"
	// Unverified: the digest of the S-CRTM version is not the hash of its data,
	// as the profile wants it. Firmware with a measured S-CRTM of its own does
	// this; the text is then no more than claimed.
	Unverified Kind = "unverified"
	// OutOfPlace: an event type that the profile does not know or does not
	// allow in that PCR. Real firmware does this.
	OutOfPlace Kind = "out_of_place"
)

// Finding is one departure of the log from the profile.
type Finding struct {
	Kind     Kind
	PCR      int
	Sequence int // of the event; -1 where something is missing
	Message  string
}

// Coverage says which PCRs count, by index, and for each in which banks. What a
// quote covers and the log replays to is authenticated; nothing else is.
type Coverage [MaxPCR + 1][]string

// All covers every PCR in every bank of the log, quoted or not.
func (l *Log) All() Coverage {
	var c Coverage
	for pcr := range c {
		c[pcr] = l.Banks
	}
	return c
}

// Check applies the rules of the profile to the events of the covered PCRs, with
// digests recomputed in their covered banks.
func (l *Log) Check(covered Coverage) []Finding {
	return l.check(&covered)
}

func (l *Log) check(covered *Coverage) []Finding {
	c := checker{covered: covered, variables: map[variableName]bool{}}
	for i := range l.Events {
		if e := &l.Events[i]; e.Type != NoAction && len(covered[e.PCR]) > 0 {
			c.event(*e)
		}
	}
	for pcr := 0; pcr <= 7; pcr++ {
		if c.measured[pcr] && c.separators[pcr] == 0 {
			c.add(BadSeparator, Event{PCR: pcr, Sequence: -1}, "PCR %d has no separator", pcr)
		}
	}
	return c.findings
}

type checker struct {
	covered    *Coverage
	measured   [MaxPCR + 1]bool
	separators [MaxPCR + 1]int
	variables  map[variableName]bool
	findings   []Finding
}

type variableName struct{ guid, name string }

func (c *checker) add(k Kind, e Event, format string, args ...any) {
	c.findings = append(c.findings, Finding{Kind: k, PCR: e.PCR, Sequence: e.Sequence, Message: fmt.Sprintf(format, args...)})
}

func (c *checker) event(e Event) {
	c.measured[e.PCR] = true
	if e.Type == Separator {
		c.separators[e.PCR]++
	}
	if !allowedIn(e.PCR, e.Type) {
		c.add(OutOfPlace, e, "event %d: %s does not belong in PCR %d", e.Sequence, e.Type, e.PCR)
	}
	if mustRecompute(e.Type) && !e.Recomputed(c.covered[e.PCR]) {
		c.add(DigestMismatch, e, "event %d: the digest of %s in PCR %d is not the hash of its data", e.Sequence, e.Type, e.PCR)
		return
	}
	if e.Type == SCRTMVersion && !e.Recomputed(c.covered[e.PCR]) {
		c.add(Unverified, e, "event %d: the digest of the S-CRTM version is not the hash of its data", e.Sequence)
	}
	switch {
	case e.Type == Separator:
		c.separator(e)
	case e.PCR == 7:
		c.pcr7(e)
	case (e.Type == Action || e.Type == EFIAction) && !isText(e.Data):
		c.add(Malformed, e, "event %d: %s in PCR %d is not text", e.Sequence, e.Type, e.PCR)
	}
}

// separator holds that a second separator, or one with another value, would
// let later software pose as firmware (PFP section 10.4.1, EV_SEPARATOR).
func (c *checker) separator(e Event) {
	if e.PCR > 7 {
		return
	}
	if !isSeparator(e.Data) {
		c.add(BadSeparator, e, "event %d: the separator of PCR %d has a value that is not allowed", e.Sequence, e.PCR)
	}
	if c.separators[e.PCR] > 1 {
		c.add(BadSeparator, e, "event %d: PCR %d has more than one separator", e.Sequence, e.PCR)
	}
}

func isSeparator(data []byte) bool {
	return bytes.Equal(data, []byte{0, 0, 0, 0}) || bytes.Equal(data, []byte{0xff, 0xff, 0xff, 0xff})
}

// pcr7 holds what Secure Boot facts rest on: the configuration is measured once,
// before the separator, and everything is parseable. Types are the log's own
// word, so that none of them may hide a variable among another's.
func (c *checker) pcr7(e Event) {
	switch e.Type {
	case EFIVariableDriverConfig:
		c.configuration(e)
	case EFIVariableAuthority:
		// shim before 15.3 logs some bytes more than the variable.
		v, _, err := parseVariable(e.Data)
		if err != nil {
			c.add(Malformed, e, "event %d: authority in PCR 7 is malformed", e.Sequence)
			return
		}
		// Firmware measures db itself before anything that db vouches for.
		if isSecureBootVariable(v) && (v.Name != "db" || !c.variables[variableName{v.GUID, v.Name}]) {
			c.add(OutOfPlace, e, "event %d: %q is no authority here", e.Sequence, v.Name)
		}
	case EFISPDMDevicePolicy, EFISPDMDeviceAuthority:
		if v, _, err := parseVariable(e.Data); err != nil || v.Name != "devdb" {
			c.add(OutOfPlace, e, "event %d: %s is of no device database", e.Sequence, e.Type)
		}
	case Action, EFIAction:
		if !isText(e.Data) {
			c.add(Malformed, e, "event %d: %s in PCR 7 is not text", e.Sequence, e.Type)
		}
	}
}

func (c *checker) configuration(e Event) {
	v, trailing, err := parseVariable(e.Data)
	if err != nil || trailing != 0 {
		c.add(Malformed, e, "event %d: variable in PCR 7 is malformed", e.Sequence)
		return
	}
	key := variableName{v.GUID, v.Name}
	switch {
	case isSecureBootVariable(v) && (c.variables[key] || c.separators[7] > 0):
		c.add(Repeated, e, "event %d: variable %q is measured again or after the separator", e.Sequence, v.Name)
	case c.separators[7] > 0:
		c.add(OutOfPlace, e, "event %d: variable %q is measured as configuration after the separator", e.Sequence, v.Name)
	}
	c.variables[key] = true
}

// isText accepts printable ASCII: a relabelled separator or variable is not.
func isText(data []byte) bool {
	data = bytes.TrimRight(data, "\x00")
	if len(data) == 0 {
		return false
	}
	for _, c := range data {
		if c < 0x20 || c > 0x7e {
			return false
		}
	}
	return true
}
