package preview_test

import (
	"flag"
	"fmt"
	"runtime/metrics"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"troth/internal/evidence"
	"troth/internal/fleet"
	"troth/internal/preview"
	"troth/policies"
	"troth/policy"
)

// fleetSize is how many devices the benchmark previews:
//
//	go test ./internal/preview -run XXX -bench Fleet -benchtime 1x -preview.devices 100000
var fleetSize = flag.Int("preview.devices", 2000, "devices in the previewed fleet")

// BenchmarkFleet previews the library on a fleet whose devices it judged, a tenth of
// which fail a control. It reports what one device costs: time, the processor time of
// all cores, and the most that was on the heap beyond what was there at the start.
func BenchmarkFleet(b *testing.B) {
	s := open(b)
	e, err := policy.New(b.Context(), policies.FS, policy.Options{})
	if err != nil {
		b.Fatal(err)
	}
	pcrs := map[string]string{}
	for i := range 24 {
		pcrs[fmt.Sprint(i)] = strings.Repeat("ab", 32)
	}
	decided := map[bool]policy.PostureDecision{}
	for n := range *fleetSize {
		fails := n%10 == 0
		in := policy.PostureInput{
			Now: now, Evidence: strings.Repeat("e", 64),
			Device: policy.DeviceInput{ID: fmt.Sprintf("%064x", n), Name: fmt.Sprintf("gate-%d", n), Model: "gw-100", Lifecycle: "active", Labels: map[string]string{"group": fmt.Sprint(n % 20)}},
			Attestation: policy.AttestationInput{
				Verified: true, PCRs: pcrs, EventLog: policy.EventLogInput{Given: true, Replayed: true},
				SecureBoot: policy.SecureBootInput{Known: true, Enabled: !fails, DB: []string{strings.Repeat("c", 64)}, DBX: manyDigests(200)},
				IMA:        policy.IMAInput{Given: true, Replayed: true, Entries: 900}, Clock: policy.ClockInput{ResetCount: 7, Clock: uint64(n), Safe: true},
			},
			Firmware:    policy.FirmwareInput{Known: true, Version: "1.2.0", Counter: 3, Reported: "1.2.0", LatestVersion: "1.2.0", LatestCounter: 3, LatestSecurityCounter: 3},
			Reported:    map[string]any{"hostname": fmt.Sprintf("gate-%d", n), "kernel": "6.12.1", "uptime_seconds": n},
			Certificate: policy.CertificateInput{NotAfter: now.Add(12 * time.Hour)},
		}
		if _, known := decided[fails]; !known {
			if decided[fails], err = e.Posture(b.Context(), in); err != nil {
				b.Fatal(err)
			}
		}
		kept, input, err := evidence.Record("posture", fleet.DeviceID(in.Device.ID), in, decided[fails])
		if err != nil {
			b.Fatal(err)
		}
		kept.Input = input.Digest
		p := fleet.Posture{Device: kept.Device, At: now, Verdict: fleet.Verdict(decided[fails].Verdict), Decision: kept.ID}
		for _, c := range decided[fails].Controls {
			p.Controls = append(p.Controls, fleet.Control{
				ID: c.ID, Title: c.Title, Severity: fleet.Severity(c.Severity), Outcome: fleet.Outcome(c.Outcome), Reason: c.Reason,
				Since: c.Since, EnforcedAt: c.EnforcedAt, Remediation: c.Remediation, Frameworks: c.Frameworks,
			})
		}
		d := fleet.Device{ID: kept.Device, Name: in.Device.Name, Model: in.Device.Model, Labels: in.Device.Labels, Lifecycle: fleet.Active}
		if err := s.Apply(b.Context(), fleet.Change{Devices: []fleet.Device{d}, Posture: &p, Decisions: []fleet.Decision{kept}, Blobs: []fleet.Blob{input}}); err != nil {
			b.Fatal(err)
		}
	}
	p := preview.New(s, time.Now)
	b.ResetTimer()
	began, before, wall := processor(), heap(), time.Now()
	var most atomic.Uint64
	for b.Loop() {
		r, err := p.Run(b.Context(), e, preview.Options{}, func(int, int) {
			if h := heap(); h > most.Load() {
				most.Store(h)
			}
		})
		if err != nil || r.Decisions != *fleetSize || r.Counts.Same != *fleetSize {
			b.Fatalf("%+v, %v", r.Counts, err)
		}
	}
	n := float64(b.N * *fleetSize)
	b.ReportMetric(float64(time.Since(wall).Microseconds())/n, "µs/device")
	b.ReportMetric(float64((processor()-began).Microseconds())/n, "cpu-µs/device")
	b.ReportMetric(float64(max(most.Load(), before)-before)/(1<<20), "MiB-heap")
}

func manyDigests(n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf("%064x", i)
	}
	return list
}

// processor is the time that this process used of all cores.
func processor() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func heap() uint64 {
	read := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(read)
	return read[0].Value.Uint64()
}
