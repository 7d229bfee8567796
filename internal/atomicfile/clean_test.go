package atomicfile_test

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"troth/internal/atomicfile"
)

// asWriter makes this program a writer that is killed in the middle.
const asWriter = "TROTH_TEST_DIE_WRITING"

func TestMain(m *testing.M) {
	if path := os.Getenv(asWriter); path != "" {
		err := atomicfile.WriteFrom(path, 0o600, func(w io.Writer) error {
			if _, err := io.WriteString(w, "half of it"); err != nil {
				return err
			}
			return syscall.Kill(os.Getpid(), syscall.SIGKILL)
		})
		fmt.Fprintln(os.Stderr, "still alive:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func die(t *testing.T, path string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), asWriter+"="+path)
	if out, err := cmd.CombinedOutput(); len(out) > 0 || err == nil {
		t.Fatalf("the writer was not killed: %v: %s", err, out)
	}
}

func names(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return strings.Join(list, " ")
}

func TestKilledWriterLeavesNothingForLong(t *testing.T) {
	dir := t.TempDir()
	state, other := filepath.Join(dir, "state"), filepath.Join(dir, "other")
	for range 3 {
		die(t, state)
	}
	if got := strings.Count(names(t, dir), ".state.troth-"); got != 1 {
		t.Errorf("%d leftovers of three kills, want the last: %s", got, names(t, dir))
	}
	// The next writer of the same file removes it; one of another file does not.
	if err := atomicfile.Write(other, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(names(t, dir), ".troth-"); got != 1 {
		t.Errorf("another file's writer left %s", names(t, dir))
	}
	if err := atomicfile.Write(state, []byte("whole"), 0o600); err != nil {
		t.Fatal(err)
	}
	holds(t, state, "whole")
	if got := names(t, dir); got != "other state" {
		t.Errorf("left %s", got)
	}
	// So does whoever starts.
	die(t, state)
	die(t, other)
	atomicfile.Clean(dir)
	if got := names(t, dir); got != "other state" {
		t.Errorf("left %s", got)
	}
	holds(t, state, "whole")
}

func TestCleanTakesNothingOfOthers(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{".state-123", "state.troth-123", ".state.troth-12x", ".state.troth-", ".troth-1", ".git", ".state.troth-123.txt"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, ".state.troth-1"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(dir, ".state.troth-2"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(".git", filepath.Join(dir, ".state.troth-3")); err != nil {
		t.Fatal(err)
	}
	before := names(t, dir)
	atomicfile.Clean(dir)
	if got := names(t, dir); got != before {
		t.Errorf("of %s it left %s", before, got)
	}
	atomicfile.Clean(filepath.Join(dir, "none"))
}

func TestCleanIsBounded(t *testing.T) {
	dir := t.TempDir()
	for i := range 300 {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf(".x.troth-%d", i)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	atomicfile.Clean(dir)
	if got := len(strings.Fields(names(t, dir))); got != 44 {
		t.Errorf("%d are left after one call", got)
	}
	atomicfile.Clean(dir)
	if got := names(t, dir); got != "" {
		t.Errorf("left %s", got)
	}
}

// Writers of one file, and somebody who cleans all the while, do not disturb each
// other.
func TestCleanSparesLiveWriters(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "state")
	stop := make(chan struct{})
	var cleaning, writing sync.WaitGroup
	cleaning.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				atomicfile.Clean(dir)
			}
		}
	})
	for w := range 4 {
		writing.Go(func() {
			for range 25 {
				if err := atomicfile.Write(path, []byte(strings.Repeat(fmt.Sprint(w), 1000)), 0o600); err != nil {
					t.Error(err)
				}
			}
		})
	}
	writing.Wait()
	close(stop)
	cleaning.Wait()
	content, err := os.ReadFile(path)
	if err != nil || len(content) != 1000 || strings.Trim(string(content), string(content[:1])) != "" {
		t.Errorf("the file holds %d bytes, %v", len(content), err)
	}
	if got := names(t, dir); got != "state" {
		t.Errorf("left %s", got)
	}
}
