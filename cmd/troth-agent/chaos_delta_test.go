package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"strings"
	"testing"
)

// newDeltaChaos is chaos whose factory image is nearly the new release.
func newDeltaChaos(t *testing.T) *chaos {
	t.Helper()
	c := newChaos(t)
	c.old = bytes.Clone(c.new)
	copy(c.old[300_000:], "what was before")
	copy(c.old[800_000:], "and before that")
	return c
}

// fetched reads from the agent's words how much a download took.
func fetched(t *testing.T, said string) (got, size int) {
	t.Helper()
	_, line, ok := strings.Cut(said, "fetched ")
	if _, err := fmt.Sscanf(line, "%d bytes for a release of %d;", &got, &size); !ok || err != nil {
		t.Fatalf("the agent does not say what it fetched: %s", said)
	}
	return got, size
}

func TestUpdateSaysWhatItSaved(t *testing.T) {
	c := newDeltaChaos(t)
	b := c.newBox(t, t.TempDir())
	if got, size := fetched(t, b.must(t, b.update()...)); size != len(c.new) || got > size/5 {
		t.Errorf("fetched %d of %d bytes", got, size)
	}
	b.finish(t)
}

// TestAttack_T8_KilledInADelta kills the agent while it makes the new release from
// the old one: when it reads the old slot, writes a chunk, or cuts the file back.
func TestAttack_T8_KilledInADelta(t *testing.T) {
	if _, err := exec.LookPath("strace"); err != nil {
		t.Skip("NOT TESTED: kill -9 at points of a delta: strace is not installed")
	}
	points, seed := max(number("TROTH_CHAOS_POINTS", 12)/3, 1), number("TROTH_CHAOS_SEED", 1)
	source := rand.New(rand.NewPCG(uint64(seed), 9))
	c := newDeltaChaos(t)
	calls := []struct {
		name string
		most int
	}{{"pread64", 40}, {"pwrite64", 30}, {"pwrite64", 30}, {"ftruncate", 2}, {"renameat", 6}}
	for done, attempt := 0, 0; done < points; attempt++ {
		if attempt > 5*points {
			t.Fatalf("only %d of %d attempts met the agent alive", done, attempt)
		}
		call, where := calls[attempt%len(calls)], ""
		var b *box
		for n := 1 + source.IntN(call.most); where == "" && n > 0; n /= 2 {
			b = c.newBox(t, t.TempDir())
			where = b.killed(t, call.name, n, b.update())
		}
		if !strings.Contains(where, "TestAttack") {
			continue
		}
		done++
		t.Logf("killed before %s: boots %s", where, b.boots(t))
		b.finish(t)
		if t.Failed() {
			return
		}
	}
}
