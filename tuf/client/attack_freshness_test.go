package client_test

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"troth/tuf/client"
)

func TestAttack_T4_Rollback(t *testing.T) {
	rolled := func(t *testing.T, f func(*hostile)) {
		h := newHostile(t)
		h.bump()
		d := h.newDevice()
		d.mustRefresh(t)
		f(h)
		d.reboot(t)
		d.refuse(t, client.CodeRollback)
	}
	t.Run("timestamp", func(t *testing.T) {
		rolled(t, func(h *hostile) { h.timestamp.Signed.Version = 1; h.publishTimestamp() })
	})
	t.Run("snapshot", func(t *testing.T) {
		rolled(t, func(h *hostile) {
			h.snapshot.Signed.Version, h.timestamp.Signed.Version = 1, 3
			h.publish()
		})
	})
	t.Run("targets", func(t *testing.T) {
		rolled(t, func(h *hostile) {
			h.targets.Signed.Version, h.snapshot.Signed.Version, h.timestamp.Signed.Version = 1, 3, 3
			h.publish()
		})
	})
	t.Run("role vanishes from the snapshot", func(t *testing.T) {
		h := newHostile(t)
		h.delegate("team", start.Add(time.Hour))
		h.bump()
		d := h.newDevice()
		d.mustRefresh(t)
		delete(h.delegated, "team")
		delete(h.snapshot.Signed.Meta, "team.json")
		h.bump()
		d.refuse(t, client.CodeRollback)
	})
}

func TestAttack_T4_Freeze(t *testing.T) {
	h := newHostile(t)
	d := h.newDevice()
	d.mustRefresh(t)
	d.now = h.timestamp.Signed.Expires.Add(time.Second)
	d.refuse(t, client.CodeExpired)
	if _, err := d.Targets(); client.Code(err) != client.CodeExpired {
		t.Errorf("targets: %v", err)
	}
	if _, err := d.Find("x"); client.Code(err) != client.CodeExpired {
		t.Errorf("find: %v", err)
	}
	if err := d.Download(t.Context(), "x", filepath.Join(t.TempDir(), "x"), nil); client.Code(err) != client.CodeExpired {
		t.Errorf("download: %v", err)
	}
}

func TestAttack_T4_MixAndMatch(t *testing.T) {
	for _, hashes := range []bool{false, true} {
		h := newHostile(t)
		h.hashes = hashes
		h.addTarget("fw", []byte("one"))
		h.bump()
		oldTargets, oldSnapshot := h.get("/metadata/2.targets.json"), h.get("/metadata/2.snapshot.json")
		h.addTarget("fw", []byte("two"))
		h.bump()
		newTargets, newSnapshot := h.get("/metadata/3.targets.json"), h.get("/metadata/3.snapshot.json")
		for name, files := range map[string][2][]byte{
			"old targets in a new snapshot":    {oldTargets, newSnapshot},
			"old snapshot under new timestamp": {newTargets, oldSnapshot},
			"both old":                         {oldTargets, oldSnapshot},
		} {
			t.Run(fmt.Sprintf("%s hashes=%v", name, hashes), func(t *testing.T) {
				h.put("/metadata/3.targets.json", files[0])
				h.put("/metadata/3.snapshot.json", files[1])
				d := h.newDevice()
				code := client.CodeRollback
				if hashes {
					code = client.CodeContent
				}
				d.refuse(t, code)
				if _, err := d.Find("fw"); client.Code(err) != client.CodeNotReady {
					t.Errorf("find: %v", err)
				}
			})
		}
	}
}

func TestAttack_T4_FastForwardRecovery(t *testing.T) {
	h := newHostile(t)
	d := h.newDevice()
	h.timestamp.Signed.Version, h.snapshot.Signed.Version, h.targets.Signed.Version = 1<<40, 1<<40, 1<<40
	h.publish()
	d.mustRefresh(t)
	h.timestamp.Signed.Version, h.snapshot.Signed.Version, h.targets.Signed.Version = 2, 2, 2
	h.publish()
	d.refuse(t, client.CodeRollback)
	h.replaceKey(metadata.TIMESTAMP)
	h.replaceKey(metadata.SNAPSHOT)
	h.bumpRoot()
	h.publish()
	d.mustRefresh(t)
	d.wantKept(t, 2, 2, 2, 2)
}

func TestAttack_T4_EndlessMetadata(t *testing.T) {
	h := newHostile(t)
	for _, path := range []string{"/metadata/2.root.json", "/metadata/timestamp.json", "/metadata/1.snapshot.json", "/metadata/1.targets.json"} {
		t.Run(filepath.Base(path), func(t *testing.T) {
			sent := 0
			h.setHandle(func(w http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path != path {
					return false
				}
				sent = 0
				block := bytes.Repeat([]byte(" "), 64<<10)
				for r.Context().Err() == nil && sent < 100<<20 {
					n, err := w.Write(block)
					sent += n
					if err != nil {
						break
					}
				}
				return true
			})
			defer h.setHandle(nil)
			d := h.newDevice()
			d.refuse(t, client.CodeTooLarge)
		})
	}
	t.Run("announced", func(t *testing.T) {
		h := newHostile(t)
		h.timestamp.Signed.Meta["snapshot.json"].Length = 1 << 50
		h.publishTimestamp()
		h.newDevice().refuse(t, client.CodeTooLarge)
	})
}

func TestAttack_T4_SlowMetadata(t *testing.T) {
	h := newHostile(t)
	release := make(chan struct{})
	defer close(release)
	for name, trickle := range map[string]bool{"no answer": false, "a byte at a time": true} {
		t.Run(name, func(t *testing.T) {
			h.setHandle(func(w http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path != "/metadata/timestamp.json" {
					return false
				}
				for trickle && r.Context().Err() == nil {
					fmt.Fprint(w, " ")
					w.(http.Flusher).Flush()
					time.Sleep(5 * time.Millisecond)
				}
				select {
				case <-release:
				case <-r.Context().Done():
				}
				return true
			})
			d := h.newDevice()
			d.cfg.Limits = client.Limits{MinRate: 10_000, Window: 100 * time.Millisecond}
			d.reboot(t)
			began := time.Now()
			d.refuse(t, client.CodeSlow)
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("gave up after %s", took)
			}
		})
	}
}

func TestAttack_T5_ClockNeverStepsBack(t *testing.T) {
	h := newHostile(t)
	h.timestamp.Signed.Expires = start.Add(24 * time.Hour)
	h.publishTimestamp()
	old := h.get("/metadata/timestamp.json")
	d := h.newDevice()
	d.mustRefresh(t)
	h.timestamp.Signed.Expires = start.Add(20 * 24 * time.Hour)
	h.timestamp.Signed.Version++
	h.publishTimestamp()
	d.now = start.Add(10 * 24 * time.Hour)
	d.mustRefresh(t)

	// No battery: the clock says 1970 after a reboot, and somebody removed the
	// memory of versions but not of time.
	d.now = time.Unix(0, 0)
	if err := os.Remove(filepath.Join(d.cfg.Dir, "timestamp.json")); err != nil {
		t.Fatal(err)
	}
	d.reboot(t)
	h.put("/metadata/timestamp.json", old)
	d.refuse(t, client.CodeExpired)
	h.publishTimestamp()
	d.mustRefresh(t)

	// A clock that jumped ahead finds everything expired, and is not believed
	// once it is right again.
	d.now = start.Add(100 * 365 * 24 * time.Hour)
	d.refuse(t, client.CodeExpired)
	d.now = start.Add(11 * 24 * time.Hour)
	d.reboot(t)
	d.mustRefresh(t)
	if got := strings.TrimSpace(string(readFile(d.cfg.Dir + ".clock"))); got != d.now.Format(time.RFC3339) {
		t.Errorf("clock file %s, want %s", got, d.now)
	}
}

// A refresh that fails for want of a network leaves the last one usable, and
// one that fails after a new root does not.
func TestFailedRefreshKeepsWhatIsStillTrusted(t *testing.T) {
	h := newHostile(t)
	h.addTarget("fw", []byte("x"))
	h.bump()
	d := h.newDevice()
	d.mustRefresh(t)
	down := func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/metadata/timestamp.json" {
			w.WriteHeader(http.StatusBadGateway)
			return true
		}
		return false
	}
	h.setHandle(down)
	d.refuse(t, client.CodeUnreachable)
	if _, err := d.Find("fw"); err != nil {
		t.Error(err)
	}
	h.bumpRoot()
	d.refuse(t, client.CodeUnreachable)
	if _, err := d.Find("fw"); client.Code(err) != client.CodeNotReady {
		t.Errorf("find under a new root: %v", err)
	}
	h.setHandle(nil)
	d.mustRefresh(t)
	if _, err := d.Find("fw"); err != nil {
		t.Error(err)
	}
}
