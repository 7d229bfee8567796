package attest

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
)

// bindingDomain keeps these hashes apart from every other use of SHA-256.
const bindingDomain = "troth attestation binding v1"

// Binding is what a device signs into a quote's or a certification's qualifying
// data: it ties the attestation to one purpose, one nonce, one device, one TLS
// channel and exactly what is reported, so that none of it can be relayed or
// edited.
type Binding struct {
	Purpose   string   // "enroll", "checkin" or "certify"
	Nonce     []byte   // as the verifier gave it
	DeviceID  string   // lower-case hex SHA-256 of the EK's TPMT_PUBLIC
	ClientKey []byte   // PKIX SubjectPublicKeyInfo of the TLS key, DER
	Reported  []byte   // exact bytes of the reported JSON
	EventLog  [32]byte // SHA-256 of the whole event log; zero if none
	IMA       [32]byte // SHA-256 of the whole IMA list; zero if none
}

// QualifyingData is the 32-byte SHA-256 over a domain string and every field,
// each preceded by its length as 64 bits big-endian.
func (b Binding) QualifyingData() []byte {
	h := sha256.New()
	for _, field := range [][]byte{
		[]byte(bindingDomain), []byte(b.Purpose), b.Nonce, []byte(b.DeviceID),
		b.ClientKey, b.Reported, b.EventLog[:], b.IMA[:],
	} {
		writeField(h, field)
	}
	return h.Sum(nil)
}

func writeField(h hash.Hash, field []byte) {
	var size [8]byte
	binary.BigEndian.PutUint64(size[:], uint64(len(field)))
	h.Write(size[:])
	h.Write(field)
}
