package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// module writes a throw-away module of the given files.
func module(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	files["go.mod"] = "module m\n\ngo 1.26\n"
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// runIn runs the whole program in dir.
func runIn(t *testing.T, dir string, args ...string) (status int, out string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	status = run(t.Context(), append([]string{"-C", dir}, args...), &stdout, &stderr)
	return status, stdout.String() + stderr.String()
}

// TestRealGoTest runs the program on real packages that fail in each way a
// package can, against the real go command.
func TestRealGoTest(t *testing.T) {
	dir := module(t, map[string]string{
		"good/a_test.go": `package good
import "testing"
func TestGood(t *testing.T) { t.Run("sub", func(t *testing.T) {}) }
func TestSkipped(t *testing.T) { t.Skip("the reason") }`,
		"broken/a_test.go": `package broken
import "testing"
func TestBroken(t *testing.T) { undefinedName() }`,
		"panics/a_test.go": `package panics
import "testing"
func TestBefore(t *testing.T) {}
func TestPanics(t *testing.T) { panic("on purpose") }`,
		"exits/a_test.go": `package exits
import ("testing"; "os")
func TestMain(m *testing.M) { os.Exit(7) }
func TestNever(t *testing.T) {}`,
		"hangs/a_test.go": `package hangs
import "testing"
func TestHangs(t *testing.T) { select {} }`,
	})
	summary := filepath.Join(t.TempDir(), "summary")
	status, out := runIn(t, dir, "-summary", summary, "./good,./broken", "./...", "--", "-timeout=2s", "-vet=off")
	// good: 2 and 1 skipped; broken: 1; panics: 1 and 1; exits: 1; hangs: 1.
	want := "3 passed, 4 failed, 1 skipped"
	if status != 1 || !strings.HasSuffix(out, "\n"+want+"\n") {
		t.Errorf("status %d, want 1 and a last line %q:\n%s", status, want, out)
	}
	for _, s := range []string{"undefinedName", "panic: on purpose", "exit status 7", "test timed out", "the reason"} {
		if !strings.Contains(out, s) {
			t.Errorf("%q is not shown:\n%s", s, out)
		}
	}
	if n := strings.Count(out, "m/good "); n != 2 { // its line, and the skipped test
		t.Errorf("package good appears %d times; it should run once, in its first group:\n%s", n, out)
	}
	if got, err := os.ReadFile(summary); err != nil || string(got) != want+"\n" {
		t.Errorf("summary file: %q, %v", got, err)
	}
}

func TestSuccessExitsZero(t *testing.T) {
	dir := module(t, map[string]string{"a_test.go": "package m\nimport \"testing\"\nfunc TestA(t *testing.T) {}\n"})
	if status, out := runIn(t, dir, "./..."); status != 0 || !strings.HasSuffix(out, "\n1 passed, 0 failed, 0 skipped\n") {
		t.Errorf("status %d:\n%s", status, out)
	}
}

// TestOtherModule counts the tests of a module in a directory below, which no
// pattern of the main module reaches.
func TestOtherModule(t *testing.T) {
	const test = "import \"testing\"\nfunc TestA(t *testing.T) {}\n"
	dir := module(t, map[string]string{
		"a_test.go": "package m\n" + test, "nested/go.mod": "module n\n\ngo 1.26\n", "nested/b/b_test.go": "package b\n" + test,
	})
	status, out := runIn(t, dir, "nested:./...", "./...")
	if status != 0 || !strings.HasSuffix(out, "\n2 passed, 0 failed, 0 skipped\n") || !strings.Contains(out, "n/b") {
		t.Errorf("status %d:\n%s", status, out)
	}
	if status, out = runIn(t, dir, "nowhere:./...", "./..."); status != 1 || !strings.HasSuffix(out, "\n1 passed, 1 failed, 0 skipped\n") {
		t.Errorf("a directory that is not there: status %d:\n%s", status, out)
	}
}

func TestRefusals(t *testing.T) {
	dir := module(t, map[string]string{"a_test.go": "package m\nimport \"testing\"\nfunc TestA(t *testing.T) {}\n"})
	tests := []struct {
		name   string
		args   []string
		status int
		shown  string
	}{
		{"no group", nil, 2, "usage:"},
		{"unknown flag", []string{"-nope", "./..."}, 2, "usage:"},
		{"no such pattern", []string{"./nothere"}, 1, "0 passed, 1 failed, 0 skipped"},
		{"a bad go test flag", []string{"./...", "--", "-nope"}, 1, "0 passed, 1 failed, 0 skipped"},
		{"no test selected", []string{"./...", "--", "-run=NoSuch"}, 1, "0 passed, 0 failed, 0 skipped"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if status, out := runIn(t, dir, tt.args...); status != tt.status || !strings.Contains(out, tt.shown) {
				t.Errorf("status %d, want %d and %q:\n%s", status, tt.status, tt.shown, out)
			}
		})
	}
}

// TestInterruptIsAFailure stops a run half-way: it must end soon, end the test
// binary too, and not look like a success.
func TestInterruptIsAFailure(t *testing.T) {
	started := filepath.Join(t.TempDir(), "started")
	dir := module(t, map[string]string{"a_test.go": `package m
import ("testing"; "os"; "time")
func TestQuick(t *testing.T) {}
func TestSlow(t *testing.T) { os.WriteFile(` + "`" + started + "`" + `, nil, 0o600); time.Sleep(time.Hour) }`})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	go func() {
		for ctx.Err() == nil {
			if _, err := os.Stat(started); err == nil {
				cancel()
			}
			time.Sleep(20 * time.Millisecond)
		}
	}()
	var out bytes.Buffer
	status := run(ctx, []string{"-C", dir, "./..."}, &out, &out)
	if status != 1 || !strings.Contains(out.String(), "1 failed") {
		t.Errorf("status %d:\n%s", status, out.String())
	}
}
