package main

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"testing"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

func TestConformanceKeys(t *testing.T) {
	t.Parallel()
	cases := map[string]func(*conforming){
		"snapshot_does_not_meet_threshold": func(c *conforming) {
			c.root.Signed.Roles[snapshotRole].Threshold = 3
			c.addKey(snapshotRole, newKey(c.t, "ed25519"))
			c.addKey(snapshotRole, newKey(c.t, "ed25519"))
			c.everything(rootRole)
			c.begin()
			c.refresh(0)
			c.signers[snapshotRole] = c.signers[snapshotRole][:2]
			c.everything()
			c.refresh(1)
			if got := c.version(snapshotRole); got != 2 {
				c.t.Errorf("snapshot %d is trusted", got)
			}
		},
		"snapshot_has_too_few_keys": func(c *conforming) {
			c.begin()
			for range 4 {
				c.addKey(snapshotRole, newKey(c.t, "ed25519"))
			}
			c.root.Signed.Roles[snapshotRole].Threshold = 6
			c.publish(rootRole, snapshotRole, timestampRole)
			c.refresh(1)
			if c.version(rootRole) != 2 || c.version(snapshotRole) == 2 {
				c.t.Errorf("root %d and snapshot %d are trusted", c.version(rootRole), c.version(snapshotRole))
			}
		},
		"duplicate_keys": func(c *conforming) {
			c.begin()
			k := newKey(c.t, "ed25519")
			for range 9 {
				c.trust(snapshotRole, k)
			}
			c.signers[snapshotRole] = append(c.signers[snapshotRole], k, k, k, k, k, k, k, k, k)
			c.root.Signed.Roles[snapshotRole].Threshold = 6
			c.publish(rootRole, snapshotRole, timestampRole)
			c.refresh(1)
			if c.version(snapshotRole) != 0 {
				c.t.Error("the snapshot is trusted")
			}
		},
		"duplicate_sig_keyids": func(c *conforming) {
			c.begin()
			c.signatures(snapshotRole, func(s []metadata.Signature) []metadata.Signature { return append(s, s[0]) })
			c.refresh(1)
			c.trusts("root 1", "timestamp 1")
		},
		// One good signature is enough, whatever stands beside it.
		"invalid_sig_in_valid_metadata": func(c *conforming) {
			c.begin()
			wrong := c.signers[snapshotRole][0] // signs for another role, and so not for this
			old := c.signers[timestampRole][0]
			c.addKey(timestampRole, newKey(c.t, "ed25519"))
			for _, bad := range []*signer{{id: old.id, key: old.key, by: wrong.by}, nil} {
				c.publish(rootRole, timestampRole)
				c.signatures(timestampRole, func(s []metadata.Signature) []metadata.Signature {
					for i := range s {
						if s[i].KeyID == old.id {
							s[i].Signature = nil
							if bad != nil {
								s[i].Signature = s[1-i].Signature
							}
						}
					}
					return s
				})
				c.refresh(0)
				c.holds(timestampRole)
			}
		},
	}
	for _, kind := range []string{"rsa", "ecdsa", "ed25519"} {
		cases["keytype_and_scheme "+kind] = func(c *conforming) {
			c.begin()
			k := newKey(c.t, kind)
			c.addKey(rootRole, k)
			c.root.Signed.Roles[rootRole].Threshold = 2
			c.publish(rootRole)
			c.refresh(0)
			c.trusts("root 2", "snapshot 1", "targets 1", "timestamp 1")
			var before []byte // a true signature of that key, on something else
			c.signatures(rootRole, func(s []metadata.Signature) []metadata.Signature {
				before = s[1].Signature
				return s
			})
			c.publish(rootRole)
			c.signatures(rootRole, func(s []metadata.Signature) []metadata.Signature {
				s[1].Signature = before
				return s
			})
			c.refresh(1)
			c.trusts("root 2", "snapshot 1", "targets 1", "timestamp 1")
		}
	}
	conform(t, cases)
}

// signing is who may sign a root, how many must, and who does.
type signing struct {
	keys      []int
	threshold int
	sigs      []int
}

var (
	five    = []int{0, 1, 2, 3, 4}    //nolint:gochecknoglobals // data of the cases
	another = []int{0, 1, 3, 4, 5}    //nolint:gochecknoglobals // one of the five replaced
	others  = []int{5, 6, 7, 8, 9}    //nolint:gochecknoglobals // all of them replaced
	three   = []int{1, 2, 3}          //nolint:gochecknoglobals // data of the cases
	both    = []int{0, 2, 4, 5, 6, 7} //nolint:gochecknoglobals // enough of the old and of the new five
)

func TestConformanceRootRotation(t *testing.T) {
	t.Parallel()
	cases := map[string]func(*conforming){}
	for name, tc := range map[string]struct {
		roots []signing
		good  bool // the last one is accepted
	}{
		"1-of-1-key-rotation":                           {[]signing{{[]int{1}, 1, []int{1}}, {[]int{2}, 1, []int{2, 1}}, {[]int{2}, 1, []int{2}}}, true},
		"1-of-1-key-rotation-unused-signatures":         {[]signing{{[]int{1}, 1, []int{3, 1, 4}}, {[]int{2}, 1, []int{3, 2, 1, 4}}, {[]int{2}, 1, []int{3, 2, 4}}}, true},
		"3-of-5-sign-with-different-keycombos":          {[]signing{{five, 3, []int{0, 2, 4}}, {five, 3, []int{0, 4, 1}}, {five, 3, []int{0, 1, 3}}, {five, 3, []int{0, 1, 3}}}, true},
		"3-of-5-one-key-rotated":                        {[]signing{{five, 3, []int{0, 2, 4}}, {another, 3, []int{0, 4, 1}}}, true},
		"3-of-5-one-key-rotated-with-intermediate-step": {[]signing{{five, 3, []int{0, 2, 4}}, {another, 3, []int{0, 2, 4, 5}}, {another, 3, []int{0, 4, 5}}}, true},
		"3-of-5-all-keys-rotated-with-intermediate":     {[]signing{{five, 3, []int{0, 2, 4}}, {others, 3, both}, {others, 3, []int{5, 6, 7}}}, true},
		"1-of-3-threshold-increase-to-2-of-3":           {[]signing{{three, 1, []int{1}}, {three, 2, []int{1, 2}}}, true},
		"2-of-3-threshold-decrease-to-1-of-3":           {[]signing{{three, 2, []int{1, 2}}, {three, 1, []int{1, 2}}, {three, 1, []int{1}}}, true},
		"1-of-2-threshold-increase-to-2-of-2":           {[]signing{{[]int{1}, 1, []int{1}}, {[]int{1, 2}, 2, []int{1, 2}}}, true},
		"fail-not-signed-with-old-key":                  {[]signing{{[]int{1}, 1, []int{1}}, {[]int{2}, 1, []int{2, 3, 4}}}, false},
		"fail-not-signed-with-new-key":                  {[]signing{{[]int{1}, 1, []int{1}}, {[]int{2}, 1, []int{1, 3, 4}}}, false},
		"fail-not-signed-with-3-new-keys":               {[]signing{{five, 3, []int{0, 2, 4}}, {another, 3, []int{0, 2, 4}}}, false},
		"fail-not-signed-with-3-old-keys":               {[]signing{{five, 3, []int{0, 2, 4}}, {another, 3, []int{0, 4, 5}}}, false},
		"fail-new-threshold-not-reached":                {[]signing{{three, 1, []int{1}}, {three, 2, []int{2}}}, false},
		"fail-old-threshold-not-reached":                {[]signing{{three, 2, []int{1, 2}}, {three, 1, []int{1}}}, false},
	} {
		cases[name] = func(c *conforming) {
			keys := tenKeys(c.t)
			c.forget(rootRole)
			c.root.Signed.Version = 1
			for _, s := range tc.roots {
				c.signs(rootRole, s, keys)
				c.publish(rootRole)
			}
			c.begin()
			want, accepted := 0, len(tc.roots)
			if !tc.good {
				want, accepted = 1, accepted-1
			}
			c.refresh(want)
			if got := string(mustRead(c.t, filepath.Join(c.dir, "metadata", "root.json"))); got != string(c.published[rootRole][accepted-1]) {
				c.t.Errorf("root %d is not kept as it was published", accepted)
			}
		}
	}
	conform(t, cases)
}

func TestConformanceNonRootRotations(t *testing.T) {
	t.Parallel()
	cases := map[string]func(*conforming){}
	for name, tc := range map[string]struct {
		signing
		good bool
	}{
		"1-of-1-key-rotation":                          {signing{[]int{2}, 1, []int{2}}, true},
		"1-of-1-key-rotation-unused-signatures":        {signing{[]int{1}, 1, []int{3, 1, 4}}, true},
		"fail-not-signed-with-new-key":                 {signing{[]int{2}, 1, []int{1, 3, 4}}, false},
		"fail-not-signed-with-3-expected-keys":         {signing{another, 3, []int{0, 2, 4}}, false},
		"fail-signature-missing-threshold-not-reached": {signing{another, 3, []int{0, 4}}, false},
		"3-of-5-sign-first-combo":                      {signing{five, 3, []int{0, 2, 4}}, true},
		"3-of-5-sign-second-combo":                     {signing{five, 3, []int{0, 4, 1}}, true},
		"3-of-5-sign-third-combo":                      {signing{five, 3, []int{0, 1, 3}}, true},
		"3-of-5-sign-fourth-combo":                     {signing{five, 3, []int{1, 2, 3}}, true},
		"3-of-5-sign-fifth-combo":                      {signing{five, 3, []int{2, 3, 4}}, true},
	} {
		for _, role := range []string{timestampRole, snapshotRole, targetsRole} {
			cases[role+" "+name] = func(c *conforming) {
				c.begin()
				c.signs(role, tc.signing, tenKeys(c.t))
				c.everything(rootRole)
				if !tc.good {
					c.refresh(1)
					if got := c.version(role); got != 0 {
						c.t.Errorf("version %d is trusted", got)
					}
					return
				}
				c.refresh(0)
				c.holds(role)
			}
		}
	}
	conform(t, cases)
}

func tenKeys(t *testing.T) []*signer {
	var keys []*signer
	for range 10 {
		keys = append(keys, newKey(t, "ed25519"))
	}
	return keys
}

// signs replaces a role's keys, threshold and signers.
func (s *simulated) signs(role string, by signing, keys []*signer) {
	s.root.Signed.Roles[role].KeyIDs, s.signers[role] = nil, nil
	s.root.Signed.Roles[role].Threshold = by.threshold
	for _, i := range by.keys {
		s.trust(role, keys[i])
	}
	for _, i := range by.sigs {
		s.signers[role] = append(s.signers[role], keys[i])
	}
}

func TestConformanceQuoting(t *testing.T) {
	t.Parallel()
	cases := map[string]func(*conforming){}
	for _, role := range []string{"?", "#", "/delegatedrole", "../delegatedrole"} {
		cases["unusual_role_name "+url.PathEscape(role)] = func(c *conforming) {
			c.begin()
			c.delegate(targetsRole, role, false, "*")
			c.everything(role)
			c.download("nonexistent target", 1)
			c.wantAsked("2.root", "timestamp", "2.snapshot", "2.targets", "1."+url.PathEscape(role))
			if got, err := filepath.Glob(filepath.Join(c.dir, "metadata", "*.json")); err != nil || len(got) != 5 {
				c.t.Errorf("trusts %v, %v", got, err)
			}
			entries, err := os.ReadDir(c.dir)
			if err != nil {
				c.t.Fatal(err)
			}
			for _, e := range entries {
				if e.Name() == "delegatedrole.json" {
					c.t.Error("the role left its directory")
				}
			}
		}
	}
	conform(t, cases)
}

func TestConformanceDownload(t *testing.T) {
	t.Parallel()
	const name, content = "target_file.txt", "target file contents"
	cases := map[string]func(*conforming){
		"client_downloads_expected_file": func(c *conforming) {
			c.begin()
			c.add(targetsRole, name, content)
			c.everything()
			c.refresh(0)
			c.has()
			c.download(name, 0)
			c.has(content)
		},
		"client_downloads_expected_file_in_sub_dir": func(c *conforming) {
			c.begin()
			c.add(targetsRole, "path/to/a/"+name, content)
			c.everything()
			c.download("path/to/a/"+name, 0)
			c.has(content)
		},
		"repository_substitutes_target_file": func(c *conforming) {
			c.begin()
			c.add(targetsRole, name, content)
			c.add(targetsRole, "another", "content")
			c.everything()
			c.download(name, 0)
			c.serveContent(name, "malicious data: do not download")
			c.serveContent("another", "malicious data: do not download")
			c.download(name, 0) // what is here already is what was signed
			c.has(content)
			c.download("another", 1)
			c.has(content)
		},
		"multiple_changes_to_target": func(c *conforming) {
			c.begin()
			kept := []string{}
			for i := range 11 {
				now := fmt.Sprint("modified file contents ", i)
				c.add(targetsRole, name, now)
				added := fmt.Sprint("new-target-", i)
				c.add(targetsRole, added, added)
				c.everything()
				if i%5 != 0 {
					continue // the client sees every fifth
				}
				c.download(name, 0)
				c.has(append(kept, now)...)
				c.download(added, 0)
				kept = append(kept, added)
				c.serveContent(name, fmt.Sprint("malicious contents ", i))
				c.everything()
				c.download(name, 0)
				c.has(append(kept, now)...)
			}
		},
		"download_with_unknown_hash_algorithm": func(c *conforming) {
			c.begin()
			c.add(targetsRole, name, content, "unknown-hash")
			c.everything()
			c.download(name, 1)
			c.has()
		},
		"artifact_cache": func(c *conforming) {
			c.begin()
			c.add(targetsRole, name, content)
			c.everything()
			c.download(name, 0)
			c.download(name, 0)
			if len(c.fetched) != 1 {
				c.t.Errorf("fetched %q", c.fetched)
			}
		},
	}
	for what, hashes := range map[string][]string{"sha256": {"sha256"}, "sha512": {"sha512"}, "both": {"sha256", "sha512"}} {
		cases["download_with_hash_algorithms "+what] = func(c *conforming) {
			c.begin()
			c.add(targetsRole, name, content, hashes...)
			c.everything()
			c.download(name, 0)
			c.has(content)
			possible := map[string]bool{}
			for _, h := range c.targets[targetsRole].Signed.Targets[name].Hashes {
				possible[fmt.Sprintf("%x.%s", []byte(h), name)] = true
			}
			if len(c.fetched) != 1 || !possible[c.fetched[0]] {
				c.t.Errorf("fetched %q, want one of %v", c.fetched, possible)
			}
		}
	}
	conform(t, cases)
}
