package differential_test

import (
	"path/filepath"
	"testing"
	"time"

	goattest "github.com/google/go-attestation/attest"

	"troth/attest"
)

// BenchmarkAgainstGoAttestation is our whole appraisal of a real boot's quote and
// event log, with all its checks and facts, against go-attestation's check of the
// same quote and parse of the same log, and nothing more of it (no replay, no
// Secure Boot state): "x/go-attestation" is the ratio of their shortest times.
func BenchmarkAgainstGoAttestation(b *testing.B) {
	for _, boot := range []string{"own-keys", "qemu-kernel", "shim-grub", "systemd-boot", "uki"} {
		b.Run(boot, func(b *testing.B) {
			quotes := map[string]quoteCase{}
			capturedQuotes(b, filepath.Join(capturedDir, boot), quotes)
			q := quotes["captured/"+boot+" sha256"]
			log := read(b, filepath.Join(capturedDir, boot, "eventlog"))
			e := q.evidence()
			e.EventLog = log
			want := attest.Expectation{QualifyingData: q.nonce, RequireAttributes: true}
			ours, theirs := time.Hour, time.Hour
			b.ReportAllocs()
			for b.Loop() {
				start := time.Now()
				if err := attestationQuote(q); err != nil {
					b.Fatal(err)
				}
				if _, err := goattest.ParseEventLog(log); err != nil {
					b.Fatal(err)
				}
				middle := time.Now()
				if r := attest.Appraise(e, want); !r.Verified || r.SecureBoot == nil {
					b.Fatal(r.Err())
				}
				ours, theirs = min(ours, time.Since(middle)), min(theirs, middle.Sub(start))
			}
			b.ReportMetric(float64(ours)/float64(theirs), "x/go-attestation")
			b.ReportMetric(float64(ours.Nanoseconds()), "ours-ns")
		})
	}
}
