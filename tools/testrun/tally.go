package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"
)

// outputLimit bounds the output kept of one test, in bytes. The end is kept:
// that is where a panic's trace stands.
const outputLimit = 1 << 20

// event is one line of go test -json (go doc cmd/test2json).
type event struct {
	Time        time.Time
	Action      string // start run pause cont pass bench fail output skip attr build-output build-fail
	Package     string
	ImportPath  string // of build events
	Test        string // empty for the package itself
	Elapsed     float64
	Output      string
	FailedBuild string // in a package's fail: the import path that did not build
}

// test is one test, subtest, example or fuzz target, or with an empty name the
// package around them.
type test struct {
	pkg, name string
	result    string // pass, fail, skip; empty while it runs
	seconds   float64
	output    strings.Builder
	parent    bool // has subtests
}

// tally collects events and prints progress. Its methods may be called at once
// from several goroutines.
type tally struct {
	mu       sync.Mutex
	out      io.Writer
	tests    []*test // of all packages, in the order in which they began
	index    map[[2]string]*test
	running  map[string]time.Time // packages begun and not finished
	builds   map[string]*strings.Builder
	extra    []string // failures that no test stands for, by what failed
	lastLine time.Time
}

func newTally(out io.Writer) *tally {
	return &tally{
		out:      out,
		index:    map[[2]string]*test{},
		running:  map[string]time.Time{},
		builds:   map[string]*strings.Builder{},
		lastLine: time.Now(),
	}
}

// add takes one event.
func (t *tally) add(e event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch e.Action {
	case "build-output":
		t.build(e.ImportPath).WriteString(e.Output)
	case "start":
		t.running[e.Package] = e.Time
		t.get(e)
	case "run":
		t.get(e)
	case "output":
		t.get(e).write(e.Output)
	case "pass", "fail", "skip":
		tt := t.get(e)
		tt.result, tt.seconds = e.Action, e.Elapsed
		if e.Test == "" {
			t.endPackage(tt, e.FailedBuild)
		}
	}
}

func (t *tally) get(e event) *test {
	key := [2]string{e.Package, e.Test}
	if tt := t.index[key]; tt != nil {
		return tt
	}
	tt := &test{pkg: e.Package, name: e.Test}
	t.index[key] = tt
	t.tests = append(t.tests, tt)
	if i := strings.LastIndexByte(e.Test, '/'); i >= 0 {
		if p := t.index[[2]string{e.Package, e.Test[:i]}]; p != nil {
			p.parent = true
		}
	}
	return tt
}

func (t *tally) build(importPath string) *strings.Builder {
	if t.builds[importPath] == nil {
		t.builds[importPath] = &strings.Builder{}
	}
	return t.builds[importPath]
}

func (tt *test) write(s string) {
	tt.output.WriteString(s)
	if tt.output.Len() > 2*outputLimit {
		kept := tt.output.String()[tt.output.Len()-outputLimit:]
		tt.output.Reset()
		tt.output.WriteString("… (cut)\n" + kept)
	}
}

// endPackage prints a package's line, and what failed in it.
func (t *tally) endPackage(pkg *test, failedBuild string) {
	delete(t.running, pkg.pkg)
	t.lastLine = time.Now()
	var count struct{ pass, fail, skip int }
	var failed []*test
	for _, tt := range t.tests {
		if tt.pkg != pkg.pkg || tt.name == "" {
			continue
		}
		if tt.result == "" {
			// Begun and never ended: it panicked, exited, or ran into the timeout.
			tt.result = "fail"
		}
		switch tt.result {
		case "pass":
			count.pass++
			tt.output.Reset()
		case "fail":
			count.fail++
			failed = append(failed, tt)
		case "skip":
			count.skip++
		}
	}
	switch {
	case pkg.result == "fail":
		fmt.Fprintf(t.out, "FAIL  %-40s %6.1fs  %s\n", pkg.pkg, pkg.seconds, counts(count.pass, count.fail, count.skip))
		if count.fail == 0 {
			t.extra = append(t.extra, pkg.pkg)
		}
		t.showFailure(pkg, failed, failedBuild)
	case count.pass+count.fail+count.skip > 0:
		note := ""
		if strings.Contains(pkg.output.String(), "(cached)") {
			note = " (cached)"
		}
		fmt.Fprintf(t.out, "ok    %-40s %6.1fs  %s%s\n", pkg.pkg, pkg.seconds, counts(count.pass, count.fail, count.skip), note)
	}
}

func (t *tally) showFailure(pkg *test, failed []*test, failedBuild string) {
	if failedBuild != "" {
		t.indent(t.build(failedBuild).String())
	}
	for _, tt := range failed {
		t.indent(tt.output.String())
	}
	var rest []string
	for line := range strings.Lines(pkg.output.String()) {
		if line != "FAIL\n" && line != "PASS\n" && !strings.HasPrefix(line, "FAIL\t") {
			rest = append(rest, line)
		}
	}
	t.indent(strings.Join(rest, ""))
}

func (t *tally) indent(s string) {
	for line := range strings.Lines(s) {
		fmt.Fprintf(t.out, "      %s\n", strings.TrimRight(line, "\n"))
	}
}

// broken records a failure that belongs to no package.
func (t *tally) broken(what, why string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.extra = append(t.extra, what)
	fmt.Fprintf(t.out, "FAIL  %s\n", what)
	t.indent(why)
}

func (t *tally) stray(line string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	fmt.Fprint(t.out, line)
}

// finish fails every package that began and did not end, as when go test is
// killed.
func (t *tally) finish() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, tt := range slices.Clone(t.tests) {
		if tt.name == "" && tt.result == "" {
			tt.result = "fail"
			t.endPackage(tt, "")
		}
	}
}

func (t *tally) stillRunning(now time.Time, quiet time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now.Sub(t.lastLine) < quiet || len(t.running) == 0 {
		return
	}
	var names []string
	for p, since := range t.running {
		names = append(names, fmt.Sprintf("%s (%.0fs)", p, now.Sub(since).Seconds()))
	}
	slices.Sort(names)
	fmt.Fprintf(t.out, "…     still running: %s\n", strings.Join(names, ", "))
}
