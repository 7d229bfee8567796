package ima

import (
	"bytes"
	"crypto"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
)

// parseASCII reads ascii_runtime_measurements, at most n entries.
func parseASCII(list []byte, n int) (List, error) {
	l := List{Form: FormASCII}
	// Else the last entry of a list that this one continues would not end there.
	if !beginsEntry(list) {
		return l, errNoEntry
	}
	// A line has 80 bytes at least, so that this is a small multiple of the list.
	l.Entries = make([]Entry, 0, min(n, MaxEntries, len(list)/80+1, bytes.Count(list, []byte{'\n'})+1))
	// What may be read again to find where names with newlines end, so that the
	// whole parse stays linear in the list's size.
	size, budget := len(list), len(list)+1<<16
	a := arena{chunk: min(len(list), 64<<10)}
	for len(list) > 0 && len(l.Entries) < n {
		if len(l.Entries) >= MaxEntries {
			return l, errTooMany
		}
		e, rest, err := parseASCIIEntry(list, &budget, &a)
		if err != nil {
			return l, err
		}
		e.end = size - len(rest)
		l.Entries = append(l.Entries, e)
		list = rest
	}
	return l, nil
}

// parseASCIIEntry reads up to a newline after which another entry begins, or
// the end. A name may contain newlines but no spaces, so it cannot hold what
// looks like the beginning of an entry; should it do so all the same, the entry
// is the shortest one whose template hash holds.
func parseASCIIEntry(list []byte, budget *int, a *arena) (Entry, []byte, error) {
	var firstErr error
	for end := 0; end < len(list) && *budget >= 0; {
		line, next := list, len(list) // the last line may lack its newline
		if i := entryEnd(list[end:]); i >= 0 {
			line, next = list[:end+i], end+i+1
		}
		e, err := parseLine(line, a)
		if err == nil {
			return e, list[next:], nil
		}
		if firstErr == nil {
			firstErr = err
		}
		end = next
		*budget -= end
	}
	return Entry{}, nil, firstErr
}

// entryEnd finds the newline that ends an entry; -1 where there is none.
func entryEnd(list []byte) int {
	for at := 0; ; {
		i := bytes.IndexByte(list[at:], '\n')
		if i < 0 {
			return -1
		}
		at += i + 1
		if at == len(list) || beginsEntry(list[at:]) {
			return at - 1
		}
	}
}

// beginsEntry recognises a PCR, a template hash and the spaces after them.
func beginsEntry(list []byte) bool {
	if len(list) < 4 || list[2] != ' ' { // the PCR takes two columns
		return false
	}
	hash := list[3:]
	i := 0
	for i < len(hash) && hexDigits[hash[i]] <= 0xf {
		i++
	}
	return i >= 40 && i < len(hash) && hash[i] == ' '
}

// parseLine reads "PCR template-hash template-name fields…".
func parseLine(line []byte, a *arena) (Entry, error) {
	pcr, line, _ := bytes.Cut(bytes.TrimLeft(line, " "), []byte{' '})
	hash, line, _ := bytes.Cut(line, []byte{' '})
	template, rest, whole := bytes.Cut(line, []byte{' '})
	if !whole {
		return Entry{}, errShort
	}
	if n, err := strconv.ParseUint(string(pcr), 10, 8); err != nil || n != PCR {
		return Entry{}, fmt.Errorf("PCR %.8q, not %d", pcr, PCR)
	}
	if len(hash) > 2*crypto.SHA512.Size() {
		return Entry{}, errors.New("malformed template hash")
	}
	var buffer [64]byte
	recorded, err := appendHex(buffer[:0], hash)
	if err != nil || hashOfSize(len(recorded)) == 0 {
		return Entry{}, errors.New("malformed template hash")
	}
	e := Entry{Template: interned(template), Violation: isZero(recorded)}
	if e.Template == "ima" {
		err = e.legacyLine(rest)
	} else {
		err = e.fieldsLine(rest, a)
	}
	if err != nil {
		return Entry{}, err
	}
	if !e.Violation && !e.holds(recorded) {
		return Entry{}, errTemplate
	}
	return e, nil
}

func (e *Entry) legacyLine(rest []byte) error {
	hexDigest, name, ok := bytes.Cut(rest, []byte{' '})
	digest, err := appendHex(nil, hexDigest)
	if !ok || err != nil || len(digest) != 20 || len(name) >= eventNameSize || bytes.IndexByte(name, 0) >= 0 {
		return errors.New("malformed legacy entry")
	}
	e.Algorithm, e.Digest, e.Name = "sha1", digest, string(name)
	e.data = legacyData(digest, name)
	return nil
}

// fieldsLine rebuilds the template data that the kernel hashed from its text: each
// field after its length (little-endian, as all of today's Linux on TPM machines
// is).
func (e *Entry) fieldsLine(rest []byte, a *arena) error {
	kinds := templateFields(e.Template)
	if kinds == "" {
		return fmt.Errorf("template %.32q cannot be rebuilt from text", e.Template)
	}
	fields, err := splitFields(rest, len(kinds))
	if err != nil {
		return err
	}
	// No field has more bytes than its text, but for a NUL, or a number's four.
	data := a.room(len(rest) + 8*len(kinds))
	for i := range len(kinds) {
		at := len(data)
		data = append(data, 0, 0, 0, 0)
		if i == 1 { // a name has its NUL also where it is empty
			data = append(append(data, fields[i]...), 0)
		} else if data, err = field(kinds[i]).fromText(data, fields[i]); err != nil {
			return err
		}
		binary.LittleEndian.PutUint32(data[at:], uint32(len(data)-at-4))
	}
	e.data = a.use(data)
	return e.readFields()
}

// arena gives entries their bytes from chunks, which is one allocation for many.
type arena struct {
	chunk int
	free  []byte // its capacity is what is left
}

// room is an empty slice for n bytes, which is the arena's until it is used.
func (a *arena) room(n int) []byte {
	if cap(a.free) < n {
		a.free = make([]byte, 0, max(n, a.chunk))
	}
	return a.free[:0]
}

// use takes what was written into the last room.
func (a *arena) use(b []byte) []byte {
	a.free = b[len(b):]
	return b[:len(b):len(b)]
}
