package bundle_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"troth/internal/bundle"
	"troth/internal/fleet"
	"troth/internal/store"
	"troth/policies"
	"troth/policy"
	"troth/policy/archive"
)

// shelf is a source whose signatures hold.
type shelf map[string]signed

type signed struct {
	fleet.SignedBundle
	content []byte
}

func (s shelf) PolicyBundle(_ context.Context, target string) (fleet.SignedBundle, []byte, error) {
	found, ok := s[target]
	if !ok {
		return fleet.SignedBundle{}, nil, fleet.Errorf(fleet.Refused, "policy_unsigned", "no bundle is signed under the name %s", target)
	}
	return found.SignedBundle, found.content, nil
}

// put signs content under a counter, and returns its name.
func (s shelf) put(counter uint64, content []byte) string {
	sum := sha256.Sum256(content)
	name := fmt.Sprintf("policies/fleet-%d", counter)
	s[name] = signed{fleet.SignedBundle{Counter: counter, Version: fmt.Sprintf("v%d", counter), Target: name, Archive: hex.EncodeToString(sum[:])}, content}
	return name
}

// rig is a store with replicas of the service on it.
type rig struct {
	t     *testing.T
	store *store.Store
	shelf shelf
	now   time.Time
}

func newRig(t *testing.T) *rig {
	t.Helper()
	s, err := store.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "troth.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return &rig{t: t, store: s, shelf: shelf{}, now: time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)}
}

// replica is a started replica, and what it decides by.
func (r *rig) replica() (*bundle.Service, *policy.Current) { return r.replicaOf(changed(nil)) }

func (r *rig) replicaOf(base fs.FS) (*bundle.Service, *policy.Current) {
	r.t.Helper()
	current := &policy.Current{}
	s, err := bundle.New(r.t.Context(), bundle.Config{
		Store: r.store, Source: r.shelf, Current: current, Base: base, Now: func() time.Time { return r.now },
		Deadline: 30 * time.Second,
	})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(s.Close)
	if err := s.Start(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
	return s, current
}

// changed is the library with one control in place of its own and one test in place
// of its own, which take their time, and with the files that are given; an empty one
// is left out.
func changed(files map[string]string) fs.FS {
	out := fstest.MapFS{}
	err := fs.WalkDir(policies.FS, ".", func(name string, d fs.DirEntry, err error) error {
		control := strings.HasPrefix(name, "troth/posture/") && name != "troth/posture/posture.rego"
		if err != nil || d.IsDir() || strings.HasSuffix(name, "_test.rego") || control || strings.HasPrefix(name, "frameworks/") {
			return err
		}
		content, err := fs.ReadFile(policies.FS, name)
		out[name] = &fstest.MapFile{Data: content}
		return err
	})
	if err != nil {
		panic(err)
	}
	out["troth/own_test.rego"] = &fstest.MapFile{Data: []byte("package troth.own_test\n\ntest_it if 1 + 1 == 2\n")}
	out["troth/posture/plain.rego"] = &fstest.MapFile{Data: []byte(control("plain", "plain := lib.pass(\"Always.\")"))}
	for name, text := range files {
		out[name] = &fstest.MapFile{Data: []byte(text)}
		if text == "" {
			delete(out, name)
		}
	}
	return out
}

func pack(t testing.TB, fsys fs.FS) []byte {
	t.Helper()
	content, err := archive.Pack(fsys, "test", archive.DefaultRoots())
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// control is a module with one more control, and what it finds.
func control(id, finding string) string {
	return fmt.Sprintf(`package troth.posture

import data.troth.lib

# METADATA
# title: Ours
# description: What a test wants.
# scope: rule
# custom:
#   id: %s
#   severity: high
#   remediation: none
#   frameworks:
#     ours: ["1"]
controls contains lib.control(rego.metadata.rule(), %s)

%s
`, id, id, finding)
}

// raw packs files as they are, whatever they are.
func raw(t testing.TB, files ...[2]string) []byte {
	t.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	w := tar.NewWriter(z)
	for _, f := range files {
		err := w.WriteHeader(&tar.Header{Name: f[0], Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(f[1]))})
		if err == nil {
			_, err = w.Write([]byte(f[1]))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// approved pushes and approves a bundle.
func (r *rig) approved(s *bundle.Service, counter uint64, content []byte) {
	r.t.Helper()
	if _, err := s.Push(r.t.Context(), r.shelf.put(counter, content), "ada"); err != nil {
		r.t.Fatal(err)
	}
	if _, err := s.Approve(r.t.Context(), fmt.Sprint(counter), "bob"); err != nil {
		r.t.Fatal(err)
	}
}

func code(t testing.TB, err error, want string) {
	t.Helper()
	if got := fleet.CodeOf(err); err == nil || got != want {
		t.Fatalf("%v, want the code %s", err, want)
	}
}
