package eventlog

import (
	"bytes"
	"crypto"
	"crypto/sha1" // the legacy log and the sha1 bank
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
)

// readSpecID validates the first event and decides the format: "Spec ID
// Event03" announces the crypto-agile log and its algorithms (PFP section
// 10.4.5.1, TCG_EfiSpecIdEvent), "Spec ID Event02" and "Event00" the SHA-1 log.
// Firmware that serves the SHA-1 format through the TCG 1.2 interface writes no
// such event at all, so its absence means a SHA-1 log.
func (l *Log) readSpecID(first Event) ([]algorithm, error) {
	if first.Type != NoAction || !bytes.HasPrefix(first.Data, []byte("Spec ID Event")) {
		return nil, nil
	}
	if len(first.Data) < specIDSize || first.Data[specIDSize-1] != 0 {
		return nil, errors.New("malformed signature")
	}
	if first.PCR != 0 || !isZero(first.Digests.In("sha1")) {
		return nil, errors.New("not in PCR 0 with a zero digest")
	}
	r := &reader{b: first.Data[specIDSize:]}
	switch string(first.Data[:specIDSize-1]) {
	case "Spec ID Event03":
		l.Legacy = false
		return l.readAgileHeader(r)
	case "Spec ID Event02", "Spec ID Event00":
		return nil, l.readLegacyHeader(r)
	}
	return nil, fmt.Errorf("unknown signature %q", first.Data[:specIDSize-1])
}

func (l *Log) readVersion(r *reader) error {
	class := r.u32()
	minor, major, errata := r.u8(), r.u8(), r.u8()
	if r.err != nil {
		return r.err
	}
	if class > 1 { // 0 client, 1 server
		return fmt.Errorf("platform class %d", class)
	}
	l.SpecVersion = fmt.Sprintf("%d.%d.%d", major, minor, errata)
	return nil
}

func (l *Log) readLegacyHeader(r *reader) error {
	if err := l.readVersion(r); err != nil {
		return err
	}
	r.u8() // uintnSize; reserved in Event00
	r.take(int(r.u8()))
	return r.end()
}

func (l *Log) readAgileHeader(r *reader) ([]algorithm, error) {
	if err := l.readVersion(r); err != nil {
		return nil, err
	}
	if uintn := r.u8(); r.err == nil && uintn != 1 && uintn != 2 {
		return nil, fmt.Errorf("uintnSize %d", uintn)
	}
	count := r.u32()
	if r.err == nil && (count == 0 || count > maxAlgorithms) {
		return nil, fmt.Errorf("%d digest algorithms", count)
	}
	var algorithms []algorithm
	l.Banks = nil
	for i := uint32(0); i < count && r.err == nil; i++ {
		a := algorithm{id: r.u16(), size: int(r.u16())}
		if r.err != nil {
			break
		}
		if find(algorithms, a.id) >= 0 {
			return nil, fmt.Errorf("digest algorithm 0x%04x is announced twice", a.id)
		}
		a.bank = bankOf(a.id)
		if h, ok := HashOf(a.bank); a.size == 0 || (ok && h.Size() != a.size) {
			return nil, fmt.Errorf("digest algorithm 0x%04x has size %d", a.id, a.size)
		}
		if a.bank != "" {
			l.Banks = append(l.Banks, a.bank)
		}
		algorithms = append(algorithms, a)
	}
	r.take(int(r.u8())) // vendorInfo
	if err := r.end(); err != nil {
		return nil, err
	}
	return algorithms, nil
}

// bankOf names the bank of a TPM_ALG_ID (TCG Algorithm Registry); empty for
// one that cannot be replayed here.
func bankOf(id uint16) string {
	switch id {
	case 0x0004:
		return "sha1"
	case 0x000b:
		return "sha256"
	case 0x000c:
		return "sha384"
	case 0x000d:
		return "sha512"
	}
	return ""
}

// HashOf is the hash algorithm of a PCR bank; false for one that is not known
// here. The banks are sha1, sha256, sha384 and sha512.
func HashOf(bank string) (crypto.Hash, bool) {
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

// sum appends the hash of data in a bank, without an allocation.
func sum(dst []byte, bank string, data []byte) []byte {
	switch bank {
	case "sha1":
		d := sha1.Sum(data)
		return append(dst, d[:]...)
	case "sha256":
		d := sha256.Sum256(data)
		return append(dst, d[:]...)
	case "sha384":
		d := sha512.Sum384(data)
		return append(dst, d[:]...)
	case "sha512":
		d := sha512.Sum512(data)
		return append(dst, d[:]...)
	}
	return dst
}

func isZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
