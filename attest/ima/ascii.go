package ima

import (
	"bytes"
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
	// What may be read again to find where names with newlines end, so that the
	// whole parse stays linear in the list's size.
	size, budget := len(list), len(list)+1<<16
	for len(list) > 0 && len(l.Entries) < n {
		if len(l.Entries) >= MaxEntries {
			return l, errTooMany
		}
		e, rest, err := parseASCIIEntry(list, &budget)
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
func parseASCIIEntry(list []byte, budget *int) (Entry, []byte, error) {
	var firstErr error
	for end := 0; end < len(list) && *budget >= 0; {
		line, next := list, len(list) // the last line may lack its newline
		if i := entryEnd(list[end:]); i >= 0 {
			line, next = list[:end+i], end+i+1
		}
		e, err := parseLine(line)
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
	for i < len(hash) && (hash[i] >= '0' && hash[i] <= '9' || hash[i] >= 'a' && hash[i] <= 'f') {
		i++
	}
	return i >= 40 && i < len(hash) && hash[i] == ' '
}

// parseLine reads "PCR template-hash template-name fields…".
func parseLine(line []byte) (Entry, error) {
	parts := bytes.SplitN(bytes.TrimLeft(line, " "), []byte{' '}, 4)
	if len(parts) < 4 {
		return Entry{}, errShort
	}
	pcr, err := strconv.ParseUint(string(parts[0]), 10, 8)
	if err != nil || pcr != PCR {
		return Entry{}, fmt.Errorf("PCR %.8q, not %d", parts[0], PCR)
	}
	recorded, err := decodeHex(parts[1])
	if err != nil || hashOfSize(len(recorded)) == 0 {
		return Entry{}, errors.New("malformed template hash")
	}
	e := Entry{Template: string(parts[2]), Violation: isZero(recorded)}
	if e.Template == "ima" {
		err = e.legacyLine(parts[3])
	} else {
		err = e.fieldsLine(parts[3])
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
	digest, err := decodeHex(hexDigest)
	if !ok || err != nil || len(digest) != 20 || len(name) >= eventNameSize || bytes.IndexByte(name, 0) >= 0 {
		return errors.New("malformed legacy entry")
	}
	e.Algorithm, e.Digest, e.Name = "sha1", digest, string(name)
	e.data = legacyData(digest, name)
	return nil
}

// fieldsLine rebuilds the template data that the kernel hashed from its text.
func (e *Entry) fieldsLine(rest []byte) error {
	kinds := templateFields(e.Template)
	if kinds == nil {
		return fmt.Errorf("template %.32q cannot be rebuilt from text", e.Template)
	}
	fields, err := splitFields(rest, len(kinds))
	if err != nil {
		return err
	}
	for i, kind := range kinds {
		if i == 1 { // a name has its NUL also where it is empty
			fields[i] = append(bytes.Clone(fields[i]), 0)
			continue
		}
		if fields[i], err = kind.fromText(fields[i]); err != nil {
			return err
		}
	}
	e.data = fieldData(fields...)
	return e.readFields()
}
