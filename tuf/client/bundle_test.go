package client_test

import (
	"archive/tar"
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"troth/tuf/client"
)

// bundle writes what the repository serves now into one file, as on a stick.
func (h *hostile) bundle() string {
	h.t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, path := range slices.Sorted(maps.Keys(h.files)) {
		if h.files[path] == nil {
			continue
		}
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: path[1:], Size: int64(len(h.files[path])), Mode: 0o644}); err != nil {
			h.t.Fatal(err)
		}
		if _, err := w.Write(h.files[path]); err != nil {
			h.t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		h.t.Fatal(err)
	}
	file := filepath.Join(h.t.TempDir(), "firmware.troth")
	if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
		h.t.Fatal(err)
	}
	return file
}

// plug has the device read a bundle from now on; what it knows stays.
func (d *device) plug(t testing.TB, file string) {
	t.Helper()
	d.cfg.MetadataURL, d.cfg.TargetsURL = "bundle://"+file+"/metadata", "bundle://"+file+"/targets/"
	d.reboot(t)
}

// A bundle is followed as a server is: the same chain of roots, the same downloads,
// which go on where they ended.
func TestFollowABundle(t *testing.T) {
	h := newHostile(t)
	d := h.newDevice()
	d.mustRefresh(t) // it saw the repository before, over the network
	for range 15 {
		before := h.signers["root"][0]
		h.replaceKey("root")
		h.signers["root"] = append(h.signers["root"], before) // both sign, as the specification wants
		h.bumpRoot()
	}
	content := bytes.Repeat([]byte("firmware "), 50_000)
	h.addTarget("dir/fw", content)
	h.bump()
	file := h.bundle()
	h.server.Close() // there is no network any more
	d.plug(t, file)
	d.mustRefresh(t)
	d.wantKept(t, 16, 2, 2, 2)
	dest := filepath.Join(t.TempDir(), "fw")
	if err := os.WriteFile(dest+".part", content[:200_000], 0o600); err != nil {
		t.Fatal(err)
	}
	first := int64(-1)
	err := d.Download(t.Context(), "dir/fw", dest, func(done, _ int64) {
		if first < 0 {
			first = done
		}
	})
	if err != nil || !bytes.Equal(readFile(dest), content) {
		t.Fatalf("download: %v", err)
	}
	if first <= 200_000 {
		t.Errorf("began at %d: what was there was fetched again", first)
	}
	if err := d.Download(t.Context(), "dir/none", dest, nil); client.Code(err) != client.CodeNotFound {
		t.Errorf("a target that is not there: %v", err)
	}
}

// What would be refused of a server is refused of a stick.
func TestAttack_T4_BundleIsOlderOrStale(t *testing.T) {
	h := newHostile(t)
	d := h.newDevice()
	old := h.bundle()
	h.bump()
	d.mustRefresh(t) // over the network
	d.plug(t, old)
	d.refuse(t, client.CodeRollback)
	d.wantKept(t, 1, 2, 2, 2)

	fresh := h.bundle()
	d.plug(t, fresh)
	d.now = start.Add(31 * 24 * time.Hour)
	d.refuse(t, client.CodeExpired)
	d.now = start.Add(2 * time.Hour)
	d.mustRefresh(t)
	// The time that is known to have passed counts, and not what a dead battery says.
	h.timestamp.Signed.Version++
	h.timestamp.Signed.Expires = start.Add(time.Hour)
	h.publishTimestamp()
	d.plug(t, h.bundle())
	d.now = time.Unix(0, 0)
	d.refuse(t, client.CodeExpired)
	d.wantKept(t, 1, 2, 2, 2)
}

func TestAttack_T2_BundleOfAStranger(t *testing.T) {
	h, stranger := newHostile(t), newHostile(t)
	d := h.newDevice()
	d.mustRefresh(t)
	stranger.bumpRoot()
	stranger.bump()
	stranger.addTarget("fw", []byte("malware"))
	stranger.bump()
	d.plug(t, stranger.bundle())
	d.refuse(t, client.CodeSignature)
	d.wantKept(t, 1, 1, 1, 1)
	// Also without a new root, and with content that was swapped in ours.
	stranger.put("/metadata/2.root.json", nil)
	d.plug(t, stranger.bundle())
	d.refuse(t, client.CodeSignature)
	h.addTarget("fw", []byte("firmware"))
	h.bump()
	for path := range h.files {
		if strings.HasPrefix(path, "/targets/") {
			h.put(path, []byte("malware!"))
		}
	}
	d.plug(t, h.bundle())
	d.mustRefresh(t)
	dest := filepath.Join(t.TempDir(), "fw")
	if err := d.Download(t.Context(), "fw", dest, nil); client.Code(err) != client.CodeContent {
		t.Errorf("swapped content: %v", err)
	}
	if left, _ := filepath.Glob(dest + "*"); len(left) > 0 {
		t.Errorf("left %v", left)
	}
}

// member is a tar entry of any kind, as a writer that keeps to no rules makes it.
func member(t testing.TB, header tar.Header, kind byte, content string) []byte {
	t.Helper()
	var b bytes.Buffer
	header.Typeflag = tar.TypeReg
	if header.Size == 0 {
		header.Size = int64(len(content))
	}
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&header); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(content)); err != nil {
		t.Fatal(err)
	}
	raw := b.Bytes()
	block := raw[len(raw)-len(content)-512 : len(raw)-len(content)]
	block[156] = kind
	copy(block[148:156], "        ")
	sum := 0
	for _, c := range block {
		sum += int(c)
	}
	copy(block[148:156], fmt.Sprintf("%06o\x00 ", sum))
	return append(raw, make([]byte, (512-len(content)%512)%512)...)
}

// What no exported repository has is refused with all that is beside it.
func TestAttack_T1_HostileBundle(t *testing.T) {
	h := newHostile(t)
	good := readFile(h.bundle())
	good = good[:len(good)-1024] // without its end
	sparse := "22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n29 GNU.sparse.name=targets/x\n" + "28 GNU.sparse.realsize=1024\n"
	for what, hostile := range map[string][]byte{
		"upwards":          member(t, tar.Header{Name: "metadata/../../../etc/x.json"}, tar.TypeReg, ""),
		"upwards, targets": member(t, tar.Header{Name: "targets/../../x"}, tar.TypeReg, ""),
		"absolute":         member(t, tar.Header{Name: "/etc/passwd"}, tar.TypeReg, ""),
		"elsewhere":        member(t, tar.Header{Name: "keys/root.pem"}, tar.TypeReg, ""),
		"a link":           member(t, tar.Header{Name: "targets/x", Linkname: "/etc/shadow"}, tar.TypeSymlink, ""),
		"a hard link":      member(t, tar.Header{Name: "targets/x", Linkname: "metadata/timestamp.json"}, tar.TypeLink, ""),
		"a device":         member(t, tar.Header{Name: "targets/x"}, tar.TypeBlock, ""),
		"a pipe":           member(t, tar.Header{Name: "targets/x"}, tar.TypeFifo, ""),
		"a folder":         member(t, tar.Header{Name: "targets/x"}, tar.TypeDir, ""),
		"huge metadata":    member(t, tar.Header{Name: "metadata/9.targets.json", Size: 1 << 32}, tar.TypeReg, ""),
		"huge target":      member(t, tar.Header{Name: "targets/x", Size: 1 << 50}, tar.TypeReg, ""),
		"twice":            member(t, tar.Header{Name: "metadata/timestamp.json"}, tar.TypeReg, "{}"),
		"sparse": append(member(t, tar.Header{Name: "x"}, tar.TypeXHeader, sparse),
			member(t, tar.Header{Name: "targets/x"}, tar.TypeReg, "1\n0\n512\n"+strings.Repeat("\x00", 502)+strings.Repeat("x", 512))...),
	} {
		t.Run(what, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "x.troth")
			whole := append(append(bytes.Clone(good), hostile...), make([]byte, 1024)...)
			if err := os.WriteFile(file, whole, 0o600); err != nil {
				t.Fatal(err)
			}
			d := h.newDevice()
			d.plug(t, file)
			d.refuse(t, client.CodeMalformed)
			d.wantKept(t, 1, 0, 0, 0)
		})
	}
	// The same without any of them is followed: it is they who are refused.
	file := filepath.Join(t.TempDir(), "x.troth")
	if err := os.WriteFile(file, append(bytes.Clone(good), make([]byte, 1024)...), 0o600); err != nil {
		t.Fatal(err)
	}
	d := h.newDevice()
	d.plug(t, file)
	d.mustRefresh(t)
}

// A stick that was pulled out too early, at any length: what is missing is refused
// or missed, and what was trusted stays.
func TestAttack_T1_TruncatedBundle(t *testing.T) {
	h := newHostile(t)
	content := bytes.Repeat([]byte("x"), 3000)
	h.addTarget("fw", content)
	h.bump()
	whole := readFile(h.bundle())
	d := h.newDevice()
	file := filepath.Join(t.TempDir(), "x.troth")
	dest := filepath.Join(t.TempDir(), "fw")
	complete := 0
	for length := 0; length <= len(whole); length += 256 {
		if err := os.WriteFile(file, whole[:length], 0o600); err != nil {
			t.Fatal(err)
		}
		d.plug(t, file)
		err := d.Refresh(t.Context())
		if err == nil {
			err = d.Download(t.Context(), "fw", dest, nil)
		}
		switch code := client.Code(err); {
		case err == nil:
			complete++
		case code != client.CodeTruncated && code != client.CodeMalformed && code != client.CodeNotFound:
			t.Fatalf("%d of %d bytes: %v", length, len(whole), err)
		case readFile(dest) != nil && complete == 0:
			t.Fatalf("%d of %d bytes: %v, and the target is there", length, len(whole), err)
		}
	}
	if complete == 0 || !bytes.Equal(readFile(dest), content) {
		t.Fatalf("the whole bundle was never followed (%d times)", complete)
	}
}

func TestBundleThatIsNone(t *testing.T) {
	h := newHostile(t)
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	empty := filepath.Join(dir, "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for file, code := range map[string]string{
		pipe: client.CodeUnreachable, dir: client.CodeUnreachable, filepath.Join(dir, "none"): client.CodeUnreachable,
		"/dev/zero": client.CodeUnreachable, empty: client.CodeMalformed,
	} {
		d := h.newDevice()
		d.plug(t, file)
		d.refuse(t, code)
	}
	for _, address := range []string{"bundle://x/metadata", "bundle:///x", "bundle:///x/keys", "bundle:///metadata"} {
		if _, err := client.New(client.Config{Dir: dir, Root: h.get("/metadata/1.root.json"), MetadataURL: address}); client.Code(err) != client.CodeUnreachable {
			t.Errorf("%s: %v", address, err)
		}
	}
}

// Another stick in the same place is another bundle.
func TestBundleIsReplaced(t *testing.T) {
	h := newHostile(t)
	d := h.newDevice()
	file := filepath.Join(t.TempDir(), "x.troth")
	for version := int64(1); version < 4; version++ {
		if err := os.Rename(h.bundle(), file); err != nil {
			t.Fatal(err)
		}
		if version == 1 {
			d.plug(t, file)
		}
		d.mustRefresh(t)
		d.wantKept(t, 1, version, version, version)
		h.bump()
	}
}

// FuzzBundle: no bytes make the client read outside of the bundle or stop.
func FuzzBundle(f *testing.F) {
	h := newHostile(f)
	h.addTarget("fw", []byte("firmware"))
	h.bump()
	f.Add(readFile(h.bundle()))
	f.Add([]byte{})
	f.Add(member(f, tar.Header{Name: "targets/x", Size: 1 << 50}, tar.TypeReg, ""))
	root := h.get("/metadata/1.root.json")
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := t.TempDir()
		file := filepath.Join(dir, "x.troth")
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := client.New(client.Config{
			Dir: filepath.Join(dir, "tuf"), Root: root, Now: func() time.Time { return start },
			MetadataURL: "bundle://" + file + "/metadata", TargetsURL: "bundle://" + file + "/targets",
		})
		if err != nil {
			t.Fatal(err)
		}
		if c.Refresh(t.Context()) != nil {
			return
		}
		dest := filepath.Join(dir, "fw")
		if err := c.Download(t.Context(), "fw", dest, nil); err == nil && string(readFile(dest)) != "firmware" {
			t.Fatalf("downloaded %q", readFile(dest))
		}
	})
}
