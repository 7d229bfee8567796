package ima

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
)

// field is a template field's form (Linux Documentation/security/IMA-templates.rst;
// security/integrity/ima/ima_template_lib.c): how text and bytes correspond.
type field int

const (
	fieldDigest field = iota // algorithm, ":", NUL, digest; text "algorithm:hex"
	fieldText                // NUL-terminated; text without the NUL
	fieldHex                 // any bytes; text in hex
	fieldUint32              // little-endian; text decimal
	fieldUint16
)

// templateFields lists the fields of the templates that are read for facts: the
// file's digest, its name, and what follows; nil for others.
func templateFields(template string) []field {
	switch template {
	case "ima-ng", "ima-ngv2":
		return []field{fieldDigest, fieldText}
	case "ima-sig", "ima-sigv2", "ima-buf":
		return []field{fieldDigest, fieldText, fieldHex}
	case "ima-modsig": // the signature appended to the file, and what it signs
		return []field{fieldDigest, fieldText, fieldHex, fieldDigest, fieldHex}
	case "evm-sig": // names, lengths and values of attributes; owner, group, mode
		return []field{fieldDigest, fieldText, fieldHex, fieldText, fieldHex, fieldHex, fieldUint32, fieldUint32, fieldUint16}
	}
	return nil
}

// fromText rebuilds a field's bytes. The kernel writes nothing for an empty one.
func (f field) fromText(text []byte) ([]byte, error) {
	if len(text) == 0 {
		return nil, nil
	}
	switch f {
	case fieldDigest:
		colon := bytes.LastIndexByte(text, ':')
		if colon < 1 {
			return nil, errors.New("malformed file digest")
		}
		digest, err := decodeHex(text[colon+1:])
		if err != nil {
			return nil, errors.New("malformed file digest")
		}
		out := make([]byte, 0, colon+2+len(digest))
		return append(append(append(out, text[:colon+1]...), 0), digest...), nil
	case fieldText:
		return append(append(make([]byte, 0, len(text)+1), text...), 0), nil
	case fieldHex:
		return decodeHex(text)
	}
	return f.fromDecimal(string(text))
}

func (f field) fromDecimal(text string) ([]byte, error) {
	bits := 32
	if f == fieldUint16 {
		bits = 16
	}
	n, err := strconv.ParseUint(text, 10, bits)
	if err != nil || strconv.FormatUint(n, 10) != text {
		return nil, errors.New("malformed number")
	}
	return binary.LittleEndian.AppendUint64(nil, n)[:bits/8], nil
}

// splitFields cuts an entry's text into its fields. Only the name, the second,
// may hold spaces: old kernels wrote them as they are.
func splitFields(text []byte, count int) ([][]byte, error) {
	out := make([][]byte, count)
	var ok bool
	if out[0], text, ok = bytes.Cut(text, []byte{' '}); !ok {
		return nil, errors.New("no file name")
	}
	for i := count - 1; i > 1; i-- {
		at := bytes.LastIndexByte(text, ' ')
		if at < 0 {
			return nil, fmt.Errorf("%d fields are missing", i-1)
		}
		out[i], text = text[at+1:], text[:at]
	}
	out[1] = text
	return out, nil
}

// Inode is what template "evm-sig" records besides: what an EVM portable
// signature covers.
type Inode struct {
	UID, GID uint32
	Mode     uint16
	// Xattrs holds the names of extended attributes, separated by "|";
	// XattrLengths their lengths as 32-bit little-endian numbers.
	Xattrs                    string
	XattrLengths, XattrValues []byte
}

// readFields takes facts from the data of a template with known fields.
func (e *Entry) readFields() error {
	kinds := templateFields(e.Template)
	if kinds == nil {
		return nil
	}
	r := &reader{b: e.data}
	fields := make([][]byte, len(kinds))
	for i := range kinds {
		fields[i] = r.field()
	}
	if r.err != nil || len(r.b) > 0 {
		return errors.New("template data does not have the template's fields")
	}
	if err := e.setDigest(fields[0]); err != nil {
		return err
	}
	name := fields[1]
	if len(name) == 0 || bytes.IndexByte(name, 0) != len(name)-1 {
		return errors.New("file name is not one NUL-terminated text")
	}
	e.Name = string(name[:len(name)-1])
	if len(fields) > 2 {
		e.Signature = fields[2]
	}
	switch e.Template {
	case "ima-modsig":
		e.ModSignature = fields[4]
	case "evm-sig":
		return e.setInode(fields[3:])
	}
	return nil
}

// setInode reads the fields after the signature; all are empty for a file that
// the kernel could not read them of.
func (e *Entry) setInode(fields [][]byte) error {
	for i, size := range []int{4, 4, 2} {
		if n := len(fields[3+i]); n != size && n != 0 {
			return errors.New("owner, group or mode has a wrong size")
		}
	}
	if len(fields[3]) == 0 || len(fields[4]) == 0 || len(fields[5]) == 0 {
		return nil
	}
	e.Inode = &Inode{
		UID: binary.LittleEndian.Uint32(fields[3]), GID: binary.LittleEndian.Uint32(fields[4]), Mode: binary.LittleEndian.Uint16(fields[5]),
		Xattrs: string(bytes.TrimRight(fields[0], "\x00")), XattrLengths: fields[1], XattrValues: fields[2],
	}
	return nil
}

// decodeHex accepts lower case only: one entry, one text.
func decodeHex(text []byte) ([]byte, error) {
	for _, c := range text {
		if c >= 'A' && c <= 'F' {
			return nil, errors.New("upper-case hex")
		}
	}
	out := make([]byte, hex.DecodedLen(len(text)))
	_, err := hex.Decode(out, text)
	return out, err
}
