package evidence_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"troth/attest"
	"troth/internal/evidence"
	"troth/internal/fleet"
)

// machine is a device with a list of n entries and a key in software: what the
// service does, not the TPM, is measured.
type machine struct {
	key    *ecdsa.PrivateKey
	list   []byte // binary
	pcr    []byte
	device fleet.DeviceID
}

func newMachine(b *testing.B, n int) *machine {
	b.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	m := &machine{key: key, pcr: make([]byte, 32), device: fleet.DeviceID(fmt.Sprintf("%064x", 1))}
	for i := range n {
		m.measure(fmt.Sprintf("/usr/lib/x86_64-linux-gnu/library-%d.so", i))
	}
	return m
}

// measure adds an entry of ima-ng.
func (m *machine) measure(name string) {
	le := binary.LittleEndian
	digest := sha256.Sum256([]byte(name))
	field := append([]byte("sha256:\x00"), digest[:]...)
	data := append(le.AppendUint32(nil, uint32(len(field))), field...)
	data = append(le.AppendUint32(data, uint32(len(name)+1)), name+"\x00"...)
	sum := sha256.Sum256(data)
	m.list = append(append(le.AppendUint32(m.list, 10), sum[:]...), "\x06\x00\x00\x00ima-ng"...)
	m.list = append(le.AppendUint32(m.list, uint32(len(data))), data...)
	value := sha256.Sum256(append(m.pcr, sum[:]...))
	m.pcr = value[:]
}

func (m *machine) ak() []byte {
	point := tpm2.TPMSECCPoint{
		X: tpm2.TPM2BECCParameter{Buffer: m.key.X.FillBytes(make([]byte, 32))},
		Y: tpm2.TPM2BECCParameter{Buffer: m.key.Y.FillBytes(make([]byte, 32))},
	}
	return tpm2.Marshal(tpm2.TPMTPublic{
		Type: tpm2.TPMAlgECC, NameAlg: tpm2.TPMAlgSHA256,
		ObjectAttributes: tpm2.TPMAObject{FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true, UserWithAuth: true, Restricted: true, SignEncrypt: true},
		Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{
			CurveID: tpm2.TPMECCNistP256,
			Scheme:  tpm2.TPMTECCScheme{Scheme: tpm2.TPMAlgECDSA, Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgECDSA, &tpm2.TPMSSigSchemeECDSA{HashAlg: tpm2.TPMAlgSHA256})},
		}),
		Unique: tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &point),
	})
}

// says is the evidence with the list from a byte and an entry on.
func (m *machine) says(b *testing.B, at, from int) evidence.Submission {
	b.Helper()
	tail := m.list[at:]
	sum := sha256.Sum256(tail)
	binding := attest.Binding{Purpose: "checkin", Nonce: []byte("n"), DeviceID: string(m.device), Reported: []byte("{}"), IMA: sum, IMAFrom: uint64(from)}
	values, all := map[int]string{}, sha256.New()
	for i := range 16 {
		value := make([]byte, 32)
		if i == 10 {
			value = m.pcr
		}
		values[i] = hex.EncodeToString(value)
		all.Write(value)
	}
	quote := tpm2.Marshal(tpm2.TPMSAttest{
		Magic: tpm2.TPMGeneratedValue, Type: tpm2.TPMSTAttestQuote, ExtraData: tpm2.TPM2BData{Buffer: binding.QualifyingData()},
		ClockInfo: tpm2.TPMSClockInfo{Clock: 1, ResetCount: 1, Safe: true},
		Attested: tpm2.NewTPMUAttest(tpm2.TPMSTAttestQuote, &tpm2.TPMSQuoteInfo{
			PCRSelect: tpm2.TPMLPCRSelection{PCRSelections: []tpm2.TPMSPCRSelection{{Hash: tpm2.TPMAlgSHA256, PCRSelect: []byte{0xff, 0xff, 0}}}},
			PCRDigest: tpm2.TPM2BDigest{Buffer: all.Sum(nil)},
		}),
	})
	digest := sha256.Sum256(quote)
	r, s, err := ecdsa.Sign(rand.Reader, m.key, digest[:])
	if err != nil {
		b.Fatal(err)
	}
	signature := tpm2.Marshal(tpm2.TPMTSignature{SigAlg: tpm2.TPMAlgECDSA, Signature: tpm2.NewTPMUSignature(tpm2.TPMAlgECDSA, &tpm2.TPMSSignatureECC{
		Hash: tpm2.TPMAlgSHA256, SignatureR: tpm2.TPM2BECCParameter{Buffer: r.Bytes()}, SignatureS: tpm2.TPM2BECCParameter{Buffer: s.Bytes()},
	})})
	return evidence.Submission{
		Quote: quote, Signature: signature, PCRs: map[string]map[int]string{"sha256": values}, Reported: []byte("{}"),
		IMA: &evidence.Log{SHA256: hex.EncodeToString(sum[:]), Content: tail}, IMAFrom: from,
	}
}

// noBlobs holds nothing: a check-in that continues needs nothing of before.
type noBlobs struct{}

func (noBlobs) Blob(context.Context, string) ([]byte, error) { return nil, fleet.ErrNotFound }

// BenchmarkCheckIn appraises a list of 100,000 entries whole, by what it grew by,
// and unchanged, and reports the bytes of each as they are sent.
func BenchmarkCheckIn(b *testing.B) {
	const n = 100_000
	m := newMachine(b, n)
	about := evidence.Subject{Purpose: "checkin", Device: m.device, AK: m.ak(), Nonce: []byte("n")}
	whole := m.says(b, 0, 0)
	first, err := evidence.Appraise(b.Context(), noBlobs{}, whole, about)
	if err != nil || first.Progress == nil || first.Progress.Entries != n {
		b.Fatalf("%+v, %v", first.Progress, err)
	}
	size := len(m.list)
	known := about
	known.Progress = *first.Progress
	unchanged := m.says(b, size, n)
	for i := range 10 {
		m.measure(fmt.Sprint("/opt/new", i))
	}
	for _, bb := range []struct {
		name  string
		sub   evidence.Submission
		about evidence.Subject
	}{{"whole", whole, about}, {"ten more", m.says(b, size, n), known}, {"unchanged", unchanged, known}} {
		b.Run(bb.name, func(b *testing.B) {
			sent, err := json.Marshal(bb.sub)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := evidence.Appraise(b.Context(), noBlobs{}, bb.sub, bb.about); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(len(sent)), "sent-B/op")
		})
	}
}
