package eventlog

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
	"unicode/utf16"
)

// Variable is a UEFI_VARIABLE_DATA (PFP section 10.4.4).
type Variable struct {
	GUID string // lower-case, in the textual order of UEFI Appendix A
	Name string
	Data []byte // aliases the log
}

const maxVariableName = 1024 // UTF-16 units; UEFI sets no bound, firmware stays far below

// GUIDs that say whose a variable is (UEFI 2.10 sections 3.3 and 32.6).
const (
	guidGlobal        = "8be4df61-93ca-11d2-aa0d-00e098032b8c"
	guidImageSecurity = "d719b2cb-3d3a-4596-a3bc-dad00e67656f"
)

// parseVariable reads a UEFI_VARIABLE_DATA and returns how many bytes follow it.
func parseVariable(data []byte) (v Variable, trailing int, err error) {
	r := &reader{b: data}
	guid := r.take(16)
	nameUnits, size := r.u64(), r.u64()
	if r.err != nil {
		return v, 0, r.err
	}
	if nameUnits > maxVariableName || size > uint64(len(data)) {
		return v, 0, errors.New("variable lengths exceed the event")
	}
	name := r.take(int(nameUnits) * 2)
	v.Data = r.take(int(size)) //nolint:gosec // bounded above
	if r.err != nil {
		return v, 0, r.err
	}
	v.GUID, v.Name = formatGUID(guid), utf16Text(name)
	return v, r.len(), nil
}

func formatGUID(b []byte) string {
	// The first three fields are little-endian (UEFI 2.10 Appendix A).
	ordered := [16]byte{b[3], b[2], b[1], b[0], b[5], b[4], b[7], b[6]}
	copy(ordered[8:], b[8:16])
	var out [36]byte
	hex.Encode(out[:], ordered[:4])
	hex.Encode(out[9:], ordered[4:6])
	hex.Encode(out[14:], ordered[6:8])
	hex.Encode(out[19:], ordered[8:10])
	hex.Encode(out[24:], ordered[10:])
	out[8], out[13], out[18], out[23] = '-', '-', '-', '-'
	switch string(out[:]) { // those of most variables need no copy
	case guidGlobal:
		return guidGlobal
	case guidImageSecurity:
		return guidImageSecurity
	case guidShimLock:
		return guidShimLock
	}
	return string(out[:])
}

// utf16Text decodes UTF-16LE without its trailing NULs. The text is hostile:
// whoever shows it escapes it.
func utf16Text(b []byte) string {
	if ascii, ok := utf16ASCII(b); ok { // as names and paths are
		return ascii
	}
	units := make([]uint16, 0, len(b)/2)
	for i := 0; i+1 < len(b); i += 2 {
		units = append(units, uint16(b[i])|uint16(b[i+1])<<8)
	}
	for len(units) > 0 && units[len(units)-1] == 0 {
		units = units[:len(units)-1]
	}
	return string(utf16.Decode(units))
}

// utf16ASCII decodes UTF-16LE of nothing but ASCII.
func utf16ASCII(b []byte) (string, bool) {
	for len(b) >= 2 && len(b)%2 == 0 && b[len(b)-1] == 0 && b[len(b)-2] == 0 {
		b = b[:len(b)-2]
	}
	var out strings.Builder
	out.Grow(len(b) / 2)
	for i := 0; i+1 < len(b); i += 2 {
		if b[i] >= 0x80 || b[i+1] != 0 {
			return "", false
		}
		out.WriteByte(b[i])
	}
	return out.String(), len(b)%2 == 0
}

// Signature types of EFI_SIGNATURE_LIST (UEFI 2.10 section 32.4.1) whose data is
// itself a hash.
const (
	guidSHA1   = "826ca512-cf10-4ac9-b187-be01496631bd"
	guidSHA256 = "c1c41626-504c-4092-aca9-41f936934328"
	guidSHA384 = "ff3e5307-9fd0-48c9-85f1-8ad56c701e01"
	guidSHA512 = "093e0fae-a6c4-4f50-9f1b-d41e2b89c19a"
)

// fingerprints lists the entries of a signature database (a sequence of
// EFI_SIGNATURE_LIST): the hash itself for hash entries, and the SHA-256 of the
// entry for all else, above all the DER certificate. Lower-case hex.
func fingerprints(db []byte) ([]string, error) {
	out := []string{}
	err := eachSignature(db, func(kind string, _, data []byte) { out = append(out, fingerprint(kind, data)) })
	if err != nil {
		return nil, err
	}
	return out, nil
}

// eachSignature calls f for the entries of a signature database, with the GUID of
// its type.
func eachSignature(db []byte, f func(kind string, owner, data []byte)) error {
	r := &reader{b: db}
	for r.len() > 0 {
		guid := r.take(16)
		listSize, headerSize, entrySize := r.u32(), r.u32(), r.u32()
		if r.err != nil {
			return r.err
		}
		const fixed = 28 // bytes of the fields above
		if listSize < fixed || uint64(listSize-fixed) > uint64(r.len()) || entrySize <= 16 {
			return errors.New("signature list sizes exceed the variable")
		}
		body := &reader{b: r.take(int64ToInt(listSize - fixed))}
		body.take(int64ToInt(headerSize))
		if body.err != nil || uint64(body.len())%uint64(entrySize) != 0 {
			return errors.New("signature list is not a whole number of entries")
		}
		kind := formatGUID(guid)
		for body.len() > 0 {
			owner := body.take(16)
			f(kind, owner, body.take(int64ToInt(entrySize-16)))
		}
	}
	return nil
}

func fingerprint(kind string, data []byte) string {
	switch kind {
	case guidSHA1, guidSHA256, guidSHA384, guidSHA512:
		return hex.EncodeToString(data)
	}
	d := sha256.Sum256(data)
	return hex.EncodeToString(d[:])
}
