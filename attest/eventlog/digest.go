package eventlog

import (
	"bytes"
	"encoding/binary"
)

// Recomputed says whether the event's digests are the hash of its data, or of
// the part of it that the profile or the well-known writers of that event type
// hash, in every one of banks. A digest that is not recomputed is only claimed
// to belong to the data beside it. It is false when banks is empty.
func (e Event) Recomputed(banks []string) bool {
	if len(banks) == 0 {
		return false
	}
	// What is hashed most often comes first, and costs no list.
	switch e.Type {
	case IPL:
		return e.iplRecomputed(banks)
	case Separator, SCRTMVersion, EFIVariableDriverConfig, EFIGPTEvent, EFIGPTEvent2, OmitBootDevice, PostCode, EFISPDMDevicePolicy,
		EFISPDMDeviceAuthority, Action, EFIAction, EFIVariableAuthority:
		if e.isDigestOf(e.Data, banks) {
			return true
		}
	}
	for _, preimage := range preimages(e) {
		if e.isDigestOf(preimage, banks) {
			return true
		}
	}
	return false
}

func (e Event) isDigestOf(data []byte, banks []string) bool {
	for _, bank := range banks {
		var buffer [64]byte
		digest := e.Digests.In(bank)
		if len(digest) == 0 || !bytes.Equal(digest, sum(buffer[:0], bank, data)) {
			return false
		}
	}
	return len(banks) > 0
}

// mustRecompute lists the types whose digest the profile defines as the hash of
// the event data (PFP table "Events") and firmware is known to keep to it, so
// that a difference is a finding.
func mustRecompute(t EventType) bool {
	switch t {
	case Separator, Action, EFIAction, EFIVariableDriverConfig, EFIVariableAuthority,
		EFIVariableBoot, EFIVariableBoot2, EFIGPTEvent, EFISPDMDevicePolicy, EFISPDMDeviceAuthority:
		return true
	}
	return false
}

// preimages lists what an event's digest may be the hash of, besides what
// Recomputed tries first.
func preimages(e Event) [][]byte {
	switch e.Type {
	case Separator, SCRTMVersion, EFIVariableDriverConfig, EFIGPTEvent, EFIGPTEvent2, OmitBootDevice, PostCode, EFISPDMDevicePolicy, EFISPDMDeviceAuthority:
		return nil // the data itself
	case Action, EFIAction:
		return [][]byte{bytes.TrimRight(e.Data, "\x00")}
	case EFIVariableAuthority:
		return authorityPreimages(e.Data)
	case EFIVariableBoot, EFIVariableBoot2:
		// EDK II hashes the variable's contents, and logs the whole structure.
		if v, _, err := parseVariable(e.Data); err == nil {
			return [][]byte{v.Data, e.Data}
		}
	case EventTag:
		if _, tagged, ok := taggedEvent(e.Data); ok {
			return [][]byte{e.Data, tagged, bytes.TrimRight(tagged, "\x00")}
		}
	default:
		return nil
	}
	return [][]byte{e.Data}
}

// authorityPreimages allows for shim before 15.3, which logs a few bytes more
// than the structure that it hashes, or one more than it should have.
func authorityPreimages(data []byte) [][]byte {
	if _, trailing, err := parseVariable(data); err == nil && trailing > 0 {
		return [][]byte{data[:len(data)-1], data[:len(data)-trailing]}
	}
	return nil
}

// iplRecomputed knows systemd-stub, which hashes the whole text, and GRUB, which
// logs a label with the text and a NUL and hashes the text alone; GRUB of RHEL 8
// hashes the NUL of a command too.
func (e Event) iplRecomputed(banks []string) bool {
	text := bytes.TrimRight(e.Data, "\x00")
	if _, rest, ok := grubText(text); ok { // the most frequent first
		at := len(text) - len(rest)
		if e.isDigestOf(rest, banks) || e.isDigestOf(e.Data[at:], banks) {
			return true
		}
	}
	return e.isDigestOf(e.Data, banks) || e.isDigestOf(text, banks)
}

// grubText splits what GRUB logs: "label: text", or "grub_cmd text" and
// "grub_kernel_cmdline text" before GRUB 2.04 had measurements of its own.
func grubText[T string | []byte](logged T) (label, rest T, ok bool) {
	for _, old := range [...]string{"grub_cmd ", "grub_kernel_cmdline "} {
		if len(logged) >= len(old) && string(logged[:len(old)]) == old {
			return logged[:len(old)-1], logged[len(old):], true
		}
	}
	for at := 0; at+1 < len(logged); at++ {
		if logged[at] == ':' && logged[at+1] == ' ' {
			return logged[:at], logged[at+2:], true
		}
	}
	return logged, rest, false
}

// isKernelCommandLine says whether it is the label that GRUB gives one.
func isKernelCommandLine(label string) bool {
	return label == "kernel_cmdline" || label == "grub_kernel_cmdline"
}

// taggedEvent reads a TCG_PCClientTaggedEvent (PFP section 10.4.2.1): its id and
// its data, which must fill the event.
func taggedEvent(data []byte) (id uint32, tagged []byte, ok bool) {
	if len(data) < 8 {
		return 0, nil, false
	}
	id = binary.LittleEndian.Uint32(data)
	if uint64(binary.LittleEndian.Uint32(data[4:])) != uint64(len(data)-8) {
		return 0, nil, false
	}
	return id, data[8:], true
}
