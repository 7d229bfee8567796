package e2e

import (
	"bytes"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"troth/attest/attesttest"
	"troth/internal/sim"
)

// largeImage is of a size at which deltas are worth it: a file that hardly differs
// between versions makes most of it.
func largeImage(version string) attesttest.Image {
	image := attesttest.NewImage(model, version)
	content := make([]byte, 4<<20)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(content) // never fails
	copy(content[2<<20:], version)
	image.Files = append(image.Files, attesttest.File{Path: "/usr/share/bulk", Content: content})
	return image
}

// written is a log that can be read while it is written.
type written struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *written) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *written) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// A rollout whose images a mirror sends, after another mirror that is of no use. The
// device asks the service for metadata, and fetches only what changed.
func TestRolloutFromAMirror(t *testing.T) {
	t.Parallel()
	s := newService(t, quick)
	useless := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(useless.Close)
	asked, files := &written{}, http.FileServer(http.Dir(s.path("data", "tuf")))
	mirror := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(asked, r.URL.Path, r.Header.Get("Range"))
		files.ServeHTTP(w, r)
	}))
	t.Cleanup(mirror.Close)
	log, name := &written{}, newName()
	d := must(sim.NewDevice(t.Context(), maker(t), sim.DeviceConfig{
		Dir: filepath.Join(t.TempDir(), name), Name: name, Model: model, Image: largeImage(factory).Bytes(), Counter: 1,
		Server: s.admin.Base, ServerCA: s.caFile, TUFRoot: s.tufRoot(), Mirrors: []string{useless.URL, mirror.URL + "/"},
		Log: slog.New(slog.NewTextHandler(log, nil)),
	}))(t)
	d.PowerOn()
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("the device:\n%s\nthe mirror:\n%s", log, asked)
		}
	})
	fleet := []*sim.Device{d}
	s.settled(t, 40*time.Second, fleet, factory)
	if err := s.publishImage(largeImage(patch), 2, true); err != nil {
		t.Fatal(err)
	}
	s.completed(t, 60*time.Second, s.startProposed(t, plan(100)))
	s.settled(t, 20*time.Second, fleet, patch)
	if got := asked.String(); strings.Contains(got, "metadata") || strings.Count(got, " bytes=") < 1 || !strings.Contains(got, ".img.chunks") {
		t.Errorf("the mirror was asked for\n%s", got)
	}
	took := regexp.MustCompile(`msg=downloaded .* bytes=(\d+) fetched=(\d+) reused=(\d+)`).FindStringSubmatch(log.String())
	if took == nil {
		t.Fatal("the device does not say what the download took")
	}
	size := must(strconv.Atoi(took[1]))(t)
	fetched := must(strconv.Atoi(took[2]))(t)
	if size < 4<<20 || fetched > size/10 || strings.Contains(log.String(), "more than what changed") {
		t.Errorf("of %d bytes %d were fetched", size, fetched)
	}
}
