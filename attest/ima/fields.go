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
type field byte

const (
	fieldDigest field = 'd' // algorithm, ":", NUL, digest; text "algorithm:hex"
	fieldText   field = 't' // NUL-terminated; text without the NUL
	fieldHex    field = 'x' // any bytes; text in hex
	fieldUint32 field = '4' // little-endian; text decimal
	fieldUint16 field = '2'
)

// maxFields of the templates that are read for facts.
const maxFields = 9

// templateFields lists the fields of the templates that are read for facts, one
// byte each: the file's digest, its name, and what follows; empty for others.
func templateFields(template string) string {
	switch template {
	case "ima-ng", "ima-ngv2":
		return "dt"
	case "ima-sig", "ima-sigv2", "ima-buf":
		return "dtx"
	case "ima-modsig": // the signature appended to the file, and what it signs
		return "dtxdx"
	case "evm-sig": // names, lengths and values of attributes; owner, group, mode
		return "dtxtxx442"
	}
	return ""
}

// fromText appends a field's bytes. The kernel writes nothing for an empty one.
func (f field) fromText(dst, text []byte) ([]byte, error) {
	if len(text) == 0 {
		return dst, nil
	}
	switch f {
	case fieldDigest:
		colon := bytes.LastIndexByte(text, ':')
		if colon < 1 {
			return nil, errors.New("malformed file digest")
		}
		dst, err := appendHex(append(append(dst, text[:colon+1]...), 0), text[colon+1:])
		if err != nil {
			return nil, errors.New("malformed file digest")
		}
		return dst, nil
	case fieldText:
		return append(append(dst, text...), 0), nil
	case fieldHex:
		return appendHex(dst, text)
	}
	return f.fromDecimal(dst, string(text))
}

func (f field) fromDecimal(dst []byte, text string) ([]byte, error) {
	bits := 32
	if f == fieldUint16 {
		bits = 16
	}
	n, err := strconv.ParseUint(text, 10, bits)
	if err != nil || strconv.FormatUint(n, 10) != text {
		return nil, errors.New("malformed number")
	}
	if f == fieldUint16 {
		return binary.LittleEndian.AppendUint16(dst, uint16(n)), nil //nolint:gosec // of 16 bits, as parsed
	}
	return binary.LittleEndian.AppendUint32(dst, uint32(n)), nil //nolint:gosec // of 32 bits, as parsed
}

// splitFields cuts an entry's text into its fields. Only the name, the second,
// may hold spaces: old kernels wrote them as they are.
func splitFields(text []byte, count int) (out [maxFields][]byte, err error) {
	var ok bool
	if out[0], text, ok = bytes.Cut(text, []byte{' '}); !ok {
		return out, errors.New("no file name")
	}
	for i := count - 1; i > 1; i-- {
		at := bytes.LastIndexByte(text, ' ')
		if at < 0 {
			return out, fmt.Errorf("%d fields are missing", i-1)
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
	count := len(templateFields(e.Template))
	if count == 0 {
		return nil
	}
	r := reader{b: e.data}
	var fields [maxFields][]byte
	for i := range count {
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
	if count > 2 {
		e.Signature = fields[2]
	}
	switch e.Template {
	case "ima-modsig":
		e.ModSignature = fields[4]
	case "evm-sig":
		return e.setInode([6][]byte(fields[3:]))
	}
	return nil
}

// setInode reads the fields after the signature; all are empty for a file that
// the kernel could not read them of.
func (e *Entry) setInode(fields [6][]byte) error {
	for i, size := range [...]int{3: 4, 4: 4, 5: 2} { // 0: of any size
		if n := len(fields[i]); size > 0 && n != size && n != 0 {
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

// appendHex appends what lower-case hex stands for: one entry, one text.
func appendHex(dst, text []byte) ([]byte, error) {
	if len(text)%2 != 0 {
		return nil, hex.ErrLength
	}
	for ; len(text) >= 2; text = text[2:] {
		high, low := hexDigits[text[0]], hexDigits[text[1]]
		if high|low > 0xf {
			return nil, errors.New("not lower-case hex")
		}
		dst = append(dst, high<<4|low)
	}
	return dst, nil
}

// hexDigits gives the value of a lower-case digit, and 0xff for all else.
const hexDigits = "" +
	"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff" +
	"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff" +
	"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff" +
	"\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\xff\xff\xff\xff\xff\xff" +
	"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff" +
	"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff" +
	"\xff\x0a\x0b\x0c\x0d\x0e\x0f\xff\xff\xff\xff\xff\xff\xff\xff\xff" +
	"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff" +
	"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff" +
	"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff" +
	"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff" +
	"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff" +
	"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff" +
	"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff" +
	"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff" +
	"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"
