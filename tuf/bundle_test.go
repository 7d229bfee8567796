package tuf_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"troth/tuf"
	"troth/tuf/client"
)

// A repository travels as one file, is verified from a root on, and a device
// follows the copy as it would the original.
func TestExportedRepositoryIsARepository(t *testing.T) {
	for _, bits := range []int{0, 3} {
		c := supplied(t, tuf.InitOptions{BinBits: bits})
		own := map[int]string{0: "targets", 3: "releases"}[bits]
		c.release("ours/1.img", "ours", 1, own)
		c.release("acme/1.img", "acme-1", 1, "acme")
		if err := must(tuf.Open(c.dir, c.keys)).Rotate(start, "root"); err != nil {
			t.Fatal(err)
		}
		root, err := os.ReadFile(filepath.Join(c.dir, "metadata", "1.root.json"))
		if err != nil {
			t.Fatal(err)
		}
		for _, tc := range []struct {
			models  []string
			checked int
		}{{nil, 2}, {[]string{"acme-1"}, 1}} {
			var b bytes.Buffer
			if err := c.repo.Export(&b, tc.models...); err != nil {
				t.Fatal(err)
			}
			dir := filepath.Join(t.TempDir(), "copy")
			if err := tuf.Unpack(&b, dir); err != nil {
				t.Fatal(err)
			}
			got, err := client.VerifyDirectory(t.Context(), dir, root, t.TempDir(), start)
			if err != nil || got.Checked != tc.checked || len(got.Targets) != 2 || len(got.Missing) != 2-tc.checked {
				t.Errorf("models %v: %d checked, missing %v, %v", tc.models, got.Checked, got.Missing, err)
			}
			dest := filepath.Join(t.TempDir(), "fw")
			if err := follower(t, dir, root, at(start)).Refresh(t.Context()); err != nil {
				t.Error(err)
			}
			device := follower(t, dir, root, at(start))
			if err := errors.Join(device.Refresh(t.Context()), device.Download(t.Context(), "acme/1.img", dest, nil)); err != nil {
				t.Error(err)
			}
		}
	}
}

// A stick is nobody's friend: what is on it is bytes until it verifies.
func TestAttack_T1_BundleLeavesItsDirectory(t *testing.T) {
	for what, h := range map[string]tar.Header{
		"upwards":         {Name: "metadata/../../x.json", Typeflag: tar.TypeReg},
		"upwards, target": {Name: "targets/../../x", Typeflag: tar.TypeReg},
		"absolute":        {Name: "/etc/x", Typeflag: tar.TypeReg},
		"elsewhere":       {Name: "keys/x.pem", Typeflag: tar.TypeReg},
		"hidden":          {Name: "targets/.lock", Typeflag: tar.TypeReg},
		"no metadata":     {Name: "metadata/x.sh", Typeflag: tar.TypeReg},
		"a folder":        {Name: "metadata/a/x.json", Typeflag: tar.TypeReg},
		"a link":          {Name: "targets/x", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"},
		"a hard link":     {Name: "targets/x", Typeflag: tar.TypeLink, Linkname: "metadata/timestamp.json"},
		"a device":        {Name: "targets/x", Typeflag: tar.TypeChar},
		"huge":            {Name: "metadata/1.root.json", Typeflag: tar.TypeReg, Size: 1 << 40},
		"twice":           {Name: "targets/first", Typeflag: tar.TypeReg},
	} {
		t.Run(what, func(t *testing.T) {
			var b bytes.Buffer
			w := tar.NewWriter(&b)
			for _, header := range []tar.Header{{Name: "targets/first", Typeflag: tar.TypeReg}, h} {
				if err := w.WriteHeader(&header); err != nil {
					t.Fatal(err)
				}
			}
			if h.Size == 0 {
				if err := w.Close(); err != nil {
					t.Fatal(err)
				}
			}
			parent := t.TempDir()
			if err := tuf.Unpack(&b, filepath.Join(parent, "copy")); !errors.Is(err, tuf.ErrInvalid) {
				t.Errorf("%v", err)
			}
			if left, _ := os.ReadDir(parent); len(left) != 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
	if err := tuf.Unpack(strings.NewReader(""), filepath.Join(t.TempDir(), "x")); !errors.Is(err, tuf.ErrInvalid) {
		t.Errorf("an empty bundle: %v", err)
	}
}

func FuzzUnpack(f *testing.F) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := errors.Join(w.WriteHeader(&tar.Header{Name: "metadata/1.root.json", Typeflag: tar.TypeReg, Size: 2}), func() error { _, err := w.Write([]byte("{}")); return err }(), w.Close()); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		parent := t.TempDir()
		dir := filepath.Join(parent, "copy")
		err := tuf.Unpack(bytes.NewReader(data), dir)
		entries, readErr := os.ReadDir(parent)
		if readErr != nil {
			t.Fatal(readErr)
		}
		if err != nil && len(entries) != 0 || err == nil && (len(entries) != 1 || entries[0].Name() != "copy") {
			t.Fatalf("%v leaves %v", err, entries)
		}
	})
}
