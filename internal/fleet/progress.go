package fleet

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
)

// Progress is how far the verifier counted a device's IMA list in this boot, so
// that a check-in needs to send only what is new. It is the verifier's own word,
// and written in one change with the device whose check-in led to it.
type Progress struct {
	Device DeviceID
	// Under names the attestation key and the enrolment that it is of; one of
	// others is none.
	Under   string
	Entries int             // that are counted
	State   json.RawMessage // attest.IMAState
	// Segments are the blobs that, joined, are the list up to Entries.
	Segments []Segment
}

// Under names the attestation key in force and the enrolment that brought it.
func (d Device) Under() string {
	h := sha256.New()
	_ = binary.Write(h, binary.BigEndian, d.EnrolledAt.UnixMicro()) // a hash takes everything
	h.Write(d.AKPublic)
	return hex.EncodeToString(h.Sum(nil))
}

// Segment is a piece of a list: a blob.
type Segment struct {
	Digest string `json:"digest"` // SHA-256, hexadecimal
	Size   int    `json:"size"`   // bytes
}
