package client_test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"troth/tuf"
	"troth/tuf/delta"
)

// What makes the images of BenchmarkDelta differ: files of a few KiB that changed
// here and there, and one that grew, so that all after it moves.
const (
	deltaSize    = 256 << 20
	deltaChanges = 100
	changedBytes = 4 << 10
	grownBytes   = 1000
)

// BenchmarkDelta updates from an old image to a nearly identical one, and downloads
// the new one whole in the same run: %/bytes is what part of the image's size was
// fetched, its index of chunks included (at most 10), x/time the time of the delta as
// a part of that of the whole download from this machine, and so without a network;
// Mbit/s-even how fast a network must be for the whole download to take no longer,
// MB-peak our process's largest resident memory in the delta (at most 64), and
// MB/s-index how fast the publisher makes the index.
func BenchmarkDelta(b *testing.B) {
	dir := b.TempDir()
	old, next := filepath.Join(dir, "old"), filepath.Join(dir, "new")
	length, sum := writeImages(b, old, next)
	index := filepath.Join(dir, "index")
	began := time.Now()
	indexLength, indexSum := writeIndex(b, index, next, length)
	indexing := time.Since(began)

	h := newHostile(b)
	custom, err := json.Marshal(tuf.Release{
		Name: "fw", Model: "edge", Version: "2", Counter: 2,
		Reference: &tuf.Reference{Bank: "sha256", PCRs: map[string]string{"0": strings.Repeat("ab", 32)}},
		Chunks:    &tuf.Chunks{Target: "fw.chunks", Length: indexLength, SHA256: fmt.Sprintf("%x", indexSum)},
	})
	if err != nil {
		b.Fatal(err)
	}
	h.targets.Signed.Targets["fw"] = &metadata.TargetFiles{Length: length, Hashes: metadata.Hashes{"sha256": sum}, Custom: (*json.RawMessage)(&custom)}
	h.root.Signed.ConsistentSnapshot = true
	h.publishRoot()
	h.bump()
	root := filepath.Join(dir, "root.json")
	if err := os.WriteFile(root, h.get("/metadata/1.root.json"), 0o600); err != nil {
		b.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, ".chunks"):
			http.ServeFile(w, r, index)
		case strings.HasPrefix(r.URL.Path, "/targets/"):
			http.ServeFile(w, r, next)
		default:
			h.serve(w, r)
		}
	}))
	defer server.Close()

	var partly, wholly time.Duration
	peak, n, received := 0, 0, int64(0)
	for b.Loop() {
		n++
		dest := filepath.Join(dir, "fw")
		took, kib, fetched := runDownloader(b, root, filepath.Join(dir, fmt.Sprint("tuf", n)), server.URL, dest, old)
		partly += took
		peak, received = max(peak, kib), fetched
		if err := os.Remove(dest); err != nil {
			b.Fatal(err)
		}
		took, _, _ = runDownloader(b, root, filepath.Join(dir, fmt.Sprint("tuf", n)), server.URL, dest)
		wholly += took
		if err := os.Remove(dest); err != nil {
			b.Fatal(err)
		}
	}
	share := 100 * float64(received) / float64(length)
	b.ReportMetric(share, "%/bytes")
	b.ReportMetric(partly.Seconds()/wholly.Seconds(), "x/time")
	b.ReportMetric(8*float64(length-received)/1e6/(partly.Seconds()/float64(n)), "Mbit/s-even")
	b.ReportMetric(float64(peak)/1000, "MB-peak")
	b.ReportMetric(float64(length)/1e6/indexing.Seconds(), "MB/s-index")
	if share >= 10 || peak >= 64_000 {
		b.Errorf("%.1f %% of the image was fetched, with %d KiB of memory", share, peak)
	}
}

// writeImages makes the two images, and says of the new one what is signed.
func writeImages(b *testing.B, old, next string) (length int64, sum []byte) {
	b.Helper()
	content := make([]byte, deltaSize)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(content) // never fails
	if err := os.WriteFile(old, content, 0o600); err != nil {
		b.Fatal(err)
	}
	source := rand.New(rand.NewPCG(3, 4))
	for range deltaChanges {
		at := source.IntN(deltaSize - changedBytes)
		_, _ = rand.NewChaCha8([32]byte{2, byte(source.Uint32())}).Read(content[at : at+changedBytes])
	}
	f, err := os.Create(next)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	h, grown := sha256.New(), deltaSize/3
	w := bufio.NewWriterSize(io.MultiWriter(f, h), 1<<20)
	for _, part := range [][]byte{content[:grown], make([]byte, grownBytes), content[grown:]} {
		if _, err := w.Write(part); err != nil {
			b.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		b.Fatal(err)
	}
	return deltaSize + grownBytes, h.Sum(nil)
}

func writeIndex(b *testing.B, index, image string, length int64) (int64, []byte) {
	b.Helper()
	f, err := os.Open(image)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	var raw bytes.Buffer
	if err := delta.Write(b.Context(), &raw, f, length); err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(index, raw.Bytes(), 0o600); err != nil {
		b.Fatal(err)
	}
	sum := sha256.Sum256(raw.Bytes())
	return int64(raw.Len()), sum[:]
}
