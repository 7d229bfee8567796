package main

import (
	"bytes"
	"path/filepath"
	"testing"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

func TestConformanceBasic(t *testing.T) {
	t.Parallel()
	cases := map[string]func(*conforming){
		"basic_refresh_requests": func(c *conforming) {
			c.begin()
			c.refresh(0)
			c.wantAsked("2.root", "timestamp", "1.snapshot", "1.targets")
		},
		"basic_refresh_trusted_data": func(c *conforming) {
			c.begin()
			c.refresh(0)
			c.holds(rootRole, timestampRole, snapshotRole, targetsRole)
			c.trusts("root 1", "snapshot 1", "targets 1", "timestamp 1")
		},
		"implicit_refresh": func(c *conforming) {
			c.begin()
			c.download("nonexistent artifact", 1)
			c.wantAsked("2.root", "timestamp", "1.snapshot", "1.targets")
			c.holds(rootRole, timestampRole, snapshotRole, targetsRole)
		},
		"invalid_initial_root": func(c *conforming) {
			c.init(bytes.Replace(c.last(rootRole), []byte(`"version"`), []byte(`"other"`), 1))
			c.refresh(1)
			c.wantAsked()
		},
		"unsigned_initial_root": func(c *conforming) {
			c.signatures(rootRole, func(s []metadata.Signature) []metadata.Signature {
				s[0].Signature[7] ^= 1
				return s
			})
			c.init(c.last(rootRole))
			c.refresh(1)
			c.wantAsked()
		},
		"timestamp_content_changes": func(c *conforming) {
			c.begin()
			c.refresh(0)
			was := c.last(timestampRole)
			c.timestamp.Signed.Meta["snapshot.json"].Version = 100
			c.forget(timestampRole)
			c.publish(timestampRole) // version 1 again
			c.refresh(0)
			c.wantLastAsked("timestamp")
			c.instead(timestampRole, was)
			c.holds(timestampRole)
		},
		"basic_metadata_hash_support": func(c *conforming) {
			c.hashes = true
			c.everything()
			c.begin()
			c.refresh(0)
			c.publish(targetsRole)
			c.snapshot.Signed.Meta["targets.json"].Hashes["sha256"][0] ^= 1
			c.publish(snapshotRole, timestampRole)
			c.refresh(1)
			c.trusts("root 1", "snapshot 3", "targets 2", "timestamp 3")
		},
		"new_targets_version_mismatch": func(c *conforming) {
			c.begin()
			c.refresh(0)
			c.publish(targetsRole) // of which the snapshot does not know
			c.refresh(0)
			c.wantLastAsked("timestamp")
			c.trusts("root 1", "snapshot 1", "targets 1", "timestamp 1")
		},
		"metadata_bytes_match": func(c *conforming) {
			c.begin()
			c.instead(timestampRole, append(c.last(timestampRole), " \n"...))
			c.refresh(0)
			c.holds(timestampRole)
		},
		"custom_fields": func(c *conforming) {
			c.begin()
			c.refresh(0)
			k := newKey(c.t, "ed25519")
			k.key.UnrecognizedFields = map[string]any{"extra-field": map[string]any{"a": 1, "b": 2}}
			k.named(c.t)
			c.root.Signed.UnrecognizedFields = map[string]any{"custom-field": "value"}
			c.root.Signed.Roles[rootRole].UnrecognizedFields = map[string]any{"another-field": "value"}
			c.addKey(rootRole, k)
			c.publish(rootRole)
			c.refresh(0)
			c.trusts("root 2", "snapshot 1", "targets 1", "timestamp 1")
		},
		"deprecated_keyid_hash_algorithms": func(c *conforming) {
			c.begin()
			k := newKey(c.t, "ed25519")
			k.key.UnrecognizedFields = map[string]any{"keyid_hash_algorithms": "md5"}
			k.named(c.t)
			c.root.Signed.Roles[snapshotRole].KeyIDs, c.signers[snapshotRole] = nil, nil
			c.addKey(snapshotRole, k)
			c.publish(rootRole, snapshotRole, timestampRole)
			c.refresh(0)
			c.trusts("root 2", "snapshot 2", "targets 1", "timestamp 2")
		},
		"snapshot_404": func(c *conforming) {
			c.begin()
			c.refresh(0)
			c.timestamp.Signed.Meta["snapshot.json"].Version++
			c.publish(timestampRole)
			c.refresh(1)
			c.wantLastAsked("2.snapshot")
			c.trusts("root 1", "snapshot 1", "targets 1", "timestamp 2")
		},
		"targets_404": func(c *conforming) {
			c.begin()
			c.refresh(0)
			c.snapshot.Signed.Meta["targets.json"].Version++
			c.publish(snapshotRole, timestampRole)
			c.refresh(1)
			c.wantLastAsked("2.targets")
			c.trusts("root 1", "snapshot 2", "targets 1", "timestamp 2")
		},
		"timestamp_404": func(c *conforming) {
			c.begin()
			c.refresh(0)
			c.forget(timestampRole)
			c.refresh(1)
			c.wantLastAsked("timestamp")
			c.trusts("root 1", "snapshot 1", "targets 1", "timestamp 1")
		},
		// A snapshot that would do as a timestamp but for its type, well signed.
		"incorrect_metadata_type": func(c *conforming) {
			c.begin()
			c.addKey(snapshotRole, c.signers[timestampRole][0])
			c.snapshot.Signed.Meta = map[string]*metadata.MetaFiles{"snapshot.json": {Version: 1}}
			c.publish(rootRole, snapshotRole)
			c.instead(timestampRole, c.last(snapshotRole))
			c.refresh(1)
			c.trusts("root 2")
		},
		"faketime": func(c *conforming) {
			c.begin()
			c.root.Signed.Expires = in(7 * day)
			c.publish(rootRole)
			c.refresh(0)
			if c.refreshAt(in(8*day)) != 1 {
				c.t.Error("an expired root was accepted")
			}
		},
	}
	for role, trusted := range map[string][]string{
		rootRole:      {"root 1"},
		timestampRole: {"root 2"},
		snapshotRole:  {"root 2", "timestamp 2"},
		targetsRole:   {"root 2", "snapshot 2", "timestamp 2"},
	} {
		cases["unsigned_metadata "+role] = func(c *conforming) {
			c.signers[role] = nil
			c.everything(rootRole)
			c.begin()
			c.refresh(1)
			c.trusts(trusted...)
		}
		if role == timestampRole {
			continue // it has no version in its address
		}
		cases["url_and_metadata_version_mismatch "+role] = func(c *conforming) {
			switch role { // the file 2.ROLE.json says that it is version 3
			case rootRole:
				c.root.Signed.Version++
			case snapshotRole:
				c.snapshot.Signed.Version++
			default:
				c.targets[role].Signed.Version++
			}
			c.everything(rootRole)
			for name, meta := range map[string]map[string]*metadata.MetaFiles{targetsRole: c.snapshot.Signed.Meta, snapshotRole: c.timestamp.Signed.Meta} {
				if name == role {
					meta[name+".json"].Version = 2
				}
			}
			c.republish()
			c.begin()
			c.refresh(1)
			c.trusts(trusted...)
		}
	}
	conform(t, cases)
}

// republish signs the newest snapshot and timestamp again, under their versions.
func (s *simulated) republish() {
	s.t.Helper()
	s.instead(snapshotRole, sealed(s, snapshotRole, s.snapshot))
	s.instead(timestampRole, sealed(s, timestampRole, s.timestamp))
}

func TestConformanceExpiration(t *testing.T) {
	t.Parallel()
	cases := map[string]func(*conforming){
		"root_expired": func(c *conforming) { // the specification's 5.3.10: it is kept first
			c.begin()
			c.refresh(0)
			c.root.Signed.Expires = past()
			c.everything(rootRole)
			c.refresh(1)
			c.trusts("root 2", "snapshot 1", "targets 1", "timestamp 1")
		},
		"root_expired, and then renewed": func(c *conforming) {
			c.begin()
			c.root.Signed.Expires = past()
			c.publish(rootRole)
			c.root.Signed.Expires = in(7 * day)
			c.publish(rootRole)
			c.refresh(0)
			c.trusts("root 3", "snapshot 1", "targets 1", "timestamp 1")
		},
		"timestamp_expired": func(c *conforming) {
			c.begin()
			c.refresh(0)
			c.timestamp.Signed.Expires = past()
			c.publish(timestampRole)
			c.refresh(1)
			c.trusts("root 1", "snapshot 1", "targets 1", "timestamp 1")
		},
		"snapshot_expired": func(c *conforming) {
			c.begin()
			c.refresh(0)
			c.snapshot.Signed.Expires = past()
			c.publish(snapshotRole, timestampRole)
			c.refresh(1)
			c.trusts("root 1", "snapshot 1", "targets 1", "timestamp 2")
		},
		"targets_expired": func(c *conforming) {
			c.begin()
			c.refresh(0)
			c.targets[targetsRole].Signed.Expires = past()
			c.everything()
			c.refresh(1)
			c.trusts("root 1", "snapshot 2", "targets 1", "timestamp 2")
		},
		// What the client has is expired; what the repository has is not.
		"expired_metadata": func(c *conforming) {
			c.begin()
			c.timestamp.Signed.Expires, c.snapshot.Signed.Expires, c.targets[targetsRole].Signed.Expires = in(7*day), in(7*day), in(7*day)
			c.everything()
			c.refresh(0)
			c.timestamp.Signed.Expires, c.snapshot.Signed.Expires, c.targets[targetsRole].Signed.Expires = in(21*day), in(21*day), in(21*day)
			if c.refreshAt(in(18*day)) != 1 {
				c.t.Error("expired metadata was used")
			}
			c.everything()
			if c.refreshAt(in(18*day)) != 0 {
				c.t.Errorf("on day 18: %s", c.said)
			}
			c.trusts("root 1", "snapshot 3", "targets 3", "timestamp 3")
		},
		// An old timestamp that has expired still guards against an older one.
		"expired_local_timestamp_rollback": func(c *conforming) {
			c.begin()
			c.timestamp.Signed.Expires = in(7 * day)
			c.publish(timestampRole)
			c.publish(timestampRole)
			c.refresh(0)
			c.forget(timestampRole)
			c.timestamp.Signed.Version, c.timestamp.Signed.Expires = 1, in(21*day)
			c.publish(timestampRole)
			if c.refreshAt(in(18*day)) != 1 {
				c.t.Error("an older timestamp was accepted")
			}
			c.trusts("root 1", "snapshot 1", "targets 1", "timestamp 3")
		},
		"delegated_targets_expired": func(c *conforming) {
			c.begin()
			c.delegated(past())
			c.refresh(0)
			c.download("delegatedpath/first", 1)
			c.has()
			c.trusts("root 1", "snapshot 2", "targets 2", "timestamp 2")
		},
		"expired_local_delegated_targets": func(c *conforming) {
			c.begin()
			c.delegated(in(7 * day))
			c.download("delegatedpath/first", 0)
			c.has("first")
			c.downloadAt(in(18*day), "delegatedpath/second", 1)
			c.has("first")
		},
		"expired_local_delegated_targets_updates": func(c *conforming) {
			c.begin()
			c.delegated(in(7 * day))
			c.download("delegatedpath/first", 0)
			c.targets["delegated"].Signed.Expires = in(21 * day)
			c.publish("delegated", snapshotRole, timestampRole)
			c.downloadAt(in(18*day), "delegatedpath/second", 0)
			c.has("first", "second")
		},
	}
	conform(t, cases)
}

// delegated publishes a role with two targets.
func (c *conforming) delegated(expires time.Time) {
	c.t.Helper()
	c.delegate(targetsRole, "delegated", false, "delegatedpath/*")
	c.targets["delegated"].Signed.Expires = expires
	c.add("delegated", "delegatedpath/first", "first")
	c.add("delegated", "delegatedpath/second", "second")
	c.everything("delegated")
}

// The suite has two repositories of other publishers on file. One that go-tuf's
// authors made with their tools stands for them here.
func TestConformanceStaticRepository(t *testing.T) {
	t.Parallel()
	dir := moduleDir(t, "github.com/theupdateframework/go-tuf/v2")
	repository := filepath.Join(dir, "examples", "multirepo", "repository")
	c := newConforming(t)
	c.serveDirectory(repository)
	root := mustRead(t, filepath.Join(repository, "metadata", "1.root.json"))
	if c.init(root) != 0 {
		t.Fatal(c.said)
	}
	c.refresh(0)
	c.download("map.json", 0)
	c.download("sigstore-tuf-root/root.json", 0)
	c.has(string(mustRead(t, filepath.Join(repository, "targets", "map.json"))),
		string(mustRead(t, filepath.Join(repository, "targets", "sigstore-tuf-root", "root.json"))))
}
