package attest

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
)

// The domains keep these hashes apart from every other use of SHA-256. A whole
// IMA list is bound as before lists could be continued, and evidence without a
// userspace log as before there was one, so that evidence of then remains what was
// quoted.
const (
	bindingDomain          = "troth attestation binding v1"
	continuedBindingDomain = "troth attestation binding v2"
	userspaceBindingDomain = "troth attestation binding v3"
)

// Binding is what a device signs into a quote's or a certification's qualifying
// data: it ties the attestation to one purpose, one nonce, one device, one TLS
// channel and exactly what is reported, so that none of it can be relayed or
// edited.
type Binding struct {
	Purpose   string   // "enroll", "checkin", "certify" or "certify-idevid"
	Nonce     []byte   // as the verifier gave it
	DeviceID  string   // lower-case hex SHA-256 of the EK's TPMT_PUBLIC
	ClientKey []byte   // PKIX SubjectPublicKeyInfo of the TLS key, DER
	Reported  []byte   // exact bytes of the reported JSON
	EventLog  [32]byte // SHA-256 of the whole event log; zero if none
	IMA       [32]byte // SHA-256 of the IMA list, from the entry of index IMAFrom on; zero if none
	IMAFrom   uint64   // entries that the verifier has counted before; 0: the list is whole
	Userspace [32]byte // SHA-256 of systemd's log of its own measurements; zero if none
}

// QualifyingData is the 32-byte SHA-256 over a domain string and every field,
// each preceded by its length as 64 bits big-endian. Version 1 is that of whole
// lists and ends with IMA. IMAFrom, in 64 bits big-endian, is the last field of
// version 2. Version 3 is that of evidence with a userspace log: IMAFrom, also
// where it is 0, then Userspace.
func (b Binding) QualifyingData() []byte {
	domain, userspace := bindingDomain, b.Userspace != [32]byte{}
	switch {
	case userspace:
		domain = userspaceBindingDomain
	case b.IMAFrom > 0:
		domain = continuedBindingDomain
	}
	h := sha256.New()
	for _, field := range [][]byte{
		[]byte(domain), []byte(b.Purpose), b.Nonce, []byte(b.DeviceID),
		b.ClientKey, b.Reported, b.EventLog[:], b.IMA[:],
	} {
		writeField(h, field)
	}
	if b.IMAFrom > 0 || userspace {
		writeField(h, binary.BigEndian.AppendUint64(nil, b.IMAFrom))
	}
	if userspace {
		writeField(h, b.Userspace[:])
	}
	return h.Sum(nil)
}

func writeField(h hash.Hash, field []byte) {
	var size [8]byte
	binary.BigEndian.PutUint64(size[:], uint64(len(field)))
	h.Write(size[:])
	h.Write(field)
}
