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
// Secure Boot state): "x/go-attestation" is the ratio of their shortest times. Of
// ours, a sixth is the hashing of event data and of what PCRs are extended with,
// which a parse leaves out; "x/go-attestation-replayed" is the ratio when theirs
// replays the log too, as it must before anybody may believe it.
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
			ours, theirs, replayed := time.Hour, time.Hour, time.Hour
			pcrs := attestationPCRs(q)
			b.ReportAllocs()
			for b.Loop() {
				start := time.Now()
				if err := attestationQuote(q); err != nil {
					b.Fatal(err)
				}
				parsed, err := goattest.ParseEventLog(log)
				if err != nil {
					b.Fatal(err)
				}
				middle := time.Now()
				if _, err := parsed.Verify(pcrs); err != nil {
					b.Fatal(err)
				}
				end := time.Now()
				if r := attest.Appraise(e, want); !r.Verified || r.SecureBoot == nil {
					b.Fatal(r.Err())
				}
				ours = min(ours, time.Since(end))
				theirs, replayed = min(theirs, middle.Sub(start)), min(replayed, end.Sub(start))
			}
			b.ReportMetric(float64(ours)/float64(theirs), "x/go-attestation")
			b.ReportMetric(float64(ours)/float64(replayed), "x/go-attestation-replayed")
			b.ReportMetric(float64(ours.Nanoseconds()), "ours-ns")
		})
	}
}
