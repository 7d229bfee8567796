package client_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"troth/tuf"
	"troth/tuf/client"
	"troth/tuf/delta"
)

const (
	updated   = "models/edge/fw-2.img"
	imageSize = 4 << 20
)

// an update from an old image to a new one that is nearly the same.
type update struct {
	t        *testing.T
	h        *hostile
	d        *device
	dest     string
	old, new []byte
	index    []byte // the honest one

	mu   sync.Mutex
	sent int64 // bytes of targets that the server sent
}

// newUpdate publishes the new image, with what forge makes of its index.
func newUpdate(t *testing.T, forge func(u *update) []byte) *update {
	t.Helper()
	u := &update{t: t, h: newHostile(t), old: image(imageSize), dest: filepath.Join(t.TempDir(), "fw")}
	u.new = bytes.Clone(u.old)
	copy(u.new[1<<20:], "a line of a file")
	copy(u.new[3<<20:], "and one of another")
	u.index = indexOf(t, u.new)
	index := u.index
	if forge != nil {
		index = forge(u)
	}
	u.h.addTarget(updated+tuf.ChunksSuffix, index)
	u.h.addTarget(updated, u.new)
	pinned := tuf.NewTarget("", u.h.targets.Signed.Targets[updated+tuf.ChunksSuffix])
	custom, err := json.Marshal(tuf.Release{
		Name: updated, Model: "edge", Version: "2", Counter: 2,
		Reference: &tuf.Reference{Bank: "sha256", PCRs: map[string]string{"0": strings.Repeat("ab", 32)}},
		Chunks:    &tuf.Chunks{Target: updated + tuf.ChunksSuffix, Length: max(pinned.Length, 1), SHA256: pinned.Hashes["sha256"]},
	})
	if err != nil {
		t.Fatal(err)
	}
	u.h.targets.Signed.Targets[updated].Custom = (*json.RawMessage)(&custom)
	u.h.root.Signed.ConsistentSnapshot = true
	u.h.bump()
	u.answer(nil)
	u.d = u.h.newDevice()
	u.d.mustRefresh(t)
	u.h.takeRequests()
	return u
}

func indexOf(t testing.TB, image []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := delta.Write(t.Context(), &b, bytes.NewReader(image), int64(len(image))); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// counting counts what is sent.
type counting struct {
	http.ResponseWriter
	u *update
}

func (c counting) Write(b []byte) (int, error) {
	n, err := c.ResponseWriter.Write(b)
	c.u.mu.Lock()
	defer c.u.mu.Unlock()
	c.u.sent += int64(n)
	return n, err
}

func (c counting) Flush() { c.ResponseWriter.(http.Flusher).Flush() }

func (u *update) taken() int64 {
	u.mu.Lock()
	defer u.mu.Unlock()
	n := u.sent
	u.sent = 0
	return n
}

// answer has f answer requests for targets; where it does not, they are served.
func (u *update) answer(f func(w http.ResponseWriter, r *http.Request) bool) {
	onTarget(u.h, func(w http.ResponseWriter, r *http.Request) {
		if f != nil && f(counting{w, u}, r) {
			return
		}
		content := u.h.get(r.URL.Path)
		if content == nil {
			http.NotFound(w, r)
			return
		}
		http.ServeContent(counting{w, u}, r, "", time.Time{}, bytes.NewReader(content))
	})
}

// onImage has f answer requests for the image, but not for its index.
func (u *update) onImage(f func(w http.ResponseWriter, r *http.Request) bool) {
	u.answer(func(w http.ResponseWriter, r *http.Request) bool {
		return !strings.HasSuffix(r.URL.Path, tuf.ChunksSuffix) && f(w, r)
	})
}

func (u *update) from(old io.ReaderAt) (client.Transfer, error) {
	last := int64(-1)
	return u.d.DownloadFrom(u.t.Context(), updated, u.dest, client.Old{Content: old, Length: int64(len(u.old))}, func(done, total int64) {
		if total != int64(len(u.new)) {
			u.t.Errorf("progress to %d of %d bytes", total, len(u.new))
		}
		if done < last-imageSize { // it may begin again
			u.t.Errorf("progress to %d after %d bytes", done, last)
		}
		last = done
	})
}

// must downloads with the old image at hand, and requires the new one.
func (u *update) must(old io.ReaderAt) client.Transfer {
	u.t.Helper()
	got, err := u.from(old)
	if err != nil {
		u.t.Fatal(err)
	}
	u.whole()
	return got
}

// whole requires that the new image is there, and nothing else.
func (u *update) whole() {
	u.t.Helper()
	if !bytes.Equal(readFile(u.dest), u.new) {
		u.t.Fatal("what was downloaded is not the new image")
	}
	left, err := os.ReadDir(filepath.Dir(u.dest))
	if err != nil || len(left) != 1 {
		u.t.Errorf("left beside it: %v, %v", left, err)
	}
}

func TestDeltaFetchesWhatChanged(t *testing.T) {
	u := newUpdate(t, nil)
	got := u.must(bytes.NewReader(u.old))
	if got.Trouble != nil {
		t.Error(got.Trouble)
	}
	if sent := u.taken(); got.Fetched != sent || sent > imageSize/10 {
		t.Errorf("%d bytes were fetched, it says %d; the image has %d", sent, got.Fetched, imageSize)
	}
	if most := got.Reused + got.Fetched - int64(len(u.index)); got.Length != imageSize || most < imageSize || most > imageSize+128<<10 {
		t.Errorf("%+v does not add up", got)
	}
	requests := u.h.takeRequests()
	if len(requests) != 3 || !strings.Contains(requests[1], " bytes=") || !strings.Contains(requests[2], " bytes=") {
		t.Errorf("an index and two changes are requested as %v", requests)
	}
}

func TestDeltaOfTheSameImage(t *testing.T) {
	u := newUpdate(t, nil)
	got := u.must(bytes.NewReader(u.new))
	if got.Fetched != int64(len(u.index)) || got.Reused != imageSize || got.Trouble != nil {
		t.Errorf("the same image is fetched as %+v", got)
	}
}

// What is in the new image twice is fetched once.
func TestDeltaTakesFromTheNewImageToo(t *testing.T) {
	u := newUpdate(t, nil)
	again := newUpdateOf(t, append(u.new, image(2 << 20)[1<<20:]...), u.old)
	got := again.must(bytes.NewReader(u.old))
	if got.Trouble != nil || got.Fetched > imageSize/10 {
		t.Errorf("an image that repeats itself is fetched as %+v", got)
	}
}

func newUpdateOf(t *testing.T, next, old []byte) *update {
	t.Helper()
	return newUpdate(t, func(u *update) []byte {
		u.new, u.old = next, old
		u.index = indexOf(t, next)
		return u.index
	})
}

// Without an index, or without an old image, it is a plain download.
func TestDeltaNeedsBoth(t *testing.T) {
	u := newUpdate(t, nil)
	got := u.must(nil)
	if got.Fetched != imageSize || got.Trouble != nil {
		t.Errorf("without an old image: %+v", got)
	}
	_, d, dest := withImage(t, image(1000))
	got, err := d.DownloadFrom(t.Context(), "models/edge/fw.tar", dest, client.Old{Content: bytes.NewReader(u.old), Length: imageSize}, nil)
	if err != nil || got.Fetched != 1000 || got.Trouble != nil {
		t.Errorf("without an index: %+v, %v", got, err)
	}
}

// record overwrites a chunk of an index: its length, if not 0, and its digest.
func record(index []byte, i int, length uint32, digest byte) []byte {
	index = bytes.Clone(index)
	at := index[20+36*i:]
	if length > 0 {
		binary.BigEndian.PutUint32(at, length)
	}
	for j := range 32 {
		at[4+j] = digest
	}
	return index
}

// An index is signed by whoever signed the image; a wrong one costs at most the
// download of the whole image, and is followed once.
func TestAttack_T6_DeltaIsTrustedByItsResultsHash(t *testing.T) {
	for name, tc := range map[string]struct {
		forge    func(u *update) []byte
		followed bool // until the result's hash shows it
	}{
		"of another image":     {func(u *update) []byte { return indexOf(t, u.old) }, true},
		"a digest of nothing":  {func(u *update) []byte { return record(u.index, 7, 0, 0xee) }, true},
		"all of nothing":       {func(u *update) []byte { return allNothing(u.index) }, false},
		"of a longer image":    {func(u *update) []byte { return indexOf(t, append(bytes.Clone(u.new), 1)) }, false},
		"lengths do not fit":   {func(u *update) []byte { return record(u.index, 7, 9000, 0) }, false},
		"huge lengths":         {func(u *update) []byte { return record(u.index, 7, 1<<32-1, 0) }, false},
		"cut short":            {func(u *update) []byte { return u.index[:len(u.index)-36] }, false},
		"no index":             {func(u *update) []byte { return image(3000) }, false},
		"one byte":             {func(*update) []byte { return []byte("T") }, false},
		"as large as can be":   {func(*update) []byte { return make([]byte, delta.MaxBytes) }, false},
		"larger than the rest": {func(u *update) []byte { return append(u.index, make([]byte, 36*1000)...) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			u := newUpdate(t, tc.forge)
			index := int64(len(u.h.get("/targets/models/edge/" + u.h.hashed(updated+tuf.ChunksSuffix))))
			got := u.must(bytes.NewReader(u.old))
			if got.Trouble == nil {
				t.Error("nobody is told that the index is wrong")
			}
			if sent := u.taken(); sent > imageSize+index+imageSize/10 || got.Fetched > sent {
				t.Errorf("%d bytes were sent, it says %d", sent, got.Fetched)
			}
			if got.Reused != 0 && name == "of another image" {
				t.Errorf("%d bytes of a wrong image count as reused", got.Reused)
			}
		})
	}
}

// A download that is cut again and again comes to its end in spite of an index that
// is wrong: what it has is not given up for it twice.
func TestAttack_T6_WrongIndexIsFollowedOnce(t *testing.T) {
	for name, forge := range map[string]func(u *update) []byte{
		"of another image":    func(u *update) []byte { return indexOf(t, u.old) },
		"a digest of nothing": func(u *update) []byte { return record(u.index, 7, 0, 0xee) },
	} {
		t.Run(name, func(t *testing.T) {
			u := newUpdate(t, forge)
			u.onImage(func(w http.ResponseWriter, r *http.Request) bool {
				http.ServeContent(&cut{counting: w.(counting), left: imageSize / 3}, r, "", time.Time{}, bytes.NewReader(u.new))
				return true
			})
			for try := 0; ; try++ {
				_, err := u.from(bytes.NewReader(u.old))
				if err == nil {
					break
				}
				if try > 6 || client.Code(err) == client.CodeContent {
					t.Fatalf("attempt %d: %v", try, err)
				}
			}
			u.whole()
		})
	}
}

// cut ends an answer after some bytes.
type cut struct {
	counting
	left int
}

func (c *cut) Write(b []byte) (int, error) {
	if len(b) > c.left {
		_, _ = c.counting.Write(b[:c.left])
		c.Flush()
		panic(http.ErrAbortHandler)
	}
	c.left -= len(b)
	return c.counting.Write(b)
}

func allNothing(index []byte) []byte {
	for i := range (len(index) - 20) / 36 {
		index = record(index, i, 0, byte(i))
	}
	return index
}

// hashed is how a target's content is named.
func (h *hostile) hashed(name string) string {
	return filepath.Base(tuf.NewTarget(name, h.targets.Signed.Targets[name]).Path(true))
}

// What the server makes of the index costs the delta, and nothing else.
func TestDeltaWithoutItsIndex(t *testing.T) {
	for name, answer := range map[string]func(w http.ResponseWriter, r *http.Request){
		"not there": http.NotFound,
		"another":   func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(image(len("x") + 4000)) },
		"half": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "5000")
			_, _ = w.Write(image(500))
		},
		"an error": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
		"endless": func(w http.ResponseWriter, _ *http.Request) {
			for range 1000 {
				if _, err := w.Write(make([]byte, 64<<10)); err != nil {
					return
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			u := newUpdate(t, nil)
			u.answer(func(w http.ResponseWriter, r *http.Request) bool {
				if strings.HasSuffix(r.URL.Path, tuf.ChunksSuffix) {
					answer(w, r)
					return true
				}
				return false
			})
			got, err := u.from(bytes.NewReader(u.old))
			if err != nil || !bytes.Equal(readFile(u.dest), u.new) {
				t.Fatalf("without an index: %v", err)
			}
			if got.Trouble == nil || got.Reused != 0 {
				t.Errorf("%+v", got)
			}
		})
	}
}

// A server, or what stands before it, that gives no ranges or other ones.
func TestAttack_T6_DeltaWithoutRanges(t *testing.T) {
	partial := func(w http.ResponseWriter, header string, body []byte) {
		w.Header().Set("Content-Range", header)
		w.WriteHeader(http.StatusPartialContent)
		_, _ = w.Write(body)
	}
	for name, answer := range map[string]func(u *update, w http.ResponseWriter, r *http.Request){
		"the whole file": func(u *update, w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(u.new) },
		"not satisfiable": func(_ *update, w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
		},
		"bad request":   func(_ *update, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadRequest) },
		"another range": func(u *update, w http.ResponseWriter, _ *http.Request) { partial(w, "bytes 0-99/4194304", u.new[:100]) },
		"no header":     func(u *update, w http.ResponseWriter, _ *http.Request) { partial(w, "", u.new) },
		"another length": func(u *update, w http.ResponseWriter, r *http.Request) {
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(append(bytes.Clone(u.new), 1)))
		},
		"wrong bytes": func(u *update, w http.ResponseWriter, r *http.Request) {
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(make([]byte, len(u.new))))
		},
	} {
		t.Run(name, func(t *testing.T) {
			u := newUpdate(t, nil)
			u.onImage(func(w http.ResponseWriter, r *http.Request) bool {
				rng := r.Header.Get("Range")
				if rng == "" || strings.HasSuffix(rng, "-") && (name == "wrong bytes" || name == "another length") {
					return false // the rest of the whole image
				}
				answer(u, w, r)
				return true
			})
			got, err := u.from(bytes.NewReader(u.old))
			if err != nil || !bytes.Equal(readFile(u.dest), u.new) {
				t.Fatalf("without ranges: %v", err)
			}
			if got.Trouble == nil {
				t.Error("nobody is told")
			}
		})
	}
}

// A cut at any point costs at most a chunk, and not the index again.
func TestDeltaResumes(t *testing.T) {
	for _, after := range []int{0, 1, 10_000, 20_000} {
		t.Run(strconv.Itoa(after), func(t *testing.T) {
			u := newUpdate(t, nil)
			ranges := 0
			u.onImage(func(w http.ResponseWriter, r *http.Request) bool {
				if ranges++; ranges != 2 {
					return false
				}
				http.ServeContent(&cut{counting: w.(counting), left: after}, r, "", time.Time{}, bytes.NewReader(u.new))
				return true
			})
			first, err := u.from(bytes.NewReader(u.old))
			if code := client.Code(err); code != client.CodeTruncated && code != client.CodeUnreachable {
				t.Fatalf("a download that is cut: %v", err)
			}
			if first.Reused < imageSize/2 {
				t.Errorf("it got as far as %+v", first)
			}
			u.h.takeRequests()
			u.d.reboot(t)
			u.d.mustRefresh(t)
			second := u.must(bytes.NewReader(u.old))
			if second.Trouble != nil {
				t.Error(second.Trouble)
			}
			if got := strings.Join(u.h.takeRequests(), " "); strings.Contains(got, tuf.ChunksSuffix) {
				t.Errorf("the index is requested again: %s", got)
			}
			once := newUpdate(t, nil)
			if whole := once.must(bytes.NewReader(once.old)); first.Fetched+second.Fetched > whole.Fetched+128<<10 {
				t.Errorf("%d and %d bytes are fetched, at once it would be %d", first.Fetched, second.Fetched, whole.Fetched)
			}
		})
	}
}

// What the file has already is used chunk by chunk, whoever began it.
func TestDeltaResumesWhatIsGood(t *testing.T) {
	u := newUpdate(t, nil)
	flipped := bytes.Clone(u.new)
	flipped[2<<20] ^= 1
	lost := append(bytes.Clone(u.new[:2<<20]), make([]byte, 1<<20)...) // the power went before it was written
	for name, part := range map[string][]byte{
		"flipped bit": flipped, "lost blocks": lost, "complete": u.new, "longer": append(bytes.Clone(u.new), "more"...),
		"the old image": u.old, "cut within a chunk": u.new[:2<<20+5],
	} {
		t.Run(name, func(t *testing.T) {
			u := newUpdate(t, nil)
			if err := os.WriteFile(u.dest+".part", part, 0o600); err != nil {
				t.Fatal(err)
			}
			got := u.must(bytes.NewReader(u.old))
			if got.Trouble != nil || got.Fetched > imageSize/10 {
				t.Errorf("%+v", got)
			}
		})
	}
}

// faulty is an old image that does not stay as it is.
type faulty struct {
	content []byte
	read    func(off int64, n int) error // before each read
}

func (f *faulty) ReadAt(b []byte, off int64) (int, error) {
	if err := f.read(off, len(b)); err != nil {
		return 0, err
	}
	return bytes.NewReader(f.content).ReadAt(b, off)
}

func TestAttack_T6_OldSlotChangesWhileItIsRead(t *testing.T) {
	for _, within := range []int64{100, imageSize, imageSize + imageSize/4, imageSize + imageSize/2} {
		t.Run(fmt.Sprint("after ", within, " bytes"), func(t *testing.T) {
			u := newUpdate(t, nil)
			old, read := &faulty{content: bytes.Clone(u.old)}, int64(0)
			old.read = func(_ int64, n int) error {
				if read += int64(n); read > within {
					clear(old.content)
				}
				return nil
			}
			got := u.must(old)
			if got.Trouble == nil {
				t.Errorf("nobody is told: %+v", got)
			}
			if got.Fetched+got.Reused < imageSize {
				t.Errorf("%+v does not add up", got)
			}
		})
	}
}

func TestDeltaWithAnUnreadableOldSlot(t *testing.T) {
	broken := errors.New("input/output error")
	for _, tc := range []struct {
		from  int64 // nothing can be read after it
		least int64 // bytes that are reused all the same
	}{{0, 0}, {imageSize * 3 / 4, imageSize / 2}} {
		u := newUpdate(t, nil)
		got := u.must(&faulty{u.old, func(off int64, n int) error {
			if off+int64(n) > tc.from {
				return broken
			}
			return nil
		}})
		if !errors.Is(got.Trouble, broken) || got.Reused < tc.least || got.Reused > tc.from {
			t.Errorf("an old image that is unreadable after %d bytes: %+v", tc.from, got)
		}
	}
}

func TestDeltaFromMirrors(t *testing.T) {
	for name, answer := range broken(image(300_000)) {
		t.Run("where one "+name, func(t *testing.T) {
			u := newUpdate(t, nil)
			good := newCopied(t, u.h)
			u.d.cfg.Mirrors = []client.Mirror{{MetadataURL: good.url + "/metadata", TargetsURL: good.url + "/targets"}}
			u.d.cfg.Limits = client.Limits{MinRate: 100_000, Window: 200 * time.Millisecond}
			u.d.reboot(t)
			u.d.mustRefresh(t)
			u.onImage(func(w http.ResponseWriter, r *http.Request) bool {
				answer(w.(counting).ResponseWriter, r)
				return true
			})
			if got := u.must(bytes.NewReader(u.old)); got.Trouble != nil || got.Reused < imageSize/2 {
				t.Errorf("%+v", got)
			}
		})
	}
}

func TestAttack_T4_SlowDelta(t *testing.T) {
	u := newUpdate(t, nil)
	u.d.cfg.Limits = client.Limits{MinRate: 100_000, Window: 100 * time.Millisecond}
	u.d.reboot(t)
	u.d.mustRefresh(t)
	u.onImage(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.Header.Get("Range"), "-") {
			return false
		}
		http.ServeContent(trickling{w, r}, r, "", time.Time{}, bytes.NewReader(u.new))
		return true
	})
	if _, err := u.from(bytes.NewReader(u.old)); client.Code(err) != client.CodeSlow {
		t.Fatalf("a trickle: %v", err)
	}
	u.answer(nil)
	if got := u.must(bytes.NewReader(u.old)); got.Trouble != nil {
		t.Error(got.Trouble)
	}
}

type trickling struct {
	http.ResponseWriter
	r *http.Request
}

func (s trickling) Write(b []byte) (int, error) {
	for i := range b {
		if s.r.Context().Err() != nil {
			return i, io.ErrClosedPipe
		}
		if _, err := s.ResponseWriter.Write(b[i : i+1]); err != nil {
			return i, err
		}
		s.ResponseWriter.(http.Flusher).Flush()
		time.Sleep(2 * time.Millisecond)
	}
	return len(b), nil
}

// A slow disk is no slow network.
func TestDeltaTakesItsTimeHere(t *testing.T) {
	u := newUpdate(t, nil)
	u.d.cfg.Limits = client.Limits{MinRate: 1_000_000, Window: 50 * time.Millisecond}
	u.d.reboot(t)
	u.d.mustRefresh(t)
	reads := 0
	got := u.must(&faulty{u.old, func(int64, int) error {
		if reads++; reads%20 == 0 {
			time.Sleep(70 * time.Millisecond)
		}
		return nil
	}})
	if got.Trouble != nil || got.Reused < imageSize/2 {
		t.Errorf("%+v", got)
	}
}

// However an index is made, the number of requests is bounded.
func TestAttack_T6_DeltaOfManyHoles(t *testing.T) {
	const chunk, zeros, holes = 8 << 10, 4, 1100
	var content bytes.Buffer
	index := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64([]byte("TROTHCH1"), chunk*(zeros+1)*holes), 4*chunk)
	random := image(chunk * holes)
	empty := make([]byte, chunk)
	for i := range holes {
		index = chunkRecord(index, random[i*chunk:(i+1)*chunk])
		content.Write(random[i*chunk : (i+1)*chunk])
		for range zeros {
			index = chunkRecord(index, empty)
			content.Write(empty)
		}
	}
	u := newUpdate(t, func(u *update) []byte {
		u.new = content.Bytes()
		return index
	})
	u.must(bytes.NewReader(u.old))
	if n := len(u.h.takeRequests()); n > 1026 {
		t.Errorf("%d requests", n)
	}
}

func chunkRecord(index, chunk []byte) []byte {
	sum := sha256.Sum256(chunk)
	return append(binary.BigEndian.AppendUint32(index, uint32(len(chunk))), sum[:]...)
}

func TestDeltaOnAFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=2m"); err != nil {
		t.Skipf("NOT TESTED: a delta on a full disk: no small file system can be mounted here: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	u := newUpdate(t, nil)
	u.dest = filepath.Join(dir, "fw")
	if _, err := u.from(bytes.NewReader(u.old)); client.Code(err) != client.CodeStorage || !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("a disk that is too small: %v", err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, "size=8m"); err != nil {
		t.Fatal(err)
	}
	if got := u.must(bytes.NewReader(u.old)); got.Trouble != nil || got.Reused > imageSize*3/4 {
		t.Errorf("with more room it begins anew: %+v", got)
	}
}

func TestDeltaFromADirectory(t *testing.T) {
	u := newUpdate(t, nil)
	dir := t.TempDir()
	for path, content := range u.h.files {
		file := filepath.Join(dir, filepath.FromSlash(path))
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	u.d.cfg.MetadataURL, u.d.cfg.TargetsURL = "file://"+dir+"/metadata", "file://"+dir+"/targets"
	u.d.reboot(t)
	u.d.mustRefresh(t)
	if got := u.must(bytes.NewReader(u.old)); got.Trouble != nil || got.Fetched > imageSize/10 {
		t.Errorf("%+v", got)
	}
}
