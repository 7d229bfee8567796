package install_test

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"troth/internal/agent/install"
)

// swuBundle is a signed archive that writes the content to one of two files.
func swuBundle(t *testing.T, dir, content string) string {
	t.Helper()
	in := t.TempDir()
	if err := os.WriteFile(filepath.Join(in, "rootfs.img"), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	image := func(name string) string {
		return fmt.Sprintf(`{ images = ( { filename = "rootfs.img"; device = "%s/%s"; type = "raw"; sha256 = "%x"; } ); };`,
			dir, name, sha256.Sum256([]byte(content)))
	}
	description := "software = { version = \"2.0\"; hardware-compatibility = [\"1.0\"]; stable = { copy1 = " + image("a") + " copy2 = " + image("b") + " }; }\n"
	if err := os.WriteFile(filepath.Join(in, "sw-description"), []byte(description), 0o600); err != nil {
		t.Fatal(err)
	}
	must(t, in, "openssl", "cms", "-sign", "-in", "sw-description", "-out", "sw-description.sig",
		"-signer", dir+"/cert", "-inkey", dir+"/key", "-outform", "DER", "-nosmimecap", "-binary")
	must(t, in, "sh", "-c", `printf 'sw-description\nsw-description.sig\nrootfs.img\n' | cpio -o -H crc >bundle`)
	b, err := os.ReadFile(filepath.Join(in, "bundle"))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// The real SWUpdate, its daemon and client, and the real fw_setenv on a file that
// is U-Boot's environment. Which root device runs cannot change without a boot:
// the trial is that of the other tests.
func TestSWUpdate(t *testing.T) {
	need(t, "swupdate", "swupdate-client", "fw_setenv", "fw_printenv", "cpio", "openssl")
	dir, err := os.MkdirTemp("", "tr")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	d := device{dir: dir}
	root, err := install.SWUpdate{}.Booted(t.Context())
	if err != nil {
		t.Skipf("NOT TESTED: swupdate does not know the root device here: %v", err)
	}
	slots, err := install.ParseSWUSlots(root + ":stable,copy1:mmcpart=1 /dev/other:stable,copy2:mmcpart=2")
	if err != nil {
		t.Fatal(err)
	}
	d.write(t, "a", strings.Repeat("x", 2<<20))
	d.write(t, "b", strings.Repeat("x", 2<<20))
	env := append(make([]byte, 4), "mmcpart=1"...)
	env = append(env, make([]byte, 0x4000-len(env))...)
	binary.LittleEndian.PutUint32(env, crc32.ChecksumIEEE(env[4:]))
	d.write(t, "env", string(env))
	d.write(t, "fw_env.config", dir+"/env 0x0 0x4000\n")
	must(t, dir, "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key", "-out", "cert", "-subj", "/CN=maker", "-days", "90")
	sockets := filepath.Join(dir, "s")
	if err := os.Mkdir(sockets, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", sockets)
	start(t, dir, nil, "swupdate", "-H", "edge:1.0", "-v", "-k", dir+"/cert", "-q", "stable,copy1", "-q", "stable,copy2")
	waitFor(t, "swupdate's socket", func() bool { _, err := os.Stat(sockets + "/sockinstctrl"); return err == nil })

	u := install.SWUpdate{Slots: slots, EnvConfig: dir + "/fw_env.config"}
	d.use = install.Track(u, filepath.Join(dir, "installed.json"))
	two := swuBundle(t, dir, strings.Repeat("two!", 1<<18))
	if err := put(t, d.use, two, of(two, "1.1.0", 2)); err != nil {
		t.Fatal(err)
	}
	if b := d.read(t, "b"); !strings.HasPrefix(b, "two!two!") {
		t.Fatalf("slot b holds %.10q", b)
	}
	d.wantEnv(t, "mmcpart=2", "upgrade_available=1", "bootcount=0")
	runs(t, d.use, "", root, false)
	if err := u.Confirm(t.Context()); err != nil {
		t.Fatal(err)
	}
	d.wantEnv(t, "mmcpart=2", "upgrade_available=0")
	if err := u.Revert(t.Context()); err != nil { // as from the slot that runs
		t.Fatal(err)
	}
	d.wantEnv(t, "mmcpart=2", "upgrade_available=0", "ustate=3")

	damaged := []byte(two)
	damaged[len(damaged)/2] ^= 1
	if err := put(t, d.use, string(damaged), of(string(damaged), "1.2.0", 3)); err == nil {
		t.Fatal("swupdate installed what does not have its signed digest")
	}
}

func (d device) wantEnv(t *testing.T, lines ...string) {
	t.Helper()
	out, err := exec.CommandContext(context.Background(), "fw_printenv", "-c", d.dir+"/fw_env.config").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range lines {
		if !strings.Contains("\n"+string(out), "\n"+line+"\n") {
			t.Errorf("U-Boot's environment is %s, want %s", out, line)
		}
	}
}

func TestSWUpdateSlots(t *testing.T) {
	for _, bad := range []string{"", "/dev/a:s,c1:p=1", "/dev/a:s,c1:p=1 /dev/a:s,c2:p=2", "/dev/a:s,c1:p=1 /dev/b:s,c1:p=2", "/dev/a:s:p=1 /dev/b:s,c2:p=2", "/dev/a:s,c1:=1 /dev/b:s,c2:p=2", "a b c"} {
		if _, err := install.ParseSWUSlots(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}
