package attesttest

import (
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"

	"github.com/google/go-tpm/tpm2"
)

// bank is a PCR bank of the simulated devices.
type bank struct {
	alg  tpm2.TPMAlgID
	size int
	sum  func([]byte) []byte
}

func banks() []bank {
	return []bank{
		{tpm2.TPMAlgSHA1, sha1.Size, func(b []byte) []byte { s := sha1.Sum(b); return s[:] }},
		{tpm2.TPMAlgSHA256, sha256.Size, sum256},
		{tpm2.TPMAlgSHA384, sha512.Size384, func(b []byte) []byte { s := sha512.Sum384(b); return s[:] }},
	}
}

func sum256(b []byte) []byte { s := sha256.Sum256(b); return s[:] }

// encodeLog writes a crypto-agile event log (PFP 10.2.1 and 10.2.2).
func encodeLog(list []event) []byte {
	out := specID()
	for _, e := range list {
		out = binary.LittleEndian.AppendUint32(out, uint32(e.pcr))
		out = binary.LittleEndian.AppendUint32(out, e.kind)
		out = binary.LittleEndian.AppendUint32(out, uint32(len(banks())))
		for _, b := range banks() {
			out = binary.LittleEndian.AppendUint16(out, uint16(b.alg))
			out = append(out, b.sum(e.measured)...)
		}
		out = binary.LittleEndian.AppendUint32(out, uint32(len(e.data)))
		out = append(out, e.data...)
	}
	return out
}

// specID is the first event: a TCG_PCR_EVENT in the format of TPM 1.2 that
// holds a TCG_EfiSpecIDEvent (PFP 10.4.5.1).
func specID() []byte {
	data := []byte("Spec ID Event03\x00")
	data = binary.LittleEndian.AppendUint32(data, 0) // platform class: client
	data = append(data, 0, 2, 0, 2)                  // version 2.0, errata 0; UINTN is 2 UINT32s
	data = binary.LittleEndian.AppendUint32(data, uint32(len(banks())))
	for _, b := range banks() {
		data = binary.LittleEndian.AppendUint16(data, uint16(b.alg))
		data = binary.LittleEndian.AppendUint16(data, uint16(b.size))
	}
	data = append(data, 0) // no vendor information
	out := binary.LittleEndian.AppendUint32(nil, 0)
	out = binary.LittleEndian.AppendUint32(out, evNoAction)
	out = append(out, make([]byte, sha1.Size)...)
	out = binary.LittleEndian.AppendUint32(out, uint32(len(data)))
	return append(out, data...)
}
