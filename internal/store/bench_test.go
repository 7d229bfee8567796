package store_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"troth/internal/fleet"
	"troth/internal/pgtest"
	"troth/internal/store"
	"troth/internal/store/storetest"
)

const benchDevices = 10_000

// benchStore is a store with devices enough that an index counts.
func benchStore(b *testing.B, dsn string) *store.Store {
	b.Helper()
	s := storetest.Open(b, dsn)
	for first := 0; first < benchDevices; first += 1000 {
		var c fleet.Change
		for n := first; n < first+1000; n++ {
			c.Devices = append(c.Devices, benchDevice(n))
		}
		if err := s.Apply(context.Background(), c); err != nil {
			b.Fatal(err)
		}
	}
	return s
}

func benchDevice(n int) fleet.Device {
	return fleet.Device{
		ID: fleet.DeviceID(fmt.Sprintf("%064x", n)), Name: fmt.Sprintf("device-%d", n), Model: "model-a", Labels: map[string]string{"site": "north"},
		Lifecycle: fleet.Active, Verdict: fleet.Compliant, EKPublic: make([]byte, 314), EKCertificate: make([]byte, 1200), AKPublic: make([]byte, 90), TLSPublic: make([]byte, 91),
	}
}

// checkIn is the change of a check-in in which something changed.
func checkIn(d fleet.Device, n int64) fleet.Change {
	now := time.UnixMicro(1_700_000_000_000_000 + n)
	d.LastSeen, d.FreshUntil, d.LastNonce = now, now.Add(10*time.Minute), n
	return fleet.Change{
		Devices: []fleet.Device{d},
		Posture: &fleet.Posture{Device: d.ID, At: now, Verdict: fleet.Compliant, Attestation: make([]byte, 0, 1)},
		Decisions: []fleet.Decision{{
			ID: fmt.Sprintf("%s/%d", d.ID, n), Kind: "posture", Device: d.ID, At: now, Document: []byte(`{"verdict":"compliant"}`),
		}},
	}
}

func benchmarks(b *testing.B, run func(b *testing.B, s *store.Store)) {
	b.Run("SQLite", func(b *testing.B) { run(b, benchStore(b, sqliteDSN(b))) })
	b.Run("SQLite-normal", func(b *testing.B) { run(b, benchStore(b, sqliteDSN(b)+"?synchronous=normal")) })
	b.Run("PostgreSQL", func(b *testing.B) { run(b, benchStore(b, pgtest.New(b))) })
}

// BenchmarkApply writes check-ins from many goroutines.
func BenchmarkApply(b *testing.B) {
	benchmarks(b, func(b *testing.B, s *store.Store) {
		var next atomic.Int64
		b.SetParallelism(8)
		b.ResetTimer()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				n := next.Add(1)
				d, err := s.Device(context.Background(), fleet.DeviceID(fmt.Sprintf("%064x", n%benchDevices)))
				if err != nil {
					b.Error(err)
					return
				}
				if err := s.Apply(context.Background(), checkIn(d, n)); err != nil {
					b.Error(err)
					return
				}
			}
		})
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "applies/s")
	})
}

// BenchmarkDevice reads devices from many goroutines.
func BenchmarkDevice(b *testing.B) {
	benchmarks(b, func(b *testing.B, s *store.Store) {
		var next atomic.Int64
		b.SetParallelism(8)
		b.ResetTimer()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, err := s.Device(context.Background(), fleet.DeviceID(fmt.Sprintf("%064x", next.Add(7919)%benchDevices))); err != nil {
					b.Error(err)
					return
				}
			}
		})
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "reads/s")
	})
}
