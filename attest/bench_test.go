package attest_test

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"testing"

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
