package attesttest_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"path/filepath"
	"testing"

	"troth/attest"
	"troth/attest/attesttest"
	"troth/attest/eventlog"
	"troth/attest/ima"
	"troth/attest/tpm"
)

// What Boot writes replays, in attest's own parsers, to the TPM's real PCRs.
func TestLogsReplayInAttest(t *testing.T) {
	logs, pcrs := newMachine(t).boot(t, attesttest.PlatformFor("edge-100"), attesttest.NewImage("edge-100", "1.0.0"))
	log, err := eventlog.Parse(logs.EventLog)
	if err != nil {
		t.Fatal(err)
	}
	replayed := log.Replay()
	list, err := ima.Parse(logs.IMA)
	if err != nil {
		t.Fatal(err)
	}
	for _, bank := range []string{"sha1", "sha256", "sha384"} {
		for i := range 10 {
			if !bytes.Equal(replayed[bank][i], pcrs[bank][i]) {
				t.Errorf("%s:%d replays to %x, TPM has %x", bank, i, replayed[bank][i], pcrs[bank][i])
			}
		}
		got, err := list.Replay(bank, pcrs[bank][10])
		if err != nil || got.Entries != 5 || got.Ahead != 0 || got.Violations != 0 {
			t.Errorf("%s: IMA list replays as %+v, %v", bank, got, err)
		}
	}
}

func selection() map[string][]int {
	return map[string][]int{"sha256": {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10}}
}

func (m machine) quote(t *testing.T, ak tpm.Key, logs attesttest.BootLogs, nonce []byte) attest.Evidence {
	t.Helper()
	q, err := m.dev.Quote(ak, nonce, selection())
	if err != nil {
		t.Fatal(err)
	}
	values := attest.PCRs{}
	for bank, indices := range q.PCRs {
		values[bank] = map[int]attest.Digest{}
		for i, v := range indices {
			values[bank][i] = v
		}
	}
	return attest.Evidence{AK: ak.Public, Quote: q.Attest, Signature: q.Signature, PCRs: values, EventLog: logs.EventLog, IMA: logs.IMA}
}

// A whole attestation on a real TPM: enrolment's cryptography, then quotes of a
// good boot and of one with another boot loader.
func TestAttestation(t *testing.T) {
	m := newMachine(t)
	p, image := attesttest.PlatformFor("edge-100"), attesttest.NewImage("edge-100", "1.0.0")
	reference := attest.Reference{Bank: "sha256", PCRs: map[int]attest.Digest{}}
	for i, v := range attesttest.Reference(p, image) {
		reference.PCRs[i] = v
	}
	if err := reference.Valid(); err != nil {
		t.Fatal(err)
	}
	logs, _ := m.boot(t, p, image)
	ak, err := m.dev.CreateAK()
	if err != nil {
		t.Fatal(err)
	}
	m.enroll(t, ak)

	nonce := sha256.Sum256([]byte("nonce"))
	want := attest.Expectation{QualifyingData: nonce[:], Selection: selection(), RequireAttributes: true}
	got := attest.Appraise(m.quote(t, ak, logs, nonce[:]), want)
	if !got.Verified || len(got.Problems) != 0 {
		t.Fatalf("not verified: %+v", got.Problems)
	}
	if off := reference.Mismatches(got.PCRs); len(off) != 0 {
		t.Errorf("reference values differ in %v", off)
	}
	if !got.EventLog.Replayed || len(got.EventLog.BootLoaders) != 1 || len(got.EventLog.CommandLines) != 1 || !got.EventLog.CommandLines[0].Verified {
		t.Errorf("event log %+v", got.EventLog)
	}
	if digest := fmt.Sprintf("%x", sha256.Sum256(image.BootLoader)); got.EventLog.BootLoaders[0].Digests.Hex("sha256") != digest {
		t.Errorf("boot loader %v, want %s", got.EventLog.BootLoaders[0], digest)
	}
	if text := got.EventLog.SCRTMVersion; text == nil || text.Text != p.SCRTMVersion || !text.Verified {
		t.Errorf("S-CRTM version %+v", text)
	}
	if s := got.SecureBoot; s == nil || !s.Enabled || len(s.PK) != 1 || len(s.KEK) != 1 || len(s.DB) != 1 || len(s.DBX) != 2 {
		t.Errorf("Secure Boot %+v", s)
	}
	if i := got.IMA; i == nil || !i.Replayed || i.Entries != 5 {
		t.Errorf("IMA %+v", i)
	}
	first := got.Clock

	image.BootLoader = []byte("MZ evil")
	logs, _ = m.boot(t, p, image)
	got = attest.Appraise(m.quote(t, ak, logs, nonce[:]), want)
	if !got.Verified {
		t.Fatalf("not verified: %+v", got.Problems)
	}
	if off := reference.Mismatches(got.PCRs); fmt.Sprint(off) != "[4]" {
		t.Errorf("reference values differ in %v", off)
	}
	if got.Clock.ResetCount != first.ResetCount+1 || !got.Clock.Safe {
		t.Errorf("clock %+v, was %+v", got.Clock, first)
	}
	old := attest.Appraise(m.quote(t, ak, attesttest.BootLogs{EventLog: logs.EventLog[:len(logs.EventLog)-9]}, nonce[:]), want)
	if old.Verified {
		t.Error("truncated event log verified")
	}
}

// enroll has the verifier challenge the EK and the AK, and the AK certify a
// TLS key.
func (m machine) enroll(t *testing.T, ak tpm.Key) {
	t.Helper()
	name, err := attest.CheckAK(ak.Public)
	if err != nil {
		t.Fatal(err)
	}
	device, err := m.dev.EK()
	if err != nil {
		t.Fatal(err)
	}
	secret := sha256.Sum256([]byte("secret"))
	blob, encrypted, err := attest.MakeCredential(rand.Reader, device.Public, name, secret[:])
	if err != nil {
		t.Fatal(err)
	}
	opened, err := m.dev.ActivateCredential(ak, blob, encrypted)
	if err != nil || !bytes.Equal(opened, secret[:]) {
		t.Fatalf("opened %x, %v", opened, err)
	}
	key, err := m.dev.CreateTLSKey()
	if err != nil {
		t.Fatal(err)
	}
	info, sig, err := m.dev.Certify(ak, key, secret[:])
	if err != nil {
		t.Fatal(err)
	}
	public, err := attest.CheckCertify(ak.Public, key.Public, info, sig, secret[:])
	if err != nil {
		t.Fatal(err)
	}
	signer, err := m.dev.Signer(key)
	if err != nil {
		t.Fatal(err)
	}
	if certified, ok := public.(*ecdsa.PublicKey); !ok || !certified.Equal(signer.Public()) {
		t.Errorf("certified another key: %T", public)
	}
}

// The IMA list grows while the system runs, and may be read after the quote.
func TestMeasureFileRunsAhead(t *testing.T) {
	m := newMachine(t)
	logs, _ := m.boot(t, attesttest.PlatformFor("edge-100"), attesttest.NewImage("edge-100", "1.0.0"))
	ak, err := m.dev.CreateAK()
	if err != nil {
		t.Fatal(err)
	}
	evidence := m.quote(t, ak, logs, []byte("nonce"))
	c, err := tpm.Open(m.swtpm.Spec())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if evidence.IMA, err = attesttest.MeasureFile(c, logs.IMA, attesttest.File{Path: "/opt/a tool", Content: []byte("x")}); err != nil {
		t.Fatal(err)
	}
	got := attest.Appraise(evidence, attest.Expectation{QualifyingData: []byte("nonce")})
	if !got.Verified || got.IMA.Ahead != 1 {
		t.Errorf("ahead: %+v, %+v", got.IMA, got.Problems)
	}
	logs.IMA = evidence.IMA
	got = attest.Appraise(m.quote(t, ak, logs, []byte("nonce")), attest.Expectation{QualifyingData: []byte("nonce")})
	if !got.Verified || got.IMA.Ahead != 0 || got.IMA.Entries != 6 {
		t.Errorf("after: %+v, %+v", got.IMA, got.Problems)
	}
}

// Power and keys of one TPM are not those of another.
func TestTwoTPMsAreIndependent(t *testing.T) {
	var devices []machine
	for i := range 2 {
		s, err := maker.NewECCTPM(context.Background(), filepath.Join(t.TempDir(), fmt.Sprint(i)))
		s = started(t, s, err)
		c, err := tpm.Open(s.Spec())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		devices = append(devices, machine{tpm.New(c), s})
	}
	a, b := readEK(t, devices[0].swtpm), readEK(t, devices[1].swtpm)
	if bytes.Equal(a.Public, b.Public) || bytes.Equal(a.Certificate, b.Certificate) {
		t.Error("two TPMs have one EK")
	}
	if err := devices[0].swtpm.PowerOff(); err != nil {
		t.Fatal(err)
	}
	if _, err := devices[1].dev.CreateAK(); err != nil {
		t.Errorf("the other TPM lost power too: %v", err)
	}
}
