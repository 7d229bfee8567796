package slot_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"troth/internal/agent/slot"
)

func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

func format(t *testing.T) (slot.Pair, string) {
	t.Helper()
	dir := t.TempDir()
	if err := slot.Format(dir, strings.NewReader("one"), "1.0.0", 1); err != nil {
		t.Fatal(err)
	}
	return slot.Open(dir), dir
}

func boots(t *testing.T, p slot.Pair, want string) {
	t.Helper()
	path, err := p.Boot()
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Fatalf("booted %q, want %q", got, want)
	}
}

func install(t *testing.T, p slot.Pair) {
	t.Helper()
	if err := p.Install(strings.NewReader("two"), slot.Slot{Version: "1.1.0", Counter: 2, SHA256: digest("two")}, 0); err != nil {
		t.Fatal(err)
	}
}

func TestConfirmedTrialBecomesGood(t *testing.T) {
	p, _ := format(t)
	boots(t, p, "one")
	install(t, p)
	boots(t, p, "two")
	if s, _, trial, err := p.Running(); err != nil || !trial || s.Version != "1.1.0" {
		t.Fatalf("running %+v, trial %v, %v", s, trial, err)
	}
	if err := p.Confirm(); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		boots(t, p, "two")
	}
}

func TestAttack_T8_UnconfirmedTrialFallsBack(t *testing.T) {
	p, _ := format(t)
	install(t, p)
	for range 3 {
		boots(t, p, "two")
	}
	boots(t, p, "one")
	boots(t, p, "one")
}

func TestRevert(t *testing.T) {
	p, _ := format(t)
	install(t, p)
	boots(t, p, "two")
	if err := p.Revert(); err != nil {
		t.Fatal(err)
	}
	boots(t, p, "one")
	if err := p.Revert(); !errors.Is(err, slot.ErrNoTrial) {
		t.Fatalf("second revert: %v", err)
	}
}

func TestRefusals(t *testing.T) {
	p, _ := format(t)
	if err := p.Install(strings.NewReader("old"), slot.Slot{Version: "1.0.0", Counter: 1, SHA256: digest("old")}, 0); err == nil {
		t.Error("a downgrade was installed")
	}
	if err := p.Install(strings.NewReader("evil"), slot.Slot{Version: "1.1.0", Counter: 2, SHA256: digest("two")}, 0); err == nil {
		t.Error("an image with another digest was put on trial")
	}
	if err := p.Confirm(); !errors.Is(err, slot.ErrNoTrial) {
		t.Errorf("confirm without trial: %v", err)
	}
	boots(t, p, "one")
}

// TestAttack_T6_ChangedSlotDoesNotBoot changes an installed image behind the
// boot loader's back.
func TestAttack_T6_ChangedSlotDoesNotBoot(t *testing.T) {
	p, dir := format(t)
	install(t, p)
	if err := os.WriteFile(filepath.Join(dir, "b", "image"), []byte("evil"), 0o600); err != nil {
		t.Fatal(err)
	}
	boots(t, p, "one")
}

// TestAttack_T8_PowerCutAtAnyWrite cuts an installation short at every byte of
// the image: the good slot must boot.
func TestAttack_T8_PowerCutAtAnyWrite(t *testing.T) {
	for n := range len("two") {
		p, _ := format(t)
		err := p.Install(cut{strings.NewReader("two"[:n])}, slot.Slot{Version: "1.1.0", Counter: 2, SHA256: digest("two")}, 0)
		if err == nil {
			t.Fatalf("cut after %d bytes: no error", n)
		}
		boots(t, p, "one")
		install(t, p) // and the next attempt works
		boots(t, p, "two")
	}
}

type cut struct{ r *strings.Reader }

func (c cut) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	if err != nil {
		return n, errors.New("power cut")
	}
	return n, nil
}

func TestDamagedState(t *testing.T) {
	for _, content := range []string{"", "{}", "null", `{"good":"c","slots":{}}`} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "state.json"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := slot.Open(dir).Boot(); err == nil {
			t.Errorf("state %q booted", content)
		}
	}
}

// Whether a boot has tried a new slot decides what its failure to run means.
func TestUntried(t *testing.T) {
	p := slot.Open(filepath.Join(t.TempDir(), "slots"))
	if err := p.Format(strings.NewReader("one"), "1", 1); err != nil {
		t.Fatal(err)
	}
	install := func() error {
		return p.Install(strings.NewReader("two"), slot.Slot{Version: "2", Counter: 2, SHA256: digest("two")}, 0)
	}
	boot := func() error { _, err := p.Boot(); return err }
	for i, step := range []struct {
		do   func() error
		want bool
	}{{func() error { return nil }, false}, {install, true}, {boot, false}, {boot, false}, {boot, false}, {boot, false}, {install, true}, {p.Revert, false}} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		if got := p.Untried(); got != step.want {
			t.Errorf("after step %d: untried is %t", i, got)
		}
	}
}
