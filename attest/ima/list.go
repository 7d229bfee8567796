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
	end  int    // of the entry in the list, in bytes
}

// List is a parsed measurement list whose template hashes all hold.
type List struct {
	Entries []Entry
	// Form of the list: lists of one form may be joined. "" for an empty one.
	Form Form
}

// Form is how a list is written: as text, or in binary with template hashes of
// some algorithm.
type Form string

// The forms.
const (
	FormASCII        Form = "ascii"
	FormBinarySHA1   Form = "binary-sha1"
	FormBinarySHA256 Form = "binary-sha256"
	FormBinarySHA384 Form = "binary-sha384"
	FormBinarySHA512 Form = "binary-sha512"
)

// Size of the first n entries in bytes, which is where the entry of index n
// begins.
func (l *List) Size(n int) int {
	if n <= 0 {
		return 0
	}
	return l.Entries[n-1].end
}

// Parse reads a whole list in either form, told apart by its first byte.
// It refuses entries for PCRs other than PCR, template hashes that do not match,
// truncation and trailing bytes. An empty list is a list without entries.
func Parse(list []byte) (*List, error) {
	l, err := parseFirst(list, len(list))
	if err != nil {
		return nil, fmt.Errorf("parse IMA list: %w", err)
	}
	return l, nil
}

// Offset is where the entry of index n begins in a list, in bytes. It reads no
// further; a list of fewer than n entries, or that does not parse up to there, is
// an error. Nothing else tells it: a name may hold what looks like an entry.
func Offset(list []byte, n int) (int, error) {
	l, err := parseFirst(list, n)
	if err != nil {
		return 0, fmt.Errorf("find entry %d of IMA list: %w", n, err)
	}
	if len(l.Entries) < n {
		return 0, fmt.Errorf("find entry %d of IMA list: it has %d", n, len(l.Entries))
	}
	return l.Size(n), nil
}

// parseFirst reads at most n entries.
func parseFirst(list []byte, n int) (*List, error) {
	if len(list) > MaxSize {
		return nil, fmt.Errorf("%d bytes, more than %d", len(list), MaxSize)
	}
	if len(list) == 0 {
		return &List{}, nil
	}
	parse := parseBinary
	if list[0] == ' ' || (list[0] >= '0' && list[0] <= '9') {
		parse = parseASCII
	}
	l, err := parse(list, n)
	if err != nil {
		return nil, fmt.Errorf("entry %d: %w", len(l.Entries), err)
	}
	return &l, nil
}

var (
	errShort    = errors.New("truncated")
	errNoEntry  = errors.New("no entry begins here")
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
func (e *Entry) templateHash(dst []byte, h crypto.Hash) []byte { return sum(dst, h, e.data) }

// sum appends a hash, without an allocation.
func sum(dst []byte, h crypto.Hash, data []byte) []byte {
	switch h {
	case crypto.SHA1:
		d := sha1.Sum(data)
		return append(dst, d[:]...)
	case crypto.SHA256:
		d := sha256.Sum256(data)
		return append(dst, d[:]...)
	case crypto.SHA384:
		d := sha512.Sum384(data)
		return append(dst, d[:]...)
	}
	d := sha512.Sum512(data)
	return append(dst, d[:]...)
}

func (e *Entry) paddedSHA1(dst []byte, size int) []byte {
	dst = e.templateHash(dst, crypto.SHA1)
	for range size - crypto.SHA1.Size() {
		dst = append(dst, 0)
	}
	return dst
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
