package client_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sigstore/sigstore/pkg/signature"
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
		signed(t, h.timestamp, signer)
		h.timestamp.Signatures = append(h.timestamp.Signatures, metadata.Signature{KeyID: twin, Signature: h.timestamp.Signatures[0].Signature})
		data, err := h.timestamp.ToBytes(false)
		if err != nil {
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

// Two roles delegate to a third and name other keys for it. What one of them vouches
// for is not believed on the other's behalf, also where it was read a moment ago.
func TestAttack_T1_RoleReadForAnotherDelegator(t *testing.T) {
	h := newHostile(t)
	expires := start.Add(time.Hour)
	h.delegate("a", expires)
	h.delegate("b", expires)
	h.targets.Signed.Delegations.Roles[0].Paths = []string{"a/*"}
	h.targets.Signed.Delegations.Roles[1].Paths = []string{"b/*"}
	third := metadata.Targets(expires)
	h.delegated["third"] = third
	for _, by := range []string{"b", "a"} { // a's key signs
		signer, key := newSigner(t)
		id, err := key.ID()
		if err != nil {
			t.Fatal(err)
		}
		h.delegated[by].Signed.Delegations = &metadata.Delegations{
			Keys:  map[string]*metadata.Key{id: key},
			Roles: []metadata.DelegatedRole{{Name: "third", KeyIDs: []string{id}, Threshold: 1, Paths: []string{by + "/*"}}},
		}
		h.signers["delegated third"] = []signature.Signer{signer}
	}
	h.addTargetTo(third, "a/fw", []byte("a"))
	h.addTargetTo(third, "b/fw", []byte("b"))
	h.bump()
	d := h.newDevice()
	d.mustRefresh(t)
	for range 2 {
		if _, err := d.Lookup(t.Context(), "a/fw"); err != nil {
			t.Fatal(err)
		}
		if _, err := d.Lookup(t.Context(), "b/fw"); client.Code(err) != client.CodeSignature {
			t.Errorf("b's name by a's key: %v", err)
		}
	}
}
