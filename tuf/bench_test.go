package tuf_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

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

// BenchmarkPublish: one release at 100,000 targets costs at most 1.5 times what it
// costs at 100.
func BenchmarkPublish(b *testing.B) {
	for _, n := range []int{100, 100_000} {
		b.Run(fmt.Sprintf("targets=%d", n), func(b *testing.B) {
			repo, dir := filled(b, n)
			counter := uint64(n)
			next := func() {
				counter++
				rel := release(fmt.Sprintf("new/fw-%d.img", counter), "model-7", counter)
				if _, err := repo.Publish(b.Context(), rel, strings.NewReader("firmware"), start); err != nil {
					b.Fatal(err)
				}
			}
			next() // makes the index
			for b.Loop() {
				next()
			}
			b.StopTimer()
			b.ReportMetric(refreshBytes(b, dir), "refresh-B")
		})
	}
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
