package attest_test

import (
	"bytes"
	"encoding/binary"
	"encoding/pem"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"troth/attest"
	"troth/attest/ek"
	"troth/attest/eventlog"
	"troth/attest/ima"
)

// Bounds on what a parser may allocate, freed or not: a multiple of its input, and
// what any call may take. The most is for a log of nothing but the smallest events,
// of 32 bytes, each of which becomes an event, its digests and a fact; there are
// at most eventlog.MaxEvents of them.
const (
	allocationFactor = 48
	allocationBase   = 128 << 10 // bytes
)

// allocated is what f allocates in all, in bytes, freed or not.
func allocated(f func()) uint64 {
	f() // what is made once, as tables of the standard library
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// TestAttack_L2_AllocationIsBounded hands each parser inputs that are made to have
// it allocate: the smallest records, the greatest counts and lengths, the longest
// way to an error.
func TestAttack_L2_AllocationIsBounded(t *testing.T) {
	d := booted(t)
	signed := func(quote []byte) attest.Evidence { // any bytes, so that they are parsed
		return attest.Evidence{AK: d.akPublic(), Quote: quote, Signature: sign(t, d.ak, quote), PCRs: d.pcrs}
	}
	parsers := map[string]func([]byte){
		"event log": func(b []byte) {
			if log, err := eventlog.Parse(b); err == nil {
				log.Examine(log.All())
			}
		},
		"userspace log": func(b []byte) { _, _ = eventlog.ParseUserspace(b) },
		"device path":   func(b []byte) { _, _ = eventlog.DevicePath(b) },
		"IMA list":      func(b []byte) { _, _ = ima.Parse(b) },
		"quote":         func(b []byte) { attest.Appraise(signed(b), attest.Expectation{QualifyingData: []byte("nonce")}) },
		"signature": func(b []byte) {
			e := signed([]byte("a quote"))
			e.Signature = b
			attest.Appraise(e, attest.Expectation{QualifyingData: []byte("nonce")})
		},
		"attestation key": func(b []byte) {
			attest.Appraise(attest.Evidence{AK: b}, attest.Expectation{QualifyingData: []byte("nonce")})
		},
		"EK public":      func(b []byte) { _ = ek.CheckPublic(b) },
		"EK certificate": func(b []byte) { _, _ = ek.ParseCertificate(b) },
		"EK chain":       func(b []byte) { _, _ = ek.ParseChain(b) },
		"CRL":            func(b []byte) { _, _ = ek.ParseCRL(b) },
	}
	inputs := hostileInputs()
	for name, parse := range parsers {
		for what, input := range inputs {
			if !strings.HasPrefix(what, name+":") && !strings.HasPrefix(what, "any:") {
				continue
			}
			took := allocated(func() { parse(input) })
			if limit := uint64(allocationFactor*len(input) + allocationBase); took > limit {
				t.Errorf("%s, %s: %d bytes allocated for %d, limit %d", name, what, took, len(input), limit)
			}
		}
	}
}

// hostileInputs are named for the parser that they are made for.
func hostileInputs() map[string][]byte {
	le, be := binary.LittleEndian, binary.BigEndian
	event := func(pcr, typ, size uint32, data []byte) []byte {
		out := append(le.AppendUint32(le.AppendUint32(nil, pcr), typ), make([]byte, 20)...)
		return append(le.AppendUint32(out, size), data...)
	}
	whole := func(pcr uint32, typ eventlog.EventType, data []byte) []byte {
		return event(pcr, uint32(typ), uint32(len(data)), data)
	}
	spec := func(algorithms uint32, rest []byte) []byte {
		data := append([]byte("Spec ID Event03\x00"), 0, 0, 0, 0, 0, 2, 5, 2)
		return whole(0, eventlog.NoAction, append(le.AppendUint32(data, algorithms), rest...))
	}
	digests := func(typ, count uint32) []byte {
		return le.AppendUint32(le.AppendUint32(le.AppendUint32(spec(1, []byte{11, 0, 32, 0, 0}), 8), typ), count)
	}
	entry := func(template, data string) []byte {
		out := append(le.AppendUint32(nil, 10), make([]byte, 20)...)
		out = append(le.AppendUint32(out, uint32(len(template))), template...)
		return append(le.AppendUint32(out, uint32(len(data))), data...)
	}
	smallDB := bytes.Repeat(signatureList(sha256GUID, []byte{1}), 4000)
	gpt := append([]byte("EFI PART"), make([]byte, 84)...)
	le.PutUint32(gpt[84:], 128)
	quote := append(be.AppendUint32(nil, 0xff544347), 0x80, 0x18, 0, 0, 0, 0)
	quote = append(quote, make([]byte, 25)...)
	key := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte{0x30, 0}})
	return map[string][]byte{
		"any: nothing":                  {},
		"any: a megabyte of zeros":      make([]byte, 1<<20),
		"any: a megabyte of ones":       bytes.Repeat([]byte{0xff}, 1<<20),
		"any: ASN.1 in ASN.1":           bytes.Repeat([]byte{0x30, 0x80}, 1<<16),
		"any: a length of gigabytes":    append([]byte{0x30, 0x84, 0x7f, 0xff, 0xff, 0xff}, make([]byte, 100)...),
		"any: digits":                   bytes.Repeat([]byte("10 "), 1<<16),
		"any: PEM without an end":       bytes.Repeat([]byte("-----BEGIN CERTIFICATE-----\n"), 1<<13),
		"event log: smallest events":    bytes.Repeat(whole(8, eventlog.IPL, nil), 1<<14),
		"event log: no actions":         bytes.Repeat(whole(0, eventlog.NoAction, nil), 1<<14),
		"event log: commands":           bytes.Repeat(whole(8, eventlog.IPL, []byte("grub_cmd: a")), 1<<13),
		"event log: files":              bytes.Repeat(whole(9, eventlog.IPL, []byte("f")), 1<<13),
		"event log: images":             bytes.Repeat(whole(4, eventlog.EFIBootServicesApplication, make([]byte, 32)), 1<<13),
		"event log: findings":           bytes.Repeat(whole(7, eventlog.EFIAction, []byte("a")), 1<<13),
		"event log: huge data":          event(8, uint32(eventlog.IPL), 0xfffffff0, []byte("a")),
		"event log: huge count of algs": spec(0xffffffff, nil),
		"event log: sixteen algorithms": spec(16, bytes.Repeat([]byte{11, 0, 32, 0}, 16)),
		"event log: huge digest count":  digests(uint32(eventlog.IPL), 0xffffffff),
		"event log: small db entries":   whole(7, eventlog.EFIVariableDriverConfig, variable(securityGUID, "db", smallDB)),
		"event log: huge variable name": whole(7, eventlog.EFIVariableDriverConfig,
			append(append([]byte{}, globalGUID...), bytes.Repeat([]byte{0xff}, 16)...)),
		"event log: huge GPT":               whole(5, eventlog.EFIGPTEvent, append(gpt, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0)),
		"userspace log: records":            bytes.Repeat([]byte("\x1e{\"pcr\":11,\"digests\":[{\"hashAlg\":\"sha256\",\"digest\":\"00\"}]}\n"), 1<<12),
		"userspace log: arrays":             append([]byte{0x1e}, bytes.Repeat([]byte("["), 1<<16)...),
		"userspace log: separator":          bytes.Repeat([]byte{0x1e}, 1<<16),
		"device path: nodes":                bytes.Repeat([]byte{9, 9, 4, 0}, 1<<14),
		"device path: one node":             append([]byte{9, 9, 0xff, 0xff}, make([]byte, 0xfffb)...),
		"IMA list: smallest binary entries": bytes.Repeat(entry("x", ""), 1<<14),
		"IMA list: empty fields":            bytes.Repeat(entry("ima-ng", "\x09\x00\x00\x00sha256:\x00a\x02\x00\x00\x00b\x00"), 1<<12),
		"IMA list: huge field":              append(entry("ima-ng", "")[:34], 0xff, 0xff, 0xff, 0xff),
		"IMA list: lines":                   bytes.Repeat(fmt.Appendf(nil, "10 %040x ima-ng sha256:00 a\n", 0), 1<<13),
		"IMA list: violations":              bytes.Repeat(fmt.Appendf(nil, "10 %040x ima-ng sha1:%040x a\n", 0, 0), 1<<13),
		"IMA list: newlines in a name":      fmt.Appendf(nil, "10 %040x ima-ng sha1:%040x %s", 1, 0, strings.Repeat("\n", 1<<16)),
		"IMA list: what looks like entries": fmt.Appendf(nil, "10 %040x ima-ng sha1:%040x a%s", 1, 0, strings.Repeat(fmt.Sprintf("\n10 %040x ", 0), 1<<12)),
		"quote: huge selection":             append(be.AppendUint32(bytes.Clone(quote), 0xffffffff), 0, 11, 0xff),
		"quote: huge bitmap":                append(be.AppendUint32(bytes.Clone(quote), 1), append([]byte{0, 11, 0xff}, bytes.Repeat([]byte{0xff}, 0xff)...)...),
		"signature: huge":                   {0, 0x18, 0, 11, 0xff, 0xff},
		"attestation key: huge parameter":   {0, 0x23, 0, 11, 0, 0, 0, 0, 0xff, 0xff},
		"EK public: huge parameter":         {0, 1, 0, 11, 0, 0, 0, 0, 0xff, 0xff},
		"EK chain: small blocks":            bytes.Repeat(key, 1<<10),
	}
}
