package docs_test

import (
	"fmt"
	"os"
	"testing"
)

// TestFirmwareLife runs the commands of docs/firmware-life.md, in order and in an
// empty directory.
func TestFirmwareLife(t *testing.T) {
	bin := build(t)
	dir := t.TempDir()
	found := blocks(t, "../../docs/firmware-life.md")
	if len(found) < 11 {
		t.Fatalf("%d blocks of commands", len(found))
	}
	for i, b := range found {
		if b.kind != "" {
			t.Fatalf("block %d is of the unknown kind %q", i+1, b.kind)
		}
		run := &runner{t: t, dir: dir, env: append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH")), name: fmt.Sprintf("block %d", i+1), script: b.script}
		run.once()
	}
}
