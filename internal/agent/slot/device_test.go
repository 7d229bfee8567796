package slot_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"troth/internal/agent/slot"
)

// newDevices makes two block devices of 64 KiB, full of what was there before:
// loop devices where they can be had, otherwise the files behind them.
func newDevices(t *testing.T) (a, b string) {
	t.Helper()
	attach := func(name string) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(strings.Repeat("x", 64<<10)), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.CommandContext(t.Context(), "losetup", "-f", "--show", path).Output()
		if err != nil {
			t.Logf("NOT TESTED: loop devices, losetup says %v; plain files stand in for them", err)
			return path
		}
		device := strings.TrimSpace(string(out))
		t.Cleanup(func() { _ = exec.Command("losetup", "-d", device).Run() })
		return device
	}
	return attach("a"), attach("b")
}

func TestBlockDevices(t *testing.T) {
	a, b := newDevices(t)
	p := slot.OpenDevices(filepath.Join(t.TempDir(), "state"), a, b)
	if err := p.Format(strings.NewReader("one"), "1.0.0", 1); err != nil {
		t.Fatal(err)
	}
	boots := func(want, content string) {
		t.Helper()
		path, err := p.Boot()
		if err != nil || path != want {
			t.Fatalf("boots %s, %v; want %s", path, err, want)
		}
		if got, err := os.ReadFile(path); err != nil || !strings.HasPrefix(string(got), content+"xxx") || len(got) != 64<<10 {
			t.Fatalf("it holds %.10q, %d bytes, %v", got, len(got), err)
		}
	}
	boots(a, "one")
	install(t, p)
	boots(b, "two")
	if err := p.Confirm(); err != nil {
		t.Fatal(err)
	}
	big := strings.Repeat("b", 64<<10+1)
	if err := p.Install(strings.NewReader(big), slot.Slot{Version: "1.2.0", Counter: 3, SHA256: digest(big)}, 0); err == nil {
		// A plain file grows instead; the comparison is then of all of it.
		if info, err := os.Stat(a); err != nil || info.Mode().IsRegular() == false {
			t.Fatalf("an image larger than the device was installed (%v)", err)
		}
		if err := p.Revert(); err != nil {
			t.Fatal(err)
		}
	}
	boots(b, "two")
}

func TestAdoptWhatRuns(t *testing.T) {
	a, b := newDevices(t)
	p := slot.OpenDevices(t.TempDir(), a, b)
	if err := p.Adopt("b", 100, "1.0.0", 1); err != nil {
		t.Fatal(err)
	}
	install(t, p)
	if path, err := p.Boot(); err != nil || path != a {
		t.Fatalf("boots %s, %v", path, err)
	}
	if err := p.Adopt("c", 0, "1.0.0", 1); err == nil {
		t.Error("adopted slot c")
	}
	if err := p.Adopt("a", 1<<20, "1.0.0", 1); err == nil {
		t.Error("adopted more than there is")
	}
}

func TestAttack_T4_DowngradeNeedsASignature(t *testing.T) {
	p, _ := format(t)
	boots(t, p, "one")
	install(t, p)
	boots(t, p, "two")
	if err := p.Confirm(); err != nil {
		t.Fatal(err)
	}
	one := slot.Slot{Version: "1.0.0", Counter: 1, SHA256: digest("one")}
	for _, from := range []uint64{0, 1} {
		if err := p.Install(strings.NewReader("one"), one, from); !errors.Is(err, slot.ErrDowngrade) {
			t.Fatalf("downgrade allowed from %d: %v", from, err)
		}
	}
	if err := p.Install(strings.NewReader("one"), one, 2); err != nil {
		t.Fatal(err)
	}
	boots(t, p, "one")
	if err := p.Confirm(); err != nil {
		t.Fatal(err)
	}
	two := slot.Slot{Version: "1.1.0", Counter: 2, SHA256: digest("two")}
	if err := p.Install(strings.NewReader("two"), two, 0); !errors.Is(err, slot.ErrDowngrade) {
		t.Fatalf("the counter went back with the release: %v", err)
	}
}

func TestGivenUpSlotIsLeft(t *testing.T) {
	p, _ := format(t)
	install(t, p)
	boots(t, p, "two")
	if err := p.Revert(); err != nil {
		t.Fatal(err)
	}
	if _, _, trial, err := p.Running(); !errors.Is(err, slot.ErrGivenUp) || trial {
		t.Fatalf("trial %v, %v", trial, err)
	}
	boots(t, p, "one")
	if _, _, _, err := p.Running(); err != nil {
		t.Fatal(err)
	}
}
