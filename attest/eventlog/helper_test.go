package eventlog_test

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/binary"

	"troth/attest/eventlog"
)

var le = binary.LittleEndian

// entry is one event; its digests are those of measured.
type entry struct {
	pcr      uint32
	typ      eventlog.EventType
	measured string
	data     string
}

// specID03 announces algorithms (id, size), with vendor bytes.
func specID03(vendor string, algorithms ...uint16) string {
	data := append([]byte("Spec ID Event03\x00"), 0, 0, 0, 0, 0, 2, 5, 2)
	data = le.AppendUint32(data, uint32(len(algorithms)/2))
	for _, a := range algorithms {
		data = le.AppendUint16(data, a)
	}
	return string(append(append(data, byte(len(vendor))), vendor...))
}

// legacy writes a TCG_PCClientPCREvent with the given digest.
func legacy(out []byte, pcr uint32, typ eventlog.EventType, digest []byte, data string) []byte {
	out = le.AppendUint32(le.AppendUint32(out, pcr), uint32(typ))
	out = append(out, digest...)
	return append(le.AppendUint32(out, uint32(len(data))), data...)
}

func header(spec string) []byte { return legacy(nil, 0, eventlog.NoAction, make([]byte, 20), spec) }

// agile writes a log with SHA-1 and SHA-256 digests.
func agile(entries ...entry) []byte {
	out := header(specID03("", 4, 20, 11, 32))
	for _, e := range entries {
		out = le.AppendUint32(le.AppendUint32(out, e.pcr), uint32(e.typ))
		out = le.AppendUint32(out, 2)
		s1, s256 := sha1.Sum([]byte(e.measured)), sha256.Sum256([]byte(e.measured))
		out = append(le.AppendUint16(out, 4), s1[:]...)
		out = append(le.AppendUint16(out, 11), s256[:]...)
		out = append(le.AppendUint32(out, uint32(len(e.data))), e.data...)
	}
	return out
}

// same measures its data.
func same(pcr uint32, typ eventlog.EventType, data string) entry { return entry{pcr, typ, data, data} }
