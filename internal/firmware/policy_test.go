package firmware_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"troth/internal/fleet"
	"troth/tuf"
)

func (r *rig) publishPolicy(counter uint64, archive string) string {
	r.t.Helper()
	repository, err := tuf.Open(r.dir, r.keys)
	if err != nil {
		r.t.Fatal(err)
	}
	name := "policies/fleet-" + string(rune('0'+counter)) + ".tar.gz"
	if _, err := repository.PublishPolicy(r.t.Context(), tuf.PolicyBundle{Name: name, Version: "v", Counter: counter}, strings.NewReader(archive), r.clock); err != nil {
		r.t.Fatal(err)
	}
	return name
}

// A bundle is found as soon as it is published, and is no firmware.
func TestPolicyBundle(t *testing.T) {
	r := newRig(t)
	_, _, err := r.PolicyBundle(t.Context(), "policies/fleet-1.tar.gz")
	if fleet.CodeOf(err) != "policy_unsigned" {
		t.Errorf("without a repository: %v", err)
	}
	r.init()
	r.publish("1.0", 1)
	r.refresh()
	name := r.publishPolicy(2, "archive")
	signed, content, err := r.PolicyBundle(t.Context(), name)
	if err != nil || string(content) != "archive" || signed.Counter != 2 || signed.Target != name || len(signed.Archive) != 64 {
		t.Fatalf("%+v, %q, %v", signed, content, err)
	}
	if got := r.versions(); len(got) != 1 || got[0] != "1.0" {
		t.Errorf("releases %v", got)
	}
}

// What is not signed, not signed as a bundle, or is not what was signed is refused.
func TestAttack_P3_BundlesWhoseSignaturesDoNotHold(t *testing.T) {
	refused := func(t *testing.T, r *rig, name, code string) {
		t.Helper()
		signed, content, err := r.PolicyBundle(t.Context(), name)
		if fleet.CodeOf(err) != code || !fleet.IsKind(err, fleet.Refused) || content != nil || signed.Counter != 0 {
			t.Errorf("%+v, %v; want %s", signed, err, code)
		}
	}
	start := func(t *testing.T) (*rig, string) {
		r := newRig(t)
		r.init()
		r.publish("1.0", 1)
		name := r.publishPolicy(1, "archive")
		r.refresh()
		return r, name
	}
	t.Run("nobody signed it", func(t *testing.T) {
		r, _ := start(t)
		if err := os.WriteFile(filepath.Join(r.dir, "targets", "policies", "evil.tar.gz"), []byte("evil"), 0o600); err != nil {
			t.Fatal(err)
		}
		refused(t, r, "policies/evil.tar.gz", "policy_unsigned")
	})
	t.Run("a release", func(t *testing.T) {
		r, _ := start(t)
		refused(t, r, "edge-1.0.img", "policy_unsigned")
	})
	t.Run("a name that climbs", func(t *testing.T) {
		r, _ := start(t)
		if _, _, err := r.PolicyBundle(t.Context(), "policies/../../keys/root.pem"); !fleet.IsKind(err, fleet.Refused) {
			t.Error(err)
		}
	})
	t.Run("changed content", func(t *testing.T) {
		r, name := start(t)
		for _, other := range []string{"archivE", "archive and more", "arch"} {
			r.overwrite(filepath.Join("targets", "policies"), []byte(other))
			if _, content, err := r.PolicyBundle(t.Context(), name); err == nil || content != nil {
				t.Errorf("%q: %v", other, err)
			}
		}
	})
	t.Run("the keys of another repository", func(t *testing.T) {
		r, _ := start(t)
		other := newRig(t)
		other.init()
		other.publish("1.0", 1)
		other.publishPolicy(1, "one")
		name := other.publishPolicy(2, "two")
		for _, dir := range []string{"metadata", "targets"} {
			if err := os.RemoveAll(filepath.Join(r.dir, dir)); err != nil {
				t.Fatal(err)
			}
			if err := os.CopyFS(filepath.Join(r.dir, dir), os.DirFS(filepath.Join(other.dir, dir))); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.RemoveAll(r.keys); err != nil { // or the service would re-sign what is there
			t.Fatal(err)
		}
		refused(t, r, name, "policy_signature")
	})
	t.Run("an older repository put back", func(t *testing.T) {
		r, _ := start(t)
		before := t.TempDir()
		if err := os.CopyFS(before, os.DirFS(r.dir)); err != nil {
			t.Fatal(err)
		}
		r.publishPolicy(2, "newer")
		r.refresh()
		if err := os.RemoveAll(r.dir); err != nil {
			t.Fatal(err)
		}
		if err := os.CopyFS(r.dir, os.DirFS(before)); err != nil {
			t.Fatal(err)
		}
		refused(t, r, "policies/fleet-1.tar.gz", "policy_signature")
	})
}

// overwrite changes every file below a directory of the repository.
func (r *rig) overwrite(dir string, content []byte) {
	r.t.Helper()
	files, err := os.ReadDir(filepath.Join(r.dir, dir))
	if err != nil || len(files) == 0 {
		r.t.Fatal(files, err)
	}
	for _, f := range files {
		path := filepath.Join(r.dir, dir, f.Name())
		if was, err := os.ReadFile(path); err != nil || bytes.Equal(was, content) {
			r.t.Fatal(err)
		}
		if err := os.Chmod(path, 0o600); err != nil {
			r.t.Fatal(err)
		}
		if err := os.WriteFile(path, content, 0o600); err != nil {
			r.t.Fatal(err)
		}
	}
}
