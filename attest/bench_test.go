package attest_test

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"testing"
	"time"

	"troth/attest"
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

// BenchmarkCheckIn is an unchanged check-in (quote and PCR values of a bank, no
// log) against the bare signature check of the same key and quote, turn by turn
// in one run; "x/verify" is the ratio.
func BenchmarkCheckIn(b *testing.B) {
	d := newDevice(b, "sha256")
	d.boot()
	for pcr := 11; pcr < 16; pcr++ {
		d.pcrs["sha256"][pcr] = make([]byte, 32)
	}
	e, want := d.evidence(b), d.want()
	e.EventLog, e.IMA = nil, nil
	digest := sha256.Sum256(e.Quote)
	signature, err := ecdsa.SignASN1(rand.Reader, d.ak, digest[:])
	if err != nil {
		b.Fatal(err)
	}
	var bare, whole time.Duration
	b.ReportAllocs()
	for b.Loop() {
		start := time.Now()
		if !ecdsa.VerifyASN1(&d.ak.PublicKey, digest[:], signature) {
			b.Fatal("not verified")
		}
		middle := time.Now()
		if r := attest.Appraise(e, want); !r.Verified {
			b.Fatal(r.Err())
		}
		bare, whole = bare+middle.Sub(start), whole+time.Since(middle)
	}
	b.ReportMetric(float64(whole)/float64(bare), "x/verify")
	b.ReportMetric(float64(whole.Nanoseconds())/float64(b.N), "appraise-ns/op")
}
