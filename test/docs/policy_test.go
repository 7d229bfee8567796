package docs_test

import (
	"fmt"
	"os"
	"testing"
)

// TestPolicyLesson runs the lesson of docs/policy-authors-guide.md, with nothing
// but the troth binary. A block of the kind "fails" has to.
func TestPolicyLesson(t *testing.T) {
	bin := build(t)
	dir := t.TempDir()
	found := blocks(t, "../../docs/policy-authors-guide.md")
	if len(found) < 15 {
		t.Fatalf("%d blocks of commands", len(found))
	}
	for i, b := range found {
		run := &runner{t: t, dir: dir, env: append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH")), name: fmt.Sprintf("block %d", i+1), script: b.script}
		switch b.kind {
		case "":
			run.once()
		case "fails":
			run.refused()
		default:
			t.Fatalf("block %d is of the unknown kind %q", i+1, b.kind)
		}
	}
}

// refused wants the answer no: exit status 1, and not that the command was wrong.
func (r *runner) refused() {
	r.t.Helper()
	cmd := r.command(r.script)
	out, err := cmd.CombinedOutput()
	if err == nil || cmd.ProcessState.ExitCode() != 1 {
		r.t.Fatalf("%s: exit status %d, want 1\n%s\n%s", r.name, cmd.ProcessState.ExitCode(), r.script, out)
	}
}
