package tuf_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"troth/tuf"
)

// filled is a repository of 2048 hash bins with n releases of a hundred models.
func filled(tb testing.TB, n int) (*tuf.Repository, string) {
	tb.Helper()
	base := tb.TempDir()
	dir, keys := filepath.Join(base, "repo"), filepath.Join(base, "keys")
	if err := tuf.Init(dir, tuf.InitOptions{KeysDir: keys, Now: start, BinBits: 11}); err != nil {
		tb.Fatal(err)
	}
	repo, err := tuf.Open(dir, keys)
	if err != nil {
		tb.Fatal(err)
	}
	var releases []tuf.Release
	for i := range n {
		releases = append(releases, release(fmt.Sprintf("m%d/fw-%d.img", i%100, i), fmt.Sprintf("model-%d", i%100), uint64(i+1)))
	}
	if err := repo.Fill(releases, start); err != nil {
		tb.Fatal(err)
	}
	return repo, dir
}

// BenchmarkPublish publishes in turn where there are 100 targets and where there are
// 100,000, so that both have the same machine, and reports how many times as long
// the second takes: at most 1.5.
func BenchmarkPublish(b *testing.B) {
	var spent [2]time.Duration
	var next [2]func()
	var dirs [2]string
	for i, n := range []int{100, 100_000} {
		repo, dir := filled(b, n)
		counter := uint64(n)
		dirs[i] = dir
		next[i] = func() {
			counter++
			rel := release(fmt.Sprintf("new/fw-%d.img", counter), "model-7", counter)
			if _, err := repo.Publish(b.Context(), rel, strings.NewReader("firmware"), start); err != nil {
				b.Fatal(err)
			}
		}
		next[i]() // makes the index
	}
	for b.Loop() {
		for i := range next {
			began := time.Now()
			next[i]()
			spent[i] += time.Since(began)
		}
	}
	b.ReportMetric(float64(spent[0].Microseconds())/float64(b.N)/1000, "ms/100")
	b.ReportMetric(float64(spent[1].Microseconds())/float64(b.N)/1000, "ms/100k")
	b.ReportMetric(float64(spent[1])/float64(spent[0]), "ratio")
	b.ReportMetric(refreshBytes(b, dirs[1]), "refresh-B")
}

// refreshBytes is what a returning device fetches after a release was published:
// timestamp and snapshot.
func refreshBytes(tb testing.TB, dir string) float64 {
	tb.Helper()
	snapshots, err := filepath.Glob(filepath.Join(dir, "metadata", "*.snapshot.json"))
	if err != nil {
		tb.Fatal(err)
	}
	var newest int64
	for _, file := range snapshots {
		if info, err := os.Stat(file); err == nil {
			newest = max(newest, info.Size())
		}
	}
	info, err := os.Stat(filepath.Join(dir, "metadata", "timestamp.json"))
	if err != nil {
		tb.Fatal(err)
	}
	return float64(newest + info.Size())
}
