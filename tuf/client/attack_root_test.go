package client_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

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
