package client_test

import (
	"maps"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/theupdateframework/go-tuf/v2/metadata"

	"troth/tuf/client"
)

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

// Keys were stolen, and were replaced. What the thief signed while they counted may
// have been believed; from the new root on nothing of it is, whatever the thief holds
// back, and whatever versions they counted up.
func TestAttack_T2_StolenKeysCountNoMore(t *testing.T) {
	online := []string{metadata.TIMESTAMP, metadata.SNAPSHOT}
	for what, stolen := range map[string][]string{
		"timestamp": {metadata.TIMESTAMP},
		"online":    online,
		"all":       append([]string{metadata.TARGETS}, online...),
	} {
		t.Run(what, func(t *testing.T) {
			h := newHostile(t)
			d := h.newDevice()
			d.mustRefresh(t)
			thief := map[string][]signature.Signer{}
			for _, role := range stolen {
				thief[role] = h.signers[role]
			}
			// They count up what they can, so that nothing else is ever new.
			h.timestamp.Signed.Version = 1000
			if len(stolen) > 1 {
				h.snapshot.Signed.Version = 1000
			}
			if len(stolen) > 2 {
				h.targets.Signed.Version = 1000
				h.addTarget("malware", []byte("malware"))
			}
			h.publish()
			d.mustRefresh(t)

			// Recovery: new keys, and versions from where they were.
			for _, role := range stolen {
				h.replaceKey(role)
			}
			h.bumpRoot()
			delete(h.targets.Signed.Targets, "malware")
			h.targets.Signed.Version, h.snapshot.Signed.Version, h.timestamp.Signed.Version = 2, 2, 2
			h.publish()
			d.mustRefresh(t)
			d.wantKept(t, 2, 2, 2, 2)
			if _, err := d.Lookup(t.Context(), "malware"); client.Code(err) != client.CodeNotFound {
				t.Errorf("the thief's target: %v", err)
			}

			// The thief goes on, in the old root's name, with everything they have.
			h.put("/metadata/2.root.json", nil)
			maps.Copy(h.signers, thief)
			h.targets.Signed.Version, h.snapshot.Signed.Version, h.timestamp.Signed.Version = 3000, 3000, 3000
			h.addTarget("malware", []byte("malware"))
			h.publish()
			d.refuse(t, client.CodeSignature)
			d.reboot(t) // with the factory's root, which is older than what the device has
			d.refuse(t, client.CodeSignature)
			d.wantKept(t, 2, 2, 2, 2)
		})
	}
}
