package docs_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// TestOfflineVerification runs the commands of docs/offline-verification.md on the
// captured evidence.
func TestOfflineVerification(t *testing.T) {
	bin := build(t)
	captured, err := filepath.Abs("../../attest/testdata/captured")
	if err != nil {
		t.Fatal(err)
	}
	found := blocks(t, "../../docs/offline-verification.md")
	if len(found) < 6 {
		t.Fatalf("%d blocks of commands", len(found))
	}
	for i, b := range found {
		if b.kind != "" {
			t.Fatalf("block %d is of the unknown kind %q", i+1, b.kind)
		}
		run := &runner{t: t, dir: captured, env: append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH")), name: fmt.Sprintf("block %d", i+1), script: b.script}
		run.once()
	}
}
