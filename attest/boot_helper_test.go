package attest_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/binary"
	"fmt"
	"testing"
	"unicode/utf16"

	"github.com/google/go-tpm/tpm2"

	"troth/attest"
	"troth/attest/eventlog"
)

// device is a pretended machine: PCRs in Go, an AK in Go, and the logs that a
// boot leaves. It replays on its own, without the code under test.
type device struct {
	ak    *ecdsa.PrivateKey
	banks []string
	pcrs  attest.PCRs
	log   []byte
	ima   []byte
	nonce []byte
}

func bankHash(bank string) crypto.Hash {
	return map[string]crypto.Hash{"sha1": crypto.SHA1, "sha256": crypto.SHA256, "sha384": crypto.SHA384}[bank]
}

func hashed(bank string, parts ...[]byte) []byte {
	d := bankHash(bank).New()
	for _, p := range parts {
		d.Write(p)
	}
	return d.Sum(nil)
}

func newDevice(t testing.TB, banks ...string) *device {
	t.Helper()
	d := &device{ak: newECC(t, elliptic.P256()), banks: banks, pcrs: attest.PCRs{}, nonce: []byte("a nonce of the verifier's choice")}
	for _, bank := range banks {
		d.pcrs[bank] = map[int]attest.Digest{}
		for i := range 11 {
			d.pcrs[bank][i] = make([]byte, bankHash(bank).Size())
		}
	}
	d.log = d.specID()
	return d
}

func (d *device) specID() []byte {
	le := binary.LittleEndian
	data := append([]byte("Spec ID Event03\x00"), 0, 0, 0, 0, 0, 2, 0, 2)
	data = le.AppendUint32(data, uint32(len(d.banks)))
	for _, bank := range d.banks {
		data = le.AppendUint16(data, uint16(algorithmOf(bank)))
		data = le.AppendUint16(data, uint16(bankHash(bank).Size()))
	}
	data = append(data, 0)
	out := le.AppendUint32(make([]byte, 4), uint32(eventlog.NoAction))
	out = append(out, make([]byte, 20)...)
	return append(le.AppendUint32(out, uint32(len(data))), data...)
}

// extend changes a PCR in all banks without a word in any log.
func (d *device) extend(pcr int, measured []byte) {
	for _, bank := range d.banks {
		d.pcrs[bank][pcr] = hashed(bank, d.pcrs[bank][pcr], hashed(bank, measured))
	}
}

// record writes an event into the log without extending anything.
func (d *device) record(pcr int, typ eventlog.EventType, measured, data []byte) {
	le := binary.LittleEndian
	d.log = le.AppendUint32(le.AppendUint32(d.log, uint32(pcr)), uint32(typ))
	d.log = le.AppendUint32(d.log, uint32(len(d.banks)))
	for _, bank := range d.banks {
		d.log = append(le.AppendUint16(d.log, uint16(algorithmOf(bank))), hashed(bank, measured)...)
	}
	d.log = append(le.AppendUint32(d.log, uint32(len(data))), data...)
}

func (d *device) measure(pcr int, typ eventlog.EventType, measured, data []byte) {
	d.extend(pcr, measured)
	d.record(pcr, typ, measured, data)
}

func (d *device) plain(pcr int, typ eventlog.EventType, data []byte) { d.measure(pcr, typ, data, data) }

func utf16le(s string) []byte {
	var out []byte
	for _, u := range utf16.Encode([]rune(s)) {
		out = binary.LittleEndian.AppendUint16(out, u)
	}
	return out
}

// Variable owners in their wire form.
var (
	globalGUID   = []byte{0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93, 0xd2, 0x11, 0xaa, 0x0d, 0, 0xe0, 0x98, 0x03, 0x2b, 0x8c}
	securityGUID = []byte{0xcb, 0xb2, 0x19, 0xd7, 0x3a, 0x3d, 0x96, 0x45, 0xa3, 0xbc, 0xda, 0xd0, 0x0e, 0x67, 0x65, 0x6f}
	x509GUID     = []byte{0xa1, 0x59, 0xc0, 0xa5, 0xe4, 0x94, 0xa7, 0x4a, 0x87, 0xb5, 0xab, 0x15, 0x5c, 0x2b, 0xf0, 0x72}
	sha256GUID   = []byte{0x26, 0x16, 0xc4, 0xc1, 0x4c, 0x50, 0x92, 0x40, 0xac, 0xa9, 0x41, 0xf9, 0x36, 0x93, 0x43, 0x28}
)

func variable(guid []byte, name string, data []byte) []byte {
	le := binary.LittleEndian
	units := utf16le(name)
	out := append([]byte{}, guid...)
	out = le.AppendUint64(out, uint64(len(units)/2))
	out = le.AppendUint64(out, uint64(len(data)))
	return append(append(out, units...), data...)
}

func signatureList(kind, entry []byte) []byte {
	le := binary.LittleEndian
	out := append([]byte{}, kind...)
	out = le.AppendUint32(out, uint32(28+16+len(entry)))
	out = le.AppendUint32(out, 0)
	out = le.AppendUint32(out, uint32(16+len(entry)))
	return append(append(out, make([]byte, 16)...), entry...)
}

var zeroSeparator = []byte{0, 0, 0, 0}

// secureBootVariables measures the configuration into PCR 7.
func (d *device) secureBootVariables(enabled byte) {
	d.plain(7, eventlog.EFIVariableDriverConfig, variable(globalGUID, "SecureBoot", []byte{enabled}))
	d.plain(7, eventlog.EFIVariableDriverConfig, variable(globalGUID, "PK", signatureList(x509GUID, []byte("a platform key"))))
	d.plain(7, eventlog.EFIVariableDriverConfig, variable(globalGUID, "KEK", signatureList(x509GUID, []byte("an exchange key"))))
	d.plain(7, eventlog.EFIVariableDriverConfig, variable(securityGUID, "db", signatureList(x509GUID, []byte("a signer"))))
	d.plain(7, eventlog.EFIVariableDriverConfig, variable(securityGUID, "dbx", signatureList(sha256GUID, make([]byte, 32))))
}

// boot measures a whole boot; the steps are apart so that attacks can differ.
func (d *device) boot() {
	d.plain(0, eventlog.SCRTMVersion, append(utf16le("model-a 1.0"), 0, 0))
	d.measure(0, eventlog.EFIPlatformFirmwareBlob, []byte("firmware volume"), make([]byte, 16))
	d.secureBootVariables(1)
	d.plain(7, eventlog.Separator, zeroSeparator)
	d.load()
}

// load is the boot from the separators on.
func (d *device) load() {
	d.plain(4, eventlog.EFIAction, []byte("Calling EFI Application from Boot Option"))
	for pcr := range 7 {
		d.plain(pcr, eventlog.Separator, zeroSeparator)
	}
	d.measure(4, eventlog.EFIBootServicesApplication, []byte("boot loader"), make([]byte, 32))
	d.measure(8, eventlog.IPL, []byte("/vmlinuz ro quiet"), []byte("kernel_cmdline: /vmlinuz ro quiet\x00"))
	d.measure(9, eventlog.IPL, []byte("a kernel"), []byte("/vmlinuz\x00"))
	d.plain(5, eventlog.EFIAction, []byte("Exit Boot Services Invocation"))
}

func templateNG(digest []byte, name string) []byte {
	le := binary.LittleEndian
	field := append([]byte("sha256:\x00"), digest...)
	out := append(le.AppendUint32(nil, uint32(len(field))), field...)
	out = le.AppendUint32(out, uint32(len(name)+1))
	return append(append(out, name...), 0)
}

// file has IMA measure a file.
func (d *device) file(name string, content string) {
	digest := hashed("sha256", []byte(content))
	template := templateNG(digest, name)
	d.extend(10, template)
	d.ima = fmt.Appendf(d.ima, "10 %x ima-ng sha256:%x %s\n", hashed("sha1", template), digest, name)
}

// aggregate has IMA measure the PCRs 0 to last, as its first entry.
func (d *device) aggregate(bank string, last int) {
	var values []byte
	for pcr := range last + 1 {
		values = append(values, d.pcrs[bank][pcr]...)
	}
	d.file("boot_aggregate", string(values))
}

// evidence quotes all PCRs and hands in everything.
func (d *device) evidence(t testing.TB) attest.Evidence {
	t.Helper()
	quoted := quoteOf(d.nonce, d.pcrs)
	return attest.Evidence{AK: d.akPublic(), Quote: quoted, Signature: sign(t, d.ak, quoted),
		PCRs: clone(d.pcrs), EventLog: d.log, IMA: d.ima}
}

func clone(p attest.PCRs) attest.PCRs {
	out := attest.PCRs{}
	for bank, values := range p {
		out[bank] = map[int]attest.Digest{}
		for i, v := range values {
			out[bank][i] = bytes.Clone(v)
		}
	}
	return out
}

func (d *device) akPublic() []byte {
	return tpm2.Marshal(eccPublic(&d.ak.PublicKey, tpm2.TPMECCNistP256, tpm2.TPMAlgSHA256))
}

func (d *device) want() attest.Expectation { return attest.Expectation{QualifyingData: d.nonce} }

// appraise quotes the device as it is and appraises it.
func (d *device) appraise(t testing.TB) attest.Result {
	t.Helper()
	return attest.Appraise(d.evidence(t), d.want())
}

// booted is a device after a whole boot, with two files measured.
func booted(t testing.TB) *device {
	t.Helper()
	d := newDevice(t, "sha256", "sha384")
	d.boot()
	d.aggregate("sha256", 9)
	d.file("/usr/bin/init", "init")
	return d
}
