package client_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"troth/tuf/client"
)

// asDownloader makes the test program a process that downloads, so that its memory
// and its time are its own.
const asDownloader = "TROTH_BENCH_DOWNLOAD"

func TestMain(m *testing.M) {
	if args := os.Getenv(asDownloader); args != "" {
		os.Exit(downloader(strings.Split(args, "|")))
	}
	os.Exit(m.Run())
}

// downloader refreshes, downloads, and prints how long the download took, its
// largest resident memory in KiB, and how many bytes were fetched. A fifth argument
// is an old image to start from.
func downloader(args []string) int {
	root, err := os.ReadFile(args[0])
	if err != nil {
		return fail(err)
	}
	c, err := client.New(client.Config{
		Dir: args[1], Root: root, MetadataURL: args[2] + "/metadata", TargetsURL: args[2] + "/targets",
		Now: func() time.Time { return start },
	})
	if err != nil {
		return fail(err)
	}
	if err := c.Refresh(context.Background()); err != nil {
		return fail(err)
	}
	old := client.Old{}
	if len(args) > 4 {
		f, err := os.Open(args[4])
		if err != nil {
			return fail(err)
		}
		defer f.Close()
		info, err := f.Stat()
		if err != nil {
			return fail(err)
		}
		old = client.Old{Content: f, Length: info.Size()}
	}
	begin := time.Now()
	transfer, err := c.DownloadFrom(context.Background(), "fw", args[3], old, nil)
	if err = errors.Join(err, transfer.Trouble); err != nil {
		return fail(err)
	}
	took := time.Since(begin)
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return fail(err)
	}
	for line := range strings.Lines(string(status)) {
		if peak, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			fmt.Println(took.Nanoseconds(), strings.Fields(peak)[0], transfer.Fetched)
			return 0
		}
	}
	return fail(io.ErrUnexpectedEOF)
}

func fail(err error) int {
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// benchSize of a release: 1 GiB, or TROTH_BENCH_MIB.
func benchSize() int64 {
	if n, err := strconv.ParseInt(os.Getenv("TROTH_BENCH_MIB"), 10, 64); err == nil && n > 0 {
		return n << 20
	}
	return 1 << 30
}

// BenchmarkDownload compares with curl | sha256sum on the same file, in turn: x/curl
// is our speed as a part of theirs, MB-peak our process's largest resident memory.
// Both go through a file: ours is written, synced and read back.
func BenchmarkDownload(b *testing.B) {
	for _, p := range []string{"curl", "sha256sum"} {
		if _, err := exec.LookPath(p); err != nil {
			b.Skipf("NOT TESTED: %s is not installed", p)
		}
	}
	dir := b.TempDir()
	h := newHostile(b)
	file := filepath.Join(dir, "content")
	length, sum := writeContent(b, file, benchSize())
	h.targets.Signed.Targets["fw"] = &metadata.TargetFiles{Length: length, Hashes: metadata.Hashes{"sha256": sum}}
	h.root.Signed.ConsistentSnapshot = true
	h.bump()
	root := filepath.Join(dir, "root.json")
	if err := os.WriteFile(root, h.get("/metadata/1.root.json"), 0o600); err != nil {
		b.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/targets/") {
			http.ServeFile(w, r, file)
			return
		}
		h.serve(w, r)
	}))
	defer server.Close()
	var ours, theirs time.Duration
	peak, n := 0, 0
	for b.Loop() {
		n++
		begin := time.Now()
		out, err := exec.CommandContext(b.Context(), "sh", "-c", "curl -sS "+server.URL+"/targets/fw | sha256sum").Output()
		theirs += time.Since(begin)
		if err != nil || !strings.HasPrefix(string(out), hex.EncodeToString(sum)) {
			b.Fatalf("curl: %v: %s", err, out)
		}
		dest := filepath.Join(dir, "fw")
		took, kib, _ := runDownloader(b, root, filepath.Join(dir, fmt.Sprint("tuf", n)), server.URL, dest)
		ours += took
		peak = max(peak, kib)
		if err := os.Remove(dest); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(length)
	b.ReportMetric(theirs.Seconds()/ours.Seconds(), "x/curl")
	b.ReportMetric(float64(peak)/1000, "MB-peak")
}

// runDownloader downloads in a process of its own.
func runDownloader(b *testing.B, args ...string) (took time.Duration, peakKiB int, fetched int64) {
	b.Helper()
	cmd := exec.CommandContext(b.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), asDownloader+"="+strings.Join(args, "|"))
	var problem bytes.Buffer
	cmd.Stderr = &problem
	out, err := cmd.Output()
	if err != nil {
		b.Fatalf("download: %v: %s", err, problem.String())
	}
	if _, err := fmt.Sscan(string(out), &took, &peakKiB, &fetched); err != nil {
		b.Fatal(err)
	}
	return took, peakKiB, fetched
}

// writeContent makes a file that does not repeat within a MiB.
func writeContent(b *testing.B, path string, size int64) (length int64, sum []byte) {
	b.Helper()
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	block, h := image(1<<20), sha256.New()
	w := bufio.NewWriterSize(io.MultiWriter(f, h), 1<<20)
	for i := int64(0); i < size>>20; i++ {
		copy(block, strconv.FormatInt(i, 10))
		if _, err := w.Write(block); err != nil {
			b.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		b.Fatal(err)
	}
	return size, h.Sum(nil)
}
