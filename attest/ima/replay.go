package ima

import (
	"bytes"
	"crypto"
	"errors"
	"fmt"
)

// ErrMismatch says that no prefix of the list leads to the quoted value.
var ErrMismatch = errors.New("the list does not replay to the PCR")

// Replayed tells how a list led to a PCR value.
type Replayed struct {
	Entries    int // from the start, that the PCR value covers
	Ahead      int // after them, that it does not cover
	Violations int // among Entries
	// PaddedSHA1 is true where the kernel had no hash of the bank's algorithm
	// when IMA started, and extended SHA-1 template hashes padded with zeros:
	// the bank then is no stronger than SHA-1.
	PaddedSHA1 bool
}

// Replay finds the prefix of the list that leads from zeros to the quoted value
// of PCR 10 in a bank ("sha1", "sha256", "sha384", "sha512"). An error wrapping
// ErrMismatch means that the list is behind, altered, or another boot's. A list
// none of whose entries the PCR covers is a mismatch too, unless it is empty.
func (l *List) Replay(bank string, pcr []byte) (Replayed, error) {
	return l.ReplayFrom(bank, nil, pcr)
}

// ReplayFrom is Replay from a known value instead of zeros, for a list that
// continues one whose replay ended there.
func (l *List) ReplayFrom(bank string, start, pcr []byte) (Replayed, error) {
	h, ok := hashOfBank(bank)
	if !ok {
		return Replayed{}, fmt.Errorf("replay IMA list: unknown bank %.16q", bank)
	}
	if start == nil {
		start = make([]byte, h.Size())
	}
	if len(pcr) != h.Size() || len(start) != h.Size() {
		return Replayed{}, fmt.Errorf("replay IMA list: a %s PCR has %d bytes", bank, h.Size())
	}
	if len(l.Entries) == 0 && bytes.Equal(start, pcr) {
		return Replayed{}, nil
	}
	if n := l.find(h, start, pcr, false); n > 0 {
		return l.replayed(n, false), nil
	}
	if h != crypto.SHA1 {
		if n := l.find(h, start, pcr, true); n > 0 {
			return l.replayed(n, true), nil
		}
	}
	return Replayed{}, fmt.Errorf("replay IMA list of %d entries in bank %s: %w", len(l.Entries), bank, ErrMismatch)
}

// find counts the entries that lead to pcr, or gives 0.
func (l *List) find(h crypto.Hash, start, pcr []byte, padded bool) int {
	var buffer [2 * 64]byte // the PCR's value, then what extends it
	size := copy(buffer[:], start)
	for i := range l.Entries {
		both := l.Entries[i].extension(buffer[:size], h, padded)
		sum(buffer[:0], h, both)
		if bytes.Equal(buffer[:size], pcr) {
			return i + 1
		}
	}
	return 0
}

// Extend appends to dst the value that PCR has in a bank after the entry, given
// its value before, which dst may overlap; padded as in Replayed.PaddedSHA1. It
// is nil for a bank that is not known.
func (e *Entry) Extend(dst []byte, bank string, value []byte, padded bool) []byte {
	h, ok := hashOfBank(bank)
	if !ok {
		return nil
	}
	d := h.New()
	d.Write(value)
	var buffer [64]byte
	d.Write(e.extension(buffer[:0], h, padded && h != crypto.SHA1))
	return d.Sum(dst)
}

// extension appends what the kernel extends for an entry.
func (e *Entry) extension(dst []byte, h crypto.Hash, padded bool) []byte {
	switch {
	case e.Violation:
		for range h.Size() {
			dst = append(dst, 0xff)
		}
		return dst
	case padded:
		return e.paddedSHA1(dst, h.Size())
	}
	return e.templateHash(dst, h)
}

func (l *List) replayed(n int, padded bool) Replayed {
	r := Replayed{Entries: n, Ahead: len(l.Entries) - n, PaddedSHA1: padded}
	for _, e := range l.Entries[:n] {
		if e.Violation {
			r.Violations++
		}
	}
	return r
}
