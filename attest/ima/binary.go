package ima

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// reader walks little-endian bytes; its first error sticks.
type reader struct {
	b   []byte
	err error
}

func (r *reader) take(n uint32) []byte {
	if r.err != nil {
		return nil
	}
	if uint64(n) > uint64(len(r.b)) {
		r.err = errShort
		return nil
	}
	out := r.b[:n:n]
	r.b = r.b[n:]
	return out
}

func (r *reader) u32() uint32 {
	if b := r.take(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (r *reader) field() []byte {
	n := r.u32()
	if r.err == nil && n > maxField {
		r.err = fmt.Errorf("field of %d bytes", n)
	}
	return r.take(n)
}

// parseBinary reads binary_runtime_measurements, at most n entries. The list of the default file
// records SHA-1 template hashes; the lists by algorithm of newer kernels record
// longer ones. The first entry, boot_aggregate, tells which.
func parseBinary(list []byte, n int) (List, error) {
	var firstErr error
	for _, form := range []struct {
		size uint32
		form Form
	}{{20, FormBinarySHA1}, {32, FormBinarySHA256}, {48, FormBinarySHA384}, {64, FormBinarySHA512}} {
		if _, err := parseBinaryEntry(&reader{b: list}, form.size); err != nil {
			if firstErr == nil {
				firstErr = err
			}
			continue
		}
		l := List{Form: form.form}
		err := l.parseBinary(list, form.size, n)
		return l, err
	}
	return List{}, firstErr
}

func (l *List) parseBinary(list []byte, hashSize uint32, n int) error {
	r := &reader{b: list}
	for len(r.b) > 0 && len(l.Entries) < n {
		if len(l.Entries) >= MaxEntries {
			return errTooMany
		}
		e, err := parseBinaryEntry(r, hashSize)
		if err != nil {
			return err
		}
		e.end = len(list) - len(r.b)
		l.Entries = append(l.Entries, e)
	}
	return nil
}

func parseBinaryEntry(r *reader, hashSize uint32) (Entry, error) {
	pcr := r.u32()
	recorded := r.take(hashSize)
	nameSize := r.u32()
	if r.err == nil && (nameSize == 0 || nameSize > maxName) {
		return Entry{}, fmt.Errorf("template name of %d bytes", nameSize)
	}
	template := r.take(nameSize)
	if r.err != nil {
		return Entry{}, r.err
	}
	if pcr != PCR {
		return Entry{}, fmt.Errorf("PCR %d, not %d", pcr, PCR)
	}
	e := Entry{Template: interned(template), Violation: isZero(recorded)}
	if e.Template == "ima" {
		// No length before the data, none before the digest, and the name
		// without its NUL.
		digest := r.take(20)
		name := r.field()
		if r.err == nil && (len(name) >= eventNameSize || bytes.IndexByte(name, 0) >= 0) {
			return Entry{}, fmt.Errorf("legacy file name of %d bytes", len(name))
		}
		e.Algorithm, e.Digest, e.Name = "sha1", digest, string(name)
		e.data = legacyData(digest, name)
	} else {
		e.data = r.field()
	}
	if r.err != nil {
		return Entry{}, r.err
	}
	if !e.Violation && !e.holds(recorded) {
		return Entry{}, errTemplate
	}
	if e.Template != "ima" {
		if err := e.readFields(); err != nil {
			return Entry{}, err
		}
	}
	return e, nil
}
