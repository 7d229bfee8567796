package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// slowest is how many of the slowest tests are listed.
const slowest = 10

// failures counts tests that failed and failures that no test stands for.
func (t *tally) failures() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, fail, _ := t.count()
	return fail
}

// ok says whether nothing failed and at least one test passed.
func (t *tally) ok() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	pass, fail, _ := t.count()
	return fail == 0 && pass > 0
}

func (t *tally) count() (pass, fail, skip int) {
	fail = len(t.extra)
	for _, tt := range t.tests {
		if tt.name == "" {
			continue
		}
		switch tt.result {
		case "pass":
			pass++
		case "fail":
			fail++
		case "skip":
			skip++
		}
	}
	return pass, fail, skip
}

func counts(pass, fail, skip int) string {
	return fmt.Sprintf("%d passed, %d failed, %d skipped", pass, fail, skip)
}

// report prints the closing summary and returns its last line.
func (t *tally) report() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.reportSlowest()
	t.reportFailed()
	t.reportSkipped()
	pass, fail, skip := t.count()
	if pass+fail+skip == 0 {
		fmt.Fprintln(t.out, "\nNo test ran at all; that is a failure.")
	}
	last := counts(pass, fail, skip)
	fmt.Fprintf(t.out, "\n%s\n", last)
	return last
}

// reportSlowest lists leaf tests only: a parent's time is its children's.
func (t *tally) reportSlowest() {
	var leaves []*test
	for _, tt := range t.tests {
		if tt.name != "" && !tt.parent && tt.seconds >= 0.1 {
			leaves = append(leaves, tt)
		}
	}
	slices.SortStableFunc(leaves, func(a, b *test) int { return cmp.Compare(b.seconds, a.seconds) })
	if len(leaves) == 0 {
		return
	}
	fmt.Fprintln(t.out, "\nSlowest tests:")
	for _, tt := range leaves[:min(slowest, len(leaves))] {
		fmt.Fprintf(t.out, "  %7.2fs  %s %s\n", tt.seconds, tt.pkg, tt.name)
	}
}

func (t *tally) reportFailed() {
	failed := slices.Clone(t.extra)
	for _, tt := range t.tests {
		if tt.name != "" && tt.result == "fail" {
			failed = append(failed, tt.pkg+" "+tt.name)
		}
	}
	if len(failed) > 0 {
		fmt.Fprintf(t.out, "\nFAILED\n  %s\n", strings.Join(failed, "\n  "))
	}
}

// reportSkipped lists what was not tested and why, loudly: a skipped test that
// nobody reads about is a test that does not exist.
func (t *tally) reportSkipped() {
	heading := "\nNOT TESTED\n"
	for _, tt := range t.tests {
		if tt.name == "" || tt.result != "skip" {
			continue
		}
		fmt.Fprintf(t.out, "%s  %s %s\n", heading, tt.pkg, tt.name)
		heading = ""
		for line := range strings.Lines(tt.output.String()) {
			line = strings.TrimSpace(line)
			if line != "" && !strings.HasPrefix(line, "=== ") && !strings.HasPrefix(line, "--- ") {
				fmt.Fprintf(t.out, "      %s\n", line)
			}
		}
	}
}
