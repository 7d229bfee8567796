package client_test

import (
	"bytes"
	"encoding/json"
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

func readFile(path string) []byte {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	return data
}

func TestRefreshFollowsTheRepository(t *testing.T) {
	for _, hashes := range []bool{false, true} {
		t.Run(fmt.Sprintf("hashes=%v", hashes), func(t *testing.T) {
			h := newHostile(t)
			h.hashes = hashes
			d := h.newDevice()
			if _, err := d.Targets(); client.Code(err) != client.CodeNotReady {
				t.Errorf("targets before a refresh: %v", err)
			}
			d.mustRefresh(t)
			h.addTarget("fw", []byte("x"))
			h.bump()
			d.mustRefresh(t)
			d.wantKept(t, 1, 2, 2, 2)
			for role, path := range map[string]string{"root": "1.root", "timestamp": "timestamp", "snapshot": "2.snapshot", "targets": "2.targets"} {
				if !bytes.Equal(readFile(filepath.Join(d.cfg.Dir, role+".json")), h.get("/metadata/"+path+".json")) {
					t.Errorf("%s is not kept as received", role)
				}
			}
			if list, err := d.Targets(); err != nil || len(list) != 1 || list[0].Release != nil {
				t.Errorf("targets %v, %v", list, err)
			}
			h.takeRequests()
			d.reboot(t)
			d.mustRefresh(t)
			want := "[GET /metadata/2.root.json GET /metadata/timestamp.json]"
			if got := fmt.Sprint(h.takeRequests()); got != want {
				t.Errorf("an unchanged repository costs %s, want %s", got, want)
			}
		})
	}
}

func TestAttack_T1_ThresholdBelowOne(t *testing.T) {
	for _, threshold := range []int{0, -1} {
		h := newHostile(t)
		d := h.newDevice()
		h.root.Signed.Roles[metadata.TARGETS].Threshold = threshold
		h.bumpRoot()
		d.refuse(t, client.CodeMalformed)
		d.wantKept(t, 1, 0, 0, 0)
		if _, err := client.New(client.Config{Dir: t.TempDir(), Root: h.get("/metadata/2.root.json")}); client.Code(err) != client.CodeMalformed {
			t.Errorf("as first root: %v", err)
		}
	}
}

func TestAttack_T1_MalformedBeforeTheSignature(t *testing.T) {
	h := newHostile(t)
	root := string(h.get("/metadata/1.root.json"))
	keyID := h.root.Signed.Roles[metadata.ROOT].KeyIDs[0]
	key, err := json.Marshal(h.root.Signed.Keys[keyID])
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string]string{
		"empty": "", "null": "null", "number": "7", "no signed": "{}", "signed null": `{"signed":null}`,
		"signed array": `{"signed":[],"signatures":[]}`, "deep": strings.Repeat("[", 200_000),
		"null key":      strings.ReplaceAll(root, string(key), "null"),
		"null role":     `{"signed":{"_type":"root","spec_version":"1.0.31","version":2,"roles":{"root":null}},"signatures":[]}`,
		"no roles":      `{"signed":{"_type":"root","spec_version":"1.0.31","version":2},"signatures":[]}`,
		"other type":    string(h.get("/metadata/timestamp.json")),
		"no version":    strings.Replace(root, `"version":1`, `"other":1`, 1),
		"other spec":    strings.Replace(root, `"spec_version":"1.`, `"spec_version":"2.`, 1),
		"short ed25519": strings.Replace(root, h.root.Signed.Keys[keyID].Value.PublicKey, "00", 1),
	} {
		t.Run("root "+name, func(t *testing.T) {
			d := h.newDevice()
			h.put("/metadata/2.root.json", []byte(data))
			d.refuse(t, client.CodeMalformed)
			d.wantKept(t, 1, 0, 0, 0)
			if _, err := client.New(client.Config{Dir: t.TempDir(), Root: []byte(data)}); err == nil {
				t.Error("accepted as first root")
			}
		})
	}
	h = newHostile(t)
	for name, files := range map[string]map[string]string{
		"timestamp without snapshot": {"timestamp.json": `{"signed":{"_type":"timestamp","spec_version":"1.0.31","version":1,"meta":{}},"signatures":[]}`},
		"timestamp null snapshot":    {"timestamp.json": `{"signed":{"_type":"timestamp","spec_version":"1.0.31","version":1,"meta":{"snapshot.json":null}},"signatures":[]}`},
		"snapshot null entry":        {"1.snapshot.json": `{"signed":{"_type":"snapshot","spec_version":"1.0.31","version":1,"meta":{"targets.json":null}},"signatures":[]}`},
		"target null":                {"1.targets.json": `{"signed":{"_type":"targets","spec_version":"1.0.31","version":1,"targets":{"x":null}},"signatures":[]}`},
		"negative length":            {"1.targets.json": `{"signed":{"_type":"targets","spec_version":"1.0.31","version":1,"targets":{"x":{"length":-1,"hashes":{"sha256":"00"}}}},"signatures":[]}`},
		"bins out of bounds":         {"1.targets.json": `{"signed":{"_type":"targets","spec_version":"1.0.31","version":1,"targets":{},"delegations":{"keys":{},"succinct_roles":{"bit_length":99,"name_prefix":"x","threshold":1,"keyids":[]}}},"signatures":[]}`},
	} {
		t.Run(name, func(t *testing.T) {
			for path, data := range files {
				good := h.get("/metadata/" + path)
				h.put("/metadata/"+path, []byte(data))
				h.newDevice().refuse(t, client.CodeMalformed)
				h.put("/metadata/"+path, good)
			}
		})
	}
}

func TestAttack_T1_DuplicateKeysMeetAThreshold(t *testing.T) {
	t.Run("one key under two ids", func(t *testing.T) {
		h := newHostile(t)
		d := h.newDevice()
		signer, key := newSigner(t)
		id, err := key.ID()
		if err != nil {
			t.Fatal(err)
		}
		twin := strings.Repeat("77", 32)
		h.root.Signed.Keys[id], h.root.Signed.Keys[twin] = key, key
		role := h.root.Signed.Roles[metadata.TIMESTAMP]
		role.KeyIDs, role.Threshold = []string{id, twin}, 2
		h.bumpRoot()
		data := signed(t, h.timestamp, signer)
		h.timestamp.Signatures = append(h.timestamp.Signatures, metadata.Signature{KeyID: twin, Signature: h.timestamp.Signatures[0].Signature})
		if data, err = h.timestamp.ToBytes(false); err != nil {
			t.Fatal(err)
		}
		h.put("/metadata/timestamp.json", data)
		d.refuse(t, client.CodeSignature)
		d.wantKept(t, 2, 0, 0, 0)
	})
	t.Run("one id twice", func(t *testing.T) {
		h := newHostile(t)
		d := h.newDevice()
		role := h.root.Signed.Roles[metadata.TIMESTAMP]
		role.KeyIDs, role.Threshold = append(role.KeyIDs, role.KeyIDs[0]), 2
		h.bumpRoot()
		d.refuse(t, client.CodeMalformed)
	})
	t.Run("one signature twice", func(t *testing.T) {
		h := newHostile(t)
		d := h.newDevice()
		h.timestamp.Signatures = append(h.timestamp.Signatures, h.timestamp.Signatures[0])
		data, err := h.timestamp.ToBytes(false)
		if err != nil {
			t.Fatal(err)
		}
		h.put("/metadata/timestamp.json", data)
		d.refuse(t, client.CodeMalformed)
	})
}

func TestAttack_T1_RoleNameLeavesTheDirectory(t *testing.T) {
	for _, name := range []string{"../escape", "/escape", "a/../../escape", "?", "#"} {
		t.Run(name, func(t *testing.T) {
			h := newHostile(t)
			d := h.newDevice()
			h.addTargetTo(h.delegate(name, start.Add(time.Hour)), "fw", []byte("x"))
			h.bump()
			d.mustRefresh(t)
			if _, err := d.Lookup(t.Context(), "fw"); err != nil {
				t.Fatal(err)
			}
			outside, err := filepath.Glob(filepath.Join(filepath.Dir(d.cfg.Dir), "*escape*"))
			if err != nil || len(outside) > 0 {
				t.Errorf("left the directory: %v %v", outside, err)
			}
			if entries, _ := os.ReadDir(d.cfg.Dir); len(entries) != 5 {
				t.Errorf("%d files kept, want 5", len(entries))
			}
		})
	}
	for _, name := range []string{"timestamp", "root", "snapshot"} {
		t.Run("overwrites "+name, func(t *testing.T) {
			h := newHostile(t)
			d := h.newDevice()
			h.delegate(name, start.Add(time.Hour))
			h.bump()
			d.mustRefresh(t)
			before := readFile(filepath.Join(d.cfg.Dir, name+".json"))
			if _, err := d.Lookup(t.Context(), "fw"); client.Code(err) != client.CodeName {
				t.Errorf("lookup: %v", err)
			}
			if !bytes.Equal(before, readFile(filepath.Join(d.cfg.Dir, name+".json"))) {
				t.Error("overwritten")
			}
		})
	}
}

func TestAttack_T1_DelegatedMetadataSkipsExpiryOrLength(t *testing.T) {
	t.Run("expired", func(t *testing.T) {
		h := newHostile(t)
		d := h.newDevice()
		h.addTargetTo(h.delegate("team", start.Add(-time.Second)), "fw", []byte("x"))
		h.bump()
		d.mustRefresh(t)
		dest := filepath.Join(t.TempDir(), "fw")
		if err := d.Download(t.Context(), "fw", dest, nil); client.Code(err) != client.CodeExpired {
			t.Errorf("download: %v", err)
		}
		if d.kept(t, "team") != 0 || readFile(dest) != nil {
			t.Error("kept")
		}
	})
	t.Run("expires while in use", func(t *testing.T) {
		h := newHostile(t)
		d := h.newDevice()
		h.addTargetTo(h.delegate("team", start.Add(time.Hour)), "fw", []byte("x"))
		h.bump()
		d.mustRefresh(t)
		if _, err := d.Lookup(t.Context(), "fw"); err != nil {
			t.Fatal(err)
		}
		d.now = start.Add(2 * time.Hour)
		if _, err := d.Lookup(t.Context(), "fw"); client.Code(err) != client.CodeExpired {
			t.Errorf("lookup: %v", err)
		}
	})
	t.Run("longer than pinned", func(t *testing.T) {
		h := newHostile(t)
		h.hashes = true
		d := h.newDevice()
		h.delegate("team", start.Add(time.Hour))
		h.bump()
		h.put("/metadata/1.team.json", append(h.get("/metadata/1.team.json"), ' '))
		d.mustRefresh(t)
		if _, err := d.Lookup(t.Context(), "fw"); client.Code(err) != client.CodeTooLarge {
			t.Errorf("lookup: %v", err)
		}
	})
}

func TestAttack_T2_RootOutOfOrder(t *testing.T) {
	h := newHostile(t)
	d := h.newDevice()
	h.root.Signed.Version = 3
	h.publishRoot()
	h.put("/metadata/2.root.json", h.get("/metadata/3.root.json"))
	d.refuse(t, client.CodeRollback)
	h.put("/metadata/2.root.json", h.get("/metadata/1.root.json"))
	d.refuse(t, client.CodeRollback)
	d.wantKept(t, 1, 0, 0, 0)
}

func TestAttack_T2_RootNeedsBothThresholds(t *testing.T) {
	h := newHostile(t)
	old := h.signers[metadata.ROOT]
	h.replaceKey(metadata.ROOT)
	fresh := h.signers[metadata.ROOT]
	h.root.Signed.Version = 2
	for name, signers := range map[string][]byte{
		"only the new key": signed(t, h.root, fresh...),
		"only the old key": signed(t, h.root, old...),
		"no key":           signed(t, h.root),
	} {
		t.Run(name, func(t *testing.T) {
			d := h.newDevice()
			h.put("/metadata/2.root.json", signers)
			d.refuse(t, client.CodeSignature)
			d.wantKept(t, 1, 0, 0, 0)
		})
	}
	h.put("/metadata/2.root.json", signed(t, h.root, append(old, fresh...)...))
	d := h.newDevice()
	d.mustRefresh(t)
	d.wantKept(t, 2, 1, 1, 1)
}

func TestAttack_T2_LocalRootDamaged(t *testing.T) {
	h := newHostile(t)
	d := h.newDevice()
	d.mustRefresh(t)
	if err := os.WriteFile(filepath.Join(d.cfg.Dir, "root.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	d.reboot(t)
	d.mustRefresh(t)
	d.cfg.Root = nil
	if err := os.WriteFile(filepath.Join(d.cfg.Dir, "root.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := client.New(d.cfg); client.Code(err) != client.CodeMalformed {
		t.Errorf("no root at all: %v", err)
	}
}

func TestAttack_T3_RejectedMetadataIsNotKept(t *testing.T) {
	h := newHostile(t)
	d := h.newDevice()
	d.mustRefresh(t)
	good := h.get("/metadata/timestamp.json")
	h.timestamp.Signed.Version = 1 << 40
	for name, bad := range map[string]struct {
		data []byte
		code string
	}{
		"unsigned": {signed(t, h.timestamp), client.CodeSignature},
		"expired": {func() []byte {
			h.timestamp.Signed.Expires = start.Add(-time.Hour)
			defer func() { h.timestamp.Signed.Expires = start.Add(time.Hour) }()
			return signed(t, h.timestamp, h.signers[metadata.TIMESTAMP]...)
		}(), client.CodeExpired},
	} {
		t.Run(name, func(t *testing.T) {
			h.put("/metadata/timestamp.json", bad.data)
			d.refuse(t, bad.code)
			d.wantKept(t, 1, 1, 1, 1)
			h.put("/metadata/timestamp.json", good)
			d.reboot(t)
			d.mustRefresh(t)
		})
	}
}

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
