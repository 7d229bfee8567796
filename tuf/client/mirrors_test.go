package client_test

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"troth/tuf/client"
)

// broken is what a mirror can do instead of answering well.
func broken(content []byte) map[string]func(http.ResponseWriter, *http.Request) {
	return map[string]func(http.ResponseWriter, *http.Request){
		"is down":       func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"says 503":      func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) },
		"has nothing":   func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) },
		"sends rubbish": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(bytes.Repeat([]byte("x"), len(content))) },
		"sends a half": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", strconv.Itoa(len(content)))
			_, _ = w.Write(content[:len(content)/2])
			panic(http.ErrAbortHandler)
		},
		"sends a wrong half": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", strconv.Itoa(len(content)))
			_, _ = w.Write(bytes.Repeat([]byte("x"), len(content)/2))
			panic(http.ErrAbortHandler)
		},
		"is slow": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", strconv.Itoa(len(content)))
			_, _ = w.Write(content[:len(content)/2])
			w.(http.Flusher).Flush()
			select {
			case <-r.Context().Done():
			case <-time.After(5 * time.Second):
			}
		},
		"never ends": func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				if _, err := w.Write(content); err != nil {
					return
				}
			}
		},
	}
}

// mirrored is a device whose first place is the hostile one and whose second is a
// copy of it that answers well.
func mirrored(t *testing.T, content []byte) (first *hostile, good *copied, d *device, dest string) {
	t.Helper()
	first, d, dest = withImage(t, content)
	good = newCopied(t, first)
	d.cfg.Mirrors = []client.Mirror{{MetadataURL: good.url + "/metadata", TargetsURL: good.url + "/targets"}}
	d.cfg.Limits = client.Limits{MinRate: 100_000, Window: 200 * time.Millisecond}
	d.reboot(t)
	return first, good, d, dest
}

func TestAttack_T4_MirrorsTakeOver(t *testing.T) {
	content := image(300_000)
	for name, answer := range broken(content) {
		t.Run("the download of one that "+name, func(t *testing.T) {
			h, good, d, dest := mirrored(t, content)
			d.mustRefresh(t)
			onTarget(h, answer)
			if err := download(t, d, dest); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(readFile(dest), content) {
				t.Error("content differs")
			}
			if name == "sends a half" && !strings.Contains(strings.Join(good.taken(), " "), "bytes=") {
				t.Errorf("the mirror was asked for %v: what was there already is not used", good.taken())
			}
		})
		t.Run("the metadata of one that "+name, func(t *testing.T) {
			h, _, d, dest := mirrored(t, content)
			h.setHandle(func(w http.ResponseWriter, r *http.Request) bool { answer(w, r); return true })
			d.mustRefresh(t)
			if err := download(t, d, dest); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestTheMirrorThatAnsweredIsAskedFirst(t *testing.T) {
	content := image(1000)
	h, _, d, dest := mirrored(t, content)
	h.setHandle(func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(503); return true })
	d.mustRefresh(t)
	h.takeRequests()
	if err := download(t, d, dest); err != nil {
		t.Fatal(err)
	}
	if got := h.takeRequests(); len(got) != 0 {
		t.Errorf("the place that does not answer was asked again: %v", got)
	}
}

func TestAttack_T4_AllMirrorsWrong(t *testing.T) {
	content := image(1000)
	h, good, d, dest := mirrored(t, content)
	d.mustRefresh(t)
	answer := broken(content)["sends rubbish"]
	onTarget(h, answer)
	good.set(answer)
	if err := download(t, d, dest); client.Code(err) != client.CodeContent {
		t.Errorf("error %v", err)
	}
	if _, err := os.Stat(dest); err == nil {
		t.Error("it got its name")
	}
	if entries, _ := filepath.Glob(dest + "*"); len(entries) != 0 {
		t.Errorf("left %v", entries)
	}
}

// copied is another server with the same files.
type copied struct {
	url string

	mu       sync.Mutex
	requests []string
	answer   func(http.ResponseWriter, *http.Request)
}

func newCopied(t *testing.T, h *hostile) *copied {
	t.Helper()
	m := &copied{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.mu.Lock()
		m.requests = append(m.requests, r.URL.Path+" "+r.Header.Get("Range"))
		answer := m.answer
		m.mu.Unlock()
		if answer != nil {
			answer(w, r)
			return
		}
		data := h.get(r.URL.Path)
		if data == nil {
			http.NotFound(w, r)
			return
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
	}))
	t.Cleanup(server.Close)
	m.url = server.URL
	return m
}

func (m *copied) set(answer func(http.ResponseWriter, *http.Request)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.answer = answer
}

// taken gives what was requested so far.
func (m *copied) taken() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]string(nil), m.requests...)
}
