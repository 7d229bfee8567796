package firmware_test

import (
	"crypto"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"

	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// resign publishes the targets as edit leaves them, as another tool with the
// repository's keys would.
func (r *rig) resign(edit func(targets map[string]*metadata.TargetFiles)) {
	r.t.Helper()
	timestamp := read(r, "timestamp.json", &metadata.Metadata[metadata.TimestampType]{})
	version := timestamp.Signed.Meta["snapshot.json"].Version
	snapshot := read(r, fmt.Sprintf("%d.snapshot.json", version), &metadata.Metadata[metadata.SnapshotType]{})
	targets := read(r, fmt.Sprintf("%d.targets.json", snapshot.Signed.Meta["targets.json"].Version), &metadata.Metadata[metadata.TargetsType]{})
	edit(targets.Signed.Targets)
	targets.Signed.Version++
	snapshot.Signed.Meta["targets.json"] = write(r, targets, "targets", fmt.Sprintf("%d.targets.json", targets.Signed.Version), targets.Signed.Version)
	snapshot.Signed.Version++
	timestamp.Signed.Meta["snapshot.json"] = write(r, snapshot, "snapshot", fmt.Sprintf("%d.snapshot.json", snapshot.Signed.Version), snapshot.Signed.Version)
	timestamp.Signed.Version++
	write(r, timestamp, "timestamp", "timestamp.json", timestamp.Signed.Version)
}

func read[T metadata.Roles](r *rig, name string, into *metadata.Metadata[T]) *metadata.Metadata[T] {
	r.t.Helper()
	md, err := into.FromFile(filepath.Join(r.dir, "metadata", name))
	if err != nil {
		r.t.Fatal(err)
	}
	return md
}

func write[T metadata.Roles](r *rig, md *metadata.Metadata[T], role, name string, version int64) *metadata.MetaFiles {
	r.t.Helper()
	text, err := os.ReadFile(filepath.Join(r.keys, role+".pem"))
	if err != nil {
		r.t.Fatal(err)
	}
	private, err := cryptoutils.UnmarshalPEMToPrivateKey(text, cryptoutils.SkipPassword)
	if err != nil {
		r.t.Fatal(err)
	}
	signer, err := signature.LoadSigner(private, crypto.SHA256)
	if err != nil {
		r.t.Fatal(err)
	}
	md.ClearSignatures()
	if _, err := md.Sign(signer); err != nil {
		r.t.Fatal(err)
	}
	data, err := md.ToBytes(false)
	if err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(r.dir, "metadata", name), data, 0o644); err != nil {
		r.t.Fatal(err)
	}
	sum := sha256.Sum256(data)
	return &metadata.MetaFiles{Version: version, Length: int64(len(data)), Hashes: metadata.Hashes{"sha256": sum[:]}}
}

// withdraw takes a release and its allow-list out of the repository.
func (r *rig) withdraw(version string) {
	r.resign(func(targets map[string]*metadata.TargetFiles) {
		maps.DeleteFunc(targets, func(name string, _ *metadata.TargetFiles) bool {
			return name == "edge-"+version+".img" || name == "edge-"+version+".img.ima-allow"
		})
	})
}

// speakOf lets a release's signed metadata say something of IMA.
func (r *rig) speakOf(version, ima string) {
	r.resign(func(targets map[string]*metadata.TargetFiles) {
		target := targets["edge-"+version+".img"]
		var custom map[string]json.RawMessage
		if err := json.Unmarshal(*target.Custom, &custom); err != nil {
			r.t.Fatal(err)
		}
		custom["ima"] = json.RawMessage(ima)
		text, err := json.Marshal(custom)
		if err != nil {
			r.t.Fatal(err)
		}
		target.Custom = (*json.RawMessage)(&text)
	})
}
