package install_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"troth/internal/agent/install"
)

const busConfig = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>custom</type><listen>unix:path=%s/bus</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy></busconfig>
`

const raucConfig = `[system]
compatible=edge
bootloader=custom
mountprefix=%[1]s/mnt
statusfile=%[1]s/status
[handlers]
bootloader-custom-backend=%[1]s/boot
[keyring]
path=%[1]s/cert
[slot.rootfs.0]
device=%[1]s/a
type=raw
bootname=A
[slot.rootfs.1]
device=%[1]s/b
type=raw
bootname=B
`

const bootBackend = `#!/bin/sh
d=$(dirname "$0")
case $1 in
get-primary) cat $d/primary ;;
set-primary) echo $2 >$d/primary ;;
get-state) cat $d/state.$2 2>/dev/null || echo good ;;
set-state) echo $3 >$d/state.$2 ;;
esac
`

// need skips, loudly, where a program is not there.
func need(t *testing.T, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("NOT TESTED: %s is not installed", p)
		}
	}
}

func must(t *testing.T, dir string, argv ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v: %s", argv, err, out)
	}
}

// start runs a program until the test ends, or stop is called.
func start(t *testing.T, dir string, env []string, argv ...string) (stop func()) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := false
	stop = func() {
		if !ended {
			ended = true
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			if t.Failed() {
				t.Logf("%s said:\n%s", argv[0], said.Bytes()[max(0, said.Len()-4000):])
			}
		}
	}
	t.Cleanup(stop)
	return stop
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// raucDevice is a device with RAUC's own service on a bus of its own; only the
// boot loader is a script.
type raucDevice struct {
	device
	stop func()
}

func newRAUC(t *testing.T) *raucDevice {
	t.Helper()
	need(t, "rauc", "dbus-daemon", "mksquashfs", "openssl", "losetup")
	if os.Geteuid() != 0 {
		t.Skip("NOT TESTED: rauc mounts bundles, which needs root")
	}
	dir, err := os.MkdirTemp("", "tr")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	d := &raucDevice{device: device{dir: dir}}
	d.write(t, "bus.conf", fmt.Sprintf(busConfig, dir))
	d.write(t, "system.conf", fmt.Sprintf(raucConfig, dir))
	d.write(t, "boot", bootBackend)
	if err := os.Chmod(filepath.Join(dir, "boot"), 0o700); err != nil {
		t.Fatal(err)
	}
	d.write(t, "primary", "A\n")
	for _, name := range []string{"a", "b"} {
		d.write(t, name, strings.Repeat("x", 2<<20))
	}
	must(t, dir, "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key", "-out", "cert", "-subj", "/CN=maker", "-days", "90")
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path="+dir+"/bus")
	start(t, dir, nil, "dbus-daemon", "--config-file="+dir+"/bus.conf", "--nofork")
	waitFor(t, "the bus", func() bool { _, err := os.Stat(dir + "/bus"); return err == nil })
	d.use = install.Track(install.RAUC{}, filepath.Join(dir, "installed.json"))
	d.power(t)
	return d
}

// power boots what the boot loader has as its first.
func (d *raucDevice) power(t *testing.T) {
	t.Helper()
	if d.stop != nil {
		d.stop()
	}
	d.stop = start(t, d.dir, nil, "rauc", "--conf="+d.dir+"/system.conf", "service", "--override-boot-slot="+strings.TrimSpace(d.read(t, "primary")))
	waitFor(t, "rauc's service", func() bool { return exec.CommandContext(t.Context(), "rauc", "status").Run() == nil })
}

// bundle is a signed one whose only image is the content.
func (d *raucDevice) bundle(t *testing.T, content, key string) string {
	t.Helper()
	in := t.TempDir()
	for name, text := range map[string]string{
		"rootfs.img":     content,
		"manifest.raucm": "[update]\ncompatible=edge\nversion=2\n[bundle]\nformat=plain\n[image.rootfs]\nfilename=rootfs.img\n",
	} {
		if err := os.WriteFile(filepath.Join(in, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out := filepath.Join(t.TempDir(), "bundle")
	must(t, d.dir, "rauc", "--cert="+key+"cert", "--key="+key+"key", "bundle", in, out)
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// The real RAUC, its service and its bundles; a script is the boot loader.
func TestRAUC(t *testing.T) {
	d := newRAUC(t)
	runs(t, d.use, "", "rootfs.0", false)
	two := d.bundle(t, strings.Repeat("two!", 1<<18), "")
	if err := put(t, d.use, two, of(two, "1.1.0", 2)); err != nil {
		t.Fatal(err)
	}
	if b := d.read(t, "b"); !strings.HasPrefix(b, "two!two!") {
		t.Fatalf("slot b holds %.10q", b)
	}
	d.power(t)
	runs(t, d.use, "1.1.0", "rootfs.1", true)
	if err := d.use.Confirm(); err != nil {
		t.Fatal(err)
	}
	runs(t, d.use, "1.1.0", "rootfs.1", false)

	three := d.bundle(t, strings.Repeat("thr!", 1<<18), "")
	if err := put(t, d.use, three, of(three, "1.2.0", 3)); err != nil {
		t.Fatal(err)
	}
	d.power(t)
	runs(t, d.use, "1.2.0", "rootfs.0", true)
	if err := d.use.Revert(); err != nil {
		t.Fatal(err)
	}
	if state := strings.TrimSpace(d.read(t, "state.A")); state != "bad" {
		t.Errorf("the boot loader has the slot that was given up as %s", state)
	}
	d.power(t)
	runs(t, d.use, "1.1.0", "rootfs.1", false)
}

// RAUC refuses what its own keyring does not vouch for, and that is told.
func TestAttack_T6_RAUCRefusesAForeignBundle(t *testing.T) {
	d := newRAUC(t)
	must(t, d.dir, "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "otherkey", "-out", "othercert", "-subj", "/CN=other", "-days", "90")
	evil := d.bundle(t, strings.Repeat("evil", 1<<18), "other")
	if err := put(t, d.use, evil, of(evil, "1.1.0", 2)); err == nil || !strings.Contains(err.Error(), "signature") {
		t.Fatalf("error %v", err)
	}
	if b := d.read(t, "b"); strings.Contains(b, "evil") {
		t.Error("it was written")
	}
	d.power(t)
	runs(t, d.use, "", "rootfs.0", false)
}
