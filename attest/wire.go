package attest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"
)

// Limits on foreign bytes, beyond which they are not read.
const (
	maxPublic    = 4 << 10 // a TPM public area or a PEM key
	maxAttest    = 4 << 10 // a TPMS_ATTEST; no TPM makes one of 2 KiB
	maxSignature = 2 << 10 // a TPMT_SIGNATURE; RSA-4096 takes 518 bytes
	maxNonce     = 64      // TPM2B_DATA never holds more than a TPMT_HA with SHA-512
)

var errNotCanonical = errors.New("trailing bytes or a non-canonical encoding")

// decode reads a TPM structure that fills data exactly. go-tpm stops quietly at
// the end of what it needs and takes a missing size for zero; requiring that the
// result marshals back to the same bytes refuses both, so that one structure has
// one encoding. A panic in the library is an error here.
func decode[T tpm2.Marshallable, P interface {
	*T
	tpm2.Unmarshallable
}](data []byte, limit int) (v *T, err error) {
	if len(data) == 0 {
		return nil, errors.New("empty")
	}
	if len(data) > limit {
		return nil, fmt.Errorf("%d bytes, more than %d", len(data), limit)
	}
	defer func() {
		if recover() != nil {
			v, err = nil, errors.New("not decodable")
		}
	}()
	v, err = tpm2.Unmarshal[T, P](data)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(tpm2.Marshal(*v), data) {
		return nil, errNotCanonical
	}
	return v, nil
}

// unsized strips the size of a TPM2B whose size fits exactly. None of the
// structures that are accepted in both forms can begin with its own length: a
// TPMS_ATTEST begins with 0xff54, a TPMT_PUBLIC with 0x0001 or 0x0023.
func unsized(data []byte) []byte {
	if len(data) > 2+0x23 && int(binary.BigEndian.Uint16(data)) == len(data)-2 {
		return data[2:]
	}
	return data
}

// attestHead reads the magic and the type, before anything else is trusted.
func attestHead(data []byte) (magic uint32, typ uint16, ok bool) {
	if len(data) < 6 {
		return 0, 0, false
	}
	return binary.BigEndian.Uint32(data), binary.BigEndian.Uint16(data[4:]), true
}
