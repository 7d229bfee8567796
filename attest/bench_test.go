package attest_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"math/big"
	"slices"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"

	"troth/attest"
	"troth/attest/eventlog"
	"troth/attest/ima"
)

// BenchmarkVerify is the bare signature check that BenchmarkAppraise contains.
func BenchmarkVerify(b *testing.B) {
	d := booted(b)
	digest := sha256.Sum256(d.evidence(b).Quote)
	signature, err := ecdsa.SignASN1(rand.Reader, d.ak, digest[:])
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if !ecdsa.VerifyASN1(&d.ak.PublicKey, digest[:], signature) {
			b.Fatal("not verified")
		}
	}
}

func BenchmarkAppraise(b *testing.B) {
	d := booted(b)
	quoteOnly := d.evidence(b)
	quoteOnly.EventLog, quoteOnly.IMA = nil, nil
	for i := range 1000 {
		d.file(fmt.Sprintf("/usr/lib/file-%d", i), "content")
	}
	whole := d.evidence(b)
	noIMA := whole
	noIMA.IMA = nil
	for _, bench := range []struct {
		name     string
		evidence attest.Evidence
	}{{"quote", quoteOnly}, {"quote and event log", noIMA}, {"and 1000 IMA entries", whole}} {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if r := attest.Appraise(bench.evidence, d.want()); !r.Verified {
					b.Fatal(r.Err())
				}
			}
		})
	}
}

// BenchmarkCheckIn is an unchanged check-in of a real boot (quote, PCR values of a
// bank, the event log as it was read before) against the bare signature check of
// the same key and quote, turn by turn in one run; "x/verify" is the ratio.
func BenchmarkCheckIn(b *testing.B) {
	c := capturedBoot(b, "shim-grub")
	e, want := c.evidence(b, "sha256"), c.want(b, "sha256")
	read, err := eventlog.Read(e.EventLog)
	if err != nil {
		b.Fatal(err)
	}
	e.EventLog, e.IMA, e.ReadLog = nil, nil, read
	against(b, "verify", bareVerify(b, e), func() {
		if r := attest.Appraise(e, want); !r.Verified || r.SecureBoot == nil {
			b.Fatal(r.Err())
		}
	})
}

// against runs both turn by turn and reports the ratio of their shortest times:
// what else the machine does only ever adds.
func against(b *testing.B, unit string, bare, whole func()) {
	b.Helper()
	shortest, shortestBare := time.Hour, time.Hour
	b.ReportAllocs()
	for b.Loop() {
		start := time.Now()
		bare()
		middle := time.Now()
		whole()
		shortest = min(shortest, time.Since(middle))
		shortestBare = min(shortestBare, middle.Sub(start))
	}
	b.ReportMetric(float64(shortest)/float64(shortestBare), "x/"+unit)
	b.ReportMetric(float64(shortest.Nanoseconds()), "appraise-ns")
}

// bareVerify checks the signature of a quote by an ECC P-256 key and does nothing
// else.
func bareVerify(b *testing.B, e attest.Evidence) func() {
	b.Helper()
	public, err := tpm2.Unmarshal[tpm2.TPMTPublic](e.AK)
	if err != nil {
		b.Fatal(err)
	}
	point, err := public.Unique.ECC()
	if err != nil {
		b.Fatal(err)
	}
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), slices.Concat([]byte{4}, point.X.Buffer, point.Y.Buffer))
	if err != nil {
		b.Fatal(err)
	}
	signature, err := tpm2.Unmarshal[tpm2.TPMTSignature](e.Signature)
	if err != nil {
		b.Fatal(err)
	}
	pair, err := signature.Signature.ECDSA()
	if err != nil {
		b.Fatal(err)
	}
	r, s := new(big.Int).SetBytes(pair.SignatureR.Buffer), new(big.Int).SetBytes(pair.SignatureS.Buffer)
	return func() {
		digest := sha256.Sum256(e.Quote)
		if !ecdsa.Verify(key, digest[:], r, s) {
			b.Fatal("not verified")
		}
	}
}

// benchBoot is a device with a log of a hundred events in two banks, and a list
// of a thousand files.
func benchBoot(b *testing.B) (attest.Evidence, attest.Expectation) {
	b.Helper()
	d := newDevice(b, "sha256", "sha384")
	d.boot()
	for i := len(d.events(b)); i < 100; i++ {
		d.measure(8, eventlog.IPL, fmt.Appendf(nil, "set number=%d", i), fmt.Appendf(nil, "grub_cmd: set number=%d\x00", i))
	}
	d.aggregate("sha256", 9)
	for i := range 999 {
		d.file(fmt.Sprintf("/usr/lib/x86_64-linux-gnu/libraries/file-%d.so", i), fmt.Sprint("content ", i))
	}
	return d.evidence(b), d.want()
}

func (d *device) events(t testing.TB) []eventlog.Event {
	t.Helper()
	log, err := eventlog.Parse(d.log)
	if err != nil {
		t.Fatal(err)
	}
	return log.Events
}

// BenchmarkFullAppraisal is everything about a quote of two banks with a log of
// 100 events and a list of 1,000 entries, against the hashing and verifying that
// it cannot do without ("x/bare").
func BenchmarkFullAppraisal(b *testing.B) {
	e, want := benchBoot(b)
	against(b, "bare", bareWork(b, e), func() {
		if r := attest.Appraise(e, want); !r.Verified || r.IMA.Entries != 1000 || len(r.EventLog.CommandLines) != 1 {
			b.Fatal(r.Err())
		}
	})
}

// bareWork verifies the signature, hashes what the event log hashes to check its
// texts, extends every event and entry in each bank, and hashes each entry's
// template for the hash that the list records (SHA-1) and each bank.
func bareWork(b *testing.B, e attest.Evidence) func() {
	b.Helper()
	log, err := eventlog.Parse(e.EventLog)
	if err != nil {
		b.Fatal(err)
	}
	list, err := ima.Parse(e.IMA)
	if err != nil {
		b.Fatal(err)
	}
	template := templateNG(make([]byte, 32), list.Entries[500].Name) // as long as the others, but for some digits
	verify := bareVerify(b, e)
	return func() {
		verify()
		var v256, v384 [96]byte // a PCR's value, and what extends it
		extend := func(data []byte) {
			s256, s384 := sha256.Sum256(data), sha512.Sum384(data)
			copy(v256[32:], s256[:])
			copy(v384[48:], s384[:])
			s256, s384 = sha256.Sum256(v256[:64]), sha512.Sum384(v384[:])
			copy(v256[:], s256[:])
			copy(v384[:], s384[:])
		}
		for _, event := range log.Events[1:] {
			extend(event.Data)
		}
		for range list.Entries {
			s1 := sha1.Sum(template)
			v256[0] ^= s1[0]
			extend(template)
		}
	}
}
