package client_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"troth/tuf/client"
)

// image is content that does not repeat.
func image(size int) []byte {
	source := rand.New(rand.NewPCG(1, 2))
	data := make([]byte, size)
	for i := range data {
		data[i] = byte(source.Uint32())
	}
	return data
}

// withImage gives a repository with one target, a refreshed device and a
// place to download to.
func withImage(t *testing.T, content []byte) (h *hostile, d *device, dest string) {
	t.Helper()
	h = newHostile(t)
	h.addTarget("models/edge/fw.tar", content)
	h.bump()
	d = h.newDevice()
	d.mustRefresh(t)
	h.takeRequests()
	return h, d, filepath.Join(t.TempDir(), "fw")
}

func download(t *testing.T, d *device, dest string) error {
	t.Helper()
	return d.Download(t.Context(), "models/edge/fw.tar", dest, nil)
}

// onTarget answers requests for targets.
func onTarget(h *hostile, f func(w http.ResponseWriter, r *http.Request)) {
	h.setHandle(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasPrefix(r.URL.Path, "/targets/") {
			return false
		}
		f(w, r)
		return true
	})
}

func TestDownload(t *testing.T) {
	for _, size := range []int{0, 1, 128 << 10, 1<<20 + 7} {
		t.Run(strconv.Itoa(size), func(t *testing.T) {
			content := image(size)
			h, d, dest := withImage(t, content)
			last := int64(-1)
			err := d.Download(t.Context(), "models/edge/fw.tar", dest, func(done, total int64) {
				if total != int64(size) || done < last {
					t.Errorf("progress %d of %d after %d", done, total, last)
				}
				last = done
			})
			if err != nil {
				t.Fatal(err)
			}
			if size > 0 && last != int64(size) {
				t.Errorf("progress ended at %d", last)
			}
			if !bytes.Equal(readFile(dest), content) {
				t.Error("content differs")
			}
			if readFile(dest+".part") != nil {
				t.Error("part file left")
			}
			h.takeRequests()
			if err := download(t, d, dest); err != nil {
				t.Fatal(err)
			}
			if again := h.takeRequests(); len(again) != 0 {
				t.Errorf("downloaded twice: %v", again)
			}
		})
	}
}

func TestInterruptedDownloadFetchesOnlyTheRest(t *testing.T) {
	content := image(1 << 20)
	h, d, dest := withImage(t, content)
	const cut = 300_000
	onTarget(h, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(len(content)))
		_, _ = w.Write(content[:cut])
		panic(http.ErrAbortHandler)
	})
	if err := download(t, d, dest); client.Code(err) != client.CodeTruncated && client.Code(err) != client.CodeUnreachable {
		t.Fatalf("interrupted: %v", err)
	}
	if readFile(dest) != nil {
		t.Fatal("an unfinished file has its name")
	}
	got := len(readFile(dest + ".part"))
	if got == 0 || got > cut {
		t.Fatalf("%d bytes kept", got)
	}
	h.setHandle(nil)
	h.takeRequests()
	d.reboot(t)
	d.mustRefresh(t)
	first := int64(0)
	err := d.Download(t.Context(), "models/edge/fw.tar", dest, func(done, _ int64) {
		if first == 0 {
			first = done
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if first <= int64(got) {
		t.Errorf("progress began at %d, want more than %d", first, got)
	}
	requests := h.takeRequests()
	if last := requests[len(requests)-1]; !strings.HasSuffix(last, fmt.Sprintf(" bytes=%d-", got)) {
		t.Errorf("requested %q", last)
	}
	if !bytes.Equal(readFile(dest), content) {
		t.Error("content differs")
	}
}

func TestAttack_T6_WrongRangeAnswers(t *testing.T) {
	content := image(100_000)
	full := func(w http.ResponseWriter) { _, _ = w.Write(content) }
	partial := func(w http.ResponseWriter, header string, body []byte) {
		if header != "" {
			w.Header().Set("Content-Range", header)
		}
		w.WriteHeader(http.StatusPartialContent)
		_, _ = w.Write(body)
	}
	for name, answer := range map[string]func(w http.ResponseWriter, r *http.Request){
		"whole file":      func(w http.ResponseWriter, _ *http.Request) { full(w) },
		"not satisfiable": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusRequestedRangeNotSatisfiable) },
		"another start":   func(w http.ResponseWriter, _ *http.Request) { partial(w, "bytes 10-99999/100000", content[10:]) },
		"no header":       func(w http.ResponseWriter, _ *http.Request) { partial(w, "", content[40_000:]) },
		"nonsense header": func(w http.ResponseWriter, _ *http.Request) { partial(w, "bytes x-y/z", content[40_000:]) },
		"end before start": func(w http.ResponseWriter, _ *http.Request) {
			partial(w, "bytes 40000-39999/100000", content[40_000:])
		},
		"right header, wrong bytes": func(w http.ResponseWriter, _ *http.Request) { partial(w, "bytes 40000-99999/100000", content[:60_000]) },
	} {
		t.Run(name, func(t *testing.T) {
			h, d, dest := withImage(t, content)
			onTarget(h, func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Range") != "" {
					answer(w, r)
					return
				}
				full(w)
			})
			if err := os.WriteFile(dest+".part", content[:40_000], 0o600); err != nil {
				t.Fatal(err)
			}
			if err := download(t, d, dest); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(readFile(dest), content) {
				t.Error("content differs")
			}
		})
	}
}

func TestAttack_T6_DamagedPartIsFetchedAgain(t *testing.T) {
	content := image(100_000)
	flipped := bytes.Clone(content)
	flipped[5] ^= 1
	for name, part := range map[string][]byte{
		"flipped bit":              flipped[:50_000],
		"whole length, wrong":      flipped,
		"longer than the target":   append(bytes.Clone(content), "more"...),
		"beginning of another one": image(70_000)[20_000:],
		"already complete":         content,
	} {
		t.Run(name, func(t *testing.T) {
			_, d, dest := withImage(t, content)
			if err := os.WriteFile(dest+".part", part, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := download(t, d, dest); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(readFile(dest), content) {
				t.Error("content differs")
			}
		})
	}
}

func TestAttack_T6_OtherContentNeverGetsTheName(t *testing.T) {
	content := image(50_000)
	other := bytes.Clone(content)
	other[49_999] ^= 0x80
	send := func(b []byte, length string) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, _ *http.Request) {
			if length != "" {
				w.Header().Set("Content-Length", length)
			}
			_, _ = w.Write(b)
			w.(http.Flusher).Flush() // without a length: chunked
		}
	}
	for name, tc := range map[string]struct {
		answer func(http.ResponseWriter, *http.Request)
		code   string
	}{
		"one bit differs":    {send(other, ""), client.CodeContent},
		"too short, told":    {send(content[:10], "10"), client.CodeContent},
		"too short, chunked": {send(content[:10], ""), client.CodeTruncated},
		"too long, told":     {send(append(bytes.Clone(content), 0), "50001"), client.CodeContent},
		"too long, chunked":  {send(append(bytes.Clone(content), 0), ""), client.CodeTooLarge},
		"not found":          {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404) }, client.CodeNotFound},
		"server error":       {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }, client.CodeUnreachable},
		"unasked partial":    {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(206) }, client.CodeUnreachable},
		"unasked compression": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			w.WriteHeader(200)
		}, client.CodeUnreachable},
		"redirect to nowhere": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "file:///etc/passwd", http.StatusFound)
		}, client.CodeUnreachable},
		"redirect in a circle": {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path, http.StatusFound) }, client.CodeUnreachable},
	} {
		t.Run(name, func(t *testing.T) {
			h, d, dest := withImage(t, content)
			onTarget(h, tc.answer)
			if err := os.WriteFile(dest, []byte("installed before"), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := download(t, d, dest); client.Code(err) != tc.code {
				t.Errorf("error %v, want %s", err, tc.code)
			}
			if string(readFile(dest)) != "installed before" {
				t.Error("the old file was touched")
			}
			h.setHandle(nil)
			if err := download(t, d, dest); err != nil {
				t.Errorf("does not recover: %v", err)
			}
		})
	}
}

func TestAttack_T6_PartIsALink(t *testing.T) {
	content := image(1000)
	_, d, dest := withImage(t, content)
	victim := filepath.Join(t.TempDir(), "victim")
	if err := os.WriteFile(victim, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(victim, dest+".part"); err != nil {
		t.Fatal(err)
	}
	if err := download(t, d, dest); client.Code(err) != client.CodeStorage {
		t.Errorf("error %v", err)
	}
	if string(readFile(victim)) != "precious" {
		t.Error("written through a link")
	}
}

func TestAttack_T1_TargetNameLeavesTheDirectory(t *testing.T) {
	for _, name := range []string{"../../etc/passwd", "/etc/passwd", "a/../b", "a//b", "./a", "a/", `..\a`, "a\x00b", "a\nb", ".."} {
		t.Run(fmt.Sprintf("%q", name), func(t *testing.T) {
			h := newHostile(t)
			h.targets.Signed.Targets[name] = h.targets.Signed.Targets["x"]
			h.addTarget("x", []byte("x"))
			h.targets.Signed.Targets[name] = h.targets.Signed.Targets["x"]
			h.bump()
			d := h.newDevice()
			d.mustRefresh(t)
			h.takeRequests()
			if err := d.Download(t.Context(), name, filepath.Join(t.TempDir(), "x"), nil); client.Code(err) != client.CodeName {
				t.Errorf("error %v", err)
			}
			if got := h.takeRequests(); len(got) != 0 {
				t.Errorf("requested %v", got)
			}
		})
	}
}

func TestOddTargetNamesAreEscaped(t *testing.T) {
	for _, name := range []string{"a b#c?d%e.bin", "dir é/ü;x"} {
		h := newHostile(t)
		h.addTarget(name, []byte(name))
		h.bump()
		d := h.newDevice()
		d.mustRefresh(t)
		dest := filepath.Join(t.TempDir(), "x")
		if err := d.Download(t.Context(), name, dest, nil); err != nil || string(readFile(dest)) != name {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestAttack_T4_EndlessTarget(t *testing.T) {
	content := image(100_000)
	h, d, dest := withImage(t, content)
	onTarget(h, func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := w.Write(content); err != nil {
				return
			}
		}
	})
	if err := download(t, d, dest); client.Code(err) != client.CodeTooLarge {
		t.Errorf("error %v", err)
	}
	if readFile(dest) != nil || len(readFile(dest+".part")) > len(content) {
		t.Error("kept more than was signed")
	}
}

func TestAttack_T4_SlowTarget(t *testing.T) {
	content := image(100_000)
	h, d, dest := withImage(t, content)
	d.cfg.Limits = client.Limits{MinRate: 100_000, Window: 100 * time.Millisecond}
	d.reboot(t)
	d.mustRefresh(t)
	onTarget(h, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(len(content)))
		_, _ = w.Write(content[:60_000])
		for i := 60_000; r.Context().Err() == nil && i < len(content); i++ {
			_, _ = w.Write(content[i : i+1])
			w.(http.Flusher).Flush()
			time.Sleep(5 * time.Millisecond)
		}
	})
	if err := download(t, d, dest); client.Code(err) != client.CodeSlow {
		t.Fatalf("error %v", err)
	}
	h.setHandle(nil)
	h.takeRequests()
	if err := download(t, d, dest); err != nil {
		t.Fatal(err)
	}
	if got := h.takeRequests(); len(got) != 1 || !strings.Contains(got[0], " bytes=6") {
		t.Errorf("does not resume: %v", got)
	}
}

func TestDownloadTooLargeForTheDevice(t *testing.T) {
	h, d, dest := withImage(t, image(1000))
	d.cfg.Limits.Target = 999
	d.reboot(t)
	d.mustRefresh(t)
	h.takeRequests()
	if err := download(t, d, dest); client.Code(err) != client.CodeTooLarge || len(h.takeRequests()) != 0 {
		t.Errorf("error %v", err)
	}
}
