package ek

import (
	"encoding/binary"

	"troth/attest/ek/template"
)

// Template is a TCG template of an endorsement key (EK Credential Profile,
// annex B).
type Template = template.ID

// The templates. Low range keys are the usual ones for RSA-2048 and P-256; the
// certificates of high range keys are in other NV indices.
const (
	L1 = template.L1 // RSA-2048, low range, certificate in 0x01c00002
	L2 = template.L2 // ECC P-256, low range, certificate in 0x01c0000a
	H1 = template.H1 // RSA-2048, high range, certificate in 0x01c00012
	H2 = template.H2 // ECC P-256, high range, certificate in 0x01c00014
	H3 = template.H3 // ECC P-384, high range, certificate in 0x01c00016
	H6 = template.H6 // RSA-3072, high range, certificate in 0x01c0001c
)

// sized puts the 16-bit size of a TPM2B before b.
func sized(b []byte) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...)
}
