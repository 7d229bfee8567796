package reference

import (
	"bytes"
	"encoding/binary"
	"hash"
	"unicode/utf16"

	"troth/attest"
	"troth/attest/eventlog"
)

// Digests are the hashes of one thing, by bank: "sha256" and "sha384".
type Digests map[string]attest.Digest

// Banks are those that references are made for.
func Banks() []string { return []string{"sha256", "sha384"} }

// Hash is the digests of bytes as they are: of a file that GRUB reads, of an initrd,
// of a section.
func Hash(content []byte) Digests {
	m := newMeter()
	m.write(content)
	return m.sum()
}

// HashAll is Hash of parts one after another.
func HashAll(parts ...[]byte) Digests {
	m := newMeter()
	for _, p := range parts {
		m.write(p)
	}
	return m.sum()
}

func (d Digests) equal(other eventlog.Digests) bool {
	for _, bank := range Banks() {
		if theirs := other.In(bank); theirs != nil && bytes.Equal(d[bank], theirs) {
			return true
		}
	}
	return false
}

// meter hashes the same bytes for every bank.
type meter struct{ hashes []hash.Hash }

func newMeter() *meter {
	m := &meter{}
	for _, bank := range Banks() {
		h, _ := eventlog.HashOf(bank)
		m.hashes = append(m.hashes, h.New())
	}
	return m
}

func (m *meter) write(b []byte) {
	for _, h := range m.hashes {
		_, _ = h.Write(b)
	}
}

// zeros hashes n zero bytes.
func (m *meter) zeros(n int) {
	var page [4096]byte
	for ; n > 0; n -= len(page) {
		m.write(page[:min(n, len(page))])
	}
}

func (m *meter) sum() Digests {
	out := Digests{}
	for i, bank := range Banks() {
		out[bank] = m.hashes[i].Sum(nil)
	}
	return out
}

// extend is what a PCR holds after an extension (TPM 2.0 Library Part 1, "PCR
// Operations").
func extend(bank string, value, digest []byte) []byte {
	h, ok := eventlog.HashOf(bank)
	if !ok {
		return nil
	}
	d := h.New()
	d.Write(value)
	d.Write(digest)
	return d.Sum(nil)
}

// loadOptions is a command line as the kernel's EFI stub and systemd-boot hash it:
// UTF-16LE with its NUL.
func loadOptions(text string) []byte {
	var out []byte
	for _, unit := range utf16.Encode([]rune(text)) {
		out = binary.LittleEndian.AppendUint16(out, unit)
	}
	return append(out, 0, 0)
}
