package ima

import (
	"bytes"
	"crypto"
	"crypto/sha1" // IMA's own list uses SHA-1
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
)

// Limits on a list, beyond which Parse refuses it.
const (
	MaxSize    = 64 << 20 // bytes of the whole list
	MaxEntries = 1 << 19
	maxField   = 1 << 16 // bytes of one template field; names are at most 4096
	maxName    = 31      // bytes of a template name
)

// PCR is the one that IMA extends unless the kernel was built otherwise.
const PCR = 10

// Entry is one measurement.
type Entry struct {
	Template string // "ima", "ima-ng", "ima-sig", …
	// Algorithm and Digest are the file's digest as measured, for example
	// "sha256". Both are empty where the template is not one that is read for
	// facts; a violation has no meaningful digest.
	Algorithm string
	Digest    []byte
	// Name is the file's path, or what the kernel calls the thing: hostile text.
	Name string
	// Signature is the security.ima attribute in ima-sig and ima-modsig, the EVM
	// portable signature in evm-sig, or the buffer in ima-buf; it is not checked
	// here (see Keyring).
	Signature []byte
	// ModSignature is the signature appended to the file, in ima-modsig.
	ModSignature []byte
	// Inode is what evm-sig records; nil otherwise.
	Inode *Inode
	// Violation is true where the kernel could not vouch for the measurement.
	Violation bool

	data []byte // what the template hash is computed over
}

// List is a parsed measurement list whose template hashes all hold.
type List struct {
	Entries []Entry
}

// Parse reads a whole list in either form, told apart by its first byte.
// It refuses entries for PCRs other than PCR, template hashes that do not match,
// truncation and trailing bytes. An empty list is a list without entries.
func Parse(list []byte) (*List, error) {
	if len(list) > MaxSize {
		return nil, fmt.Errorf("parse IMA list: %d bytes, more than %d", len(list), MaxSize)
	}
	parse := parseBinary
	if len(list) > 0 && (list[0] == ' ' || (list[0] >= '0' && list[0] <= '9')) {
		parse = parseASCII
	}
	entries, err := parse(list)
	if err != nil {
		return nil, fmt.Errorf("parse IMA list: entry %d: %w", len(entries), err)
	}
	return &List{Entries: entries}, nil
}

var (
	errShort    = errors.New("truncated")
	errTooMany  = fmt.Errorf("more than %d entries", MaxEntries)
	errTemplate = errors.New("template hash does not match the entry")
)

// holds says whether recorded is the template hash of the entry, in the
// algorithm that its length tells: the hash itself, or, in the list of a bank
// whose algorithm the kernel lacked, SHA-1 padded with zeros.
func (e *Entry) holds(recorded []byte) bool {
	h := hashOfSize(len(recorded))
	if h == 0 {
		return false
	}
	var buffer [64]byte
	if bytes.Equal(e.templateHash(buffer[:0], h), recorded) {
		return true
	}
	return h != crypto.SHA1 && bytes.Equal(e.paddedSHA1(buffer[:0], len(recorded)), recorded)
}

// templateHash appends to dst, as paddedSHA1 does: thousands of entries are hashed
// for each appraisal, into the same few bytes.
func (e *Entry) templateHash(dst []byte, h crypto.Hash) []byte {
	switch h {
	case crypto.SHA1:
		d := sha1.Sum(e.data)
		return append(dst, d[:]...)
	case crypto.SHA256:
		d := sha256.Sum256(e.data)
		return append(dst, d[:]...)
	case crypto.SHA384:
		d := sha512.Sum384(e.data)
		return append(dst, d[:]...)
	}
	d := sha512.Sum512(e.data)
	return append(dst, d[:]...)
}

func (e *Entry) paddedSHA1(dst []byte, size int) []byte {
	dst = e.templateHash(dst, crypto.SHA1)
	return append(dst, make([]byte, size-crypto.SHA1.Size())...)
}

func hashOfSize(size int) crypto.Hash {
	for _, h := range []crypto.Hash{crypto.SHA1, crypto.SHA256, crypto.SHA384, crypto.SHA512} {
		if h.Size() == size {
			return h
		}
	}
	return 0
}

func hashOfBank(bank string) (crypto.Hash, bool) {
	switch bank {
	case "sha1":
		return crypto.SHA1, true
	case "sha256":
		return crypto.SHA256, true
	case "sha384":
		return crypto.SHA384, true
	case "sha512":
		return crypto.SHA512, true
	}
	return 0, false
}

func isZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
