package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"troth/tuf"
)

// export writes the repository as one file.
func (c *chaos) export(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "firmware.troth")
	out, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if err := c.repo.Export(out, chaosModel); err != nil {
		t.Fatal(err)
	}
	return file
}

func (b *box) updateFrom(flags ...string) []string {
	return append([]string{"update", "--slots", b.slots(), "--state-dir", filepath.Join(b.dir, "state"), "--tuf-root", b.root, "--model", chaosModel}, flags...)
}

// A device without a network is updated from a stick, whether it holds the exported
// file or a directory, and what it learned there holds on the network too.
func TestUpdateFromAStick(t *testing.T) {
	c := newChaos(t)
	file := c.export(t)
	directory := filepath.Join(t.TempDir(), "unpacked")
	in, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if err := tuf.Unpack(in, directory); err != nil {
		t.Fatal(err)
	}
	for _, stick := range []string{file, directory} {
		b := c.newBox(t, t.TempDir())
		b.must(t, b.updateFrom("--bundle", stick)...)
		if got := b.boots(t); got != newVersion {
			t.Fatalf("%s boots", got)
		}
		b.must(t, "slots", "confirm", "--slots", b.slots())
		if out := b.must(t, b.updateFrom("--bundle", stick)...); !strings.Contains(out, "nothing to do") {
			t.Errorf("the same stick again: %s", out)
		}
		if left, _ := filepath.Glob(filepath.Join(b.dir, "state", "download", "*")); len(left) > 0 {
			t.Errorf("left %v", left)
		}
	}
	// The network is asked where the stick is of no use.
	b := c.newBox(t, t.TempDir())
	broken := filepath.Join(t.TempDir(), "broken.troth")
	if err := os.WriteFile(broken, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	b.must(t, b.updateFrom("--bundle", broken, "--from", c.from)...)
	if got := b.boots(t); got != newVersion {
		t.Fatalf("%s boots", got)
	}
	if out, err := b.agent(t, nil, b.updateFrom("--bundle", broken+".none")); err == nil || !strings.Contains(out, "no such file") {
		t.Errorf("a stick that is not there: %v: %s", err, out)
	}
}

// A stick that somebody else wrote, kept for too long, or meddled with installs
// nothing.
func TestAttack_T4_StickOfAnAttacker(t *testing.T) {
	c, stranger := newChaos(t), newChaos(t)
	stranger.publish(t, "9.0.0", 9, randomImage(9))
	old := c.export(t)
	swapped := filepath.Join(t.TempDir(), "swapped.troth")
	whole, err := os.ReadFile(old)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(whole, c.new) {
		t.Fatal("the image is not in the bundle")
	}
	if err := os.WriteFile(swapped, bytes.Replace(whole, c.new, randomImage(3), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	cut := filepath.Join(t.TempDir(), "cut.troth")
	if err := os.WriteFile(cut, whole[:len(whole)-len(c.new)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	b := c.newBox(t, t.TempDir())
	for stick, code := range map[string]string{stranger.export(t): "tuf_signature", swapped: "tuf_content", cut: "tuf_truncated"} {
		out, err := b.agent(t, nil, b.updateFrom("--bundle", stick))
		if err == nil || !strings.Contains(out, code) {
			t.Errorf("%s: %v: %s", filepath.Base(stick), err, out)
		}
		if got := b.boots(t); got != oldVersion {
			t.Fatalf("%s boots", got)
		}
	}
	// A newer one was seen on the network: the old one is a step back.
	c.publish(t, "1.2.0", 3, randomImage(4))
	b.must(t, b.update()...)
	if out, err := b.agent(t, nil, b.updateFrom("--bundle", old)); err == nil || !strings.Contains(out, "tuf_rollback") {
		t.Errorf("an old stick: %v: %s", err, out)
	}
}
