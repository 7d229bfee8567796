package vuln_test

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"testing"
	"time"

	"troth/internal/vuln"
)

// BenchmarkFeed imports 100,000 records and compares 200 releases of 500
// components with them.
func BenchmarkFeed(b *testing.B) {
	const records, releases, components, names = 100_000, 200, 500, 20_000
	for b.Loop() {
		r := newRig(b)
		for i := range releases {
			var purls []string
			for j := range components {
				purls = append(purls, fmt.Sprintf("pkg:npm/p%d@1.%d.0", (i*7+j*13)%names, i%3))
			}
			r.publish(fmt.Sprintf("1.%d", i), uint64(i+1), purls...)
		}
		began := time.Now()
		for i := 0; i < records; i += vuln.MaxRecords {
			var list []json.RawMessage
			for j := i; j < i+vuln.MaxRecords; j++ {
				list = append(list, json.RawMessage(record(fmt.Sprintf("A-%d", j), "01", fmt.Sprintf("p%d", j%(2*names)), "1.1.0", rated("HIGH"))))
			}
			if _, err := r.Import(context.Background(), list, "bench"); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(records/time.Since(began).Seconds(), "records/s")
		before := heap()
		began = time.Now()
		r.compare()
		b.ReportMetric(float64(time.Since(began).Milliseconds()), "ms/compare")
		b.ReportMetric(float64(heap()-before)/1e6, "MB/kept")
		began = time.Now()
		if o := r.overview(vuln.Query{}); len(o.Affected) != 1000 {
			b.Fatalf("%d affected", len(o.Affected))
		}
		b.ReportMetric(float64(time.Since(began).Milliseconds()), "ms/overview")
		began = time.Now()
		for i := range 1000 {
			r.Facts(r.catalog[i%releases])
		}
		b.ReportMetric(float64(time.Since(began).Microseconds())/1000, "µs/facts")
	}
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
