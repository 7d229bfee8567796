package attesttest_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"troth/attest/attesttest"
)

// A manufacture that is given up leaves no process behind, whatever it had
// started by then.
func TestCancelledManufactureLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	maker, err := attesttest.NewManufacturer(filepath.Join(dir, "maker"), "maker")
	if err != nil {
		t.Fatal(err)
	}
	for _, after := range []time.Duration{50, 150, 300} {
		ctx, cancel := context.WithTimeout(t.Context(), after*time.Millisecond)
		if s, err := maker.NewTPM(ctx, filepath.Join(dir, "tpm")); err == nil {
			_ = s.Close()
			_ = os.RemoveAll(filepath.Join(dir, "tpm"))
		}
		cancel()
	}
	time.Sleep(200 * time.Millisecond) // for the kernel to end what was killed
	if left := processesOf(t, dir); len(left) > 0 {
		t.Errorf("left running: %q", left)
	}
}

// processesOf are the command lines of processes that name the directory.
func processesOf(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, file := range files {
		line, err := os.ReadFile(file)
		if err == nil && strings.Contains(string(line), dir) && !strings.Contains(string(line), ".test") {
			found = append(found, strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return found
}
