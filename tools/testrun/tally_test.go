package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

// feed runs events through a tally and returns everything printed, the last
// line, and whether it was a success.
func feed(t *testing.T, events []event) (printed, last string, ok bool) {
	t.Helper()
	var stream, out bytes.Buffer
	enc := json.NewEncoder(&stream)
	for _, e := range events {
		if err := enc.Encode(e); err != nil {
			t.Fatal(err)
		}
	}
	tl := newTally(&out)
	goTest{tally: tl}.consume(&stream)
	tl.finish()
	last = tl.report()
	return out.String(), last, tl.ok()
}

func ev(action, test, output string) event {
	return event{Action: action, Package: "p", Test: test, Output: output, Elapsed: 0.5}
}

func TestTally(t *testing.T) {
	tests := []struct {
		name   string
		events []event
		last   string
		ok     bool
		shown  []string
		hidden []string
	}{
		{
			name:   "nothing ran",
			events: []event{ev("start", "", ""), ev("skip", "", "")},
			last:   "0 passed, 0 failed, 0 skipped",
			shown:  []string{"No test ran"},
		},
		{
			name: "passes are quiet",
			events: []event{
				ev("start", "", ""), ev("run", "TestA", ""), ev("output", "TestA", "chatter\n"), ev("pass", "TestA", ""), ev("pass", "", ""),
			},
			last: "1 passed, 0 failed, 0 skipped", ok: true,
			shown: []string{"ok    p "}, hidden: []string{"chatter", "NOT TESTED", "FAILED"},
		},
		{
			name: "a failing subtest is shown, its passing sibling is not",
			events: []event{
				ev("start", "", ""), ev("run", "TestA", ""),
				ev("run", "TestA/good", ""), ev("output", "TestA/good", "fine\n"), ev("pass", "TestA/good", ""),
				ev("run", "TestA/bad", ""), ev("output", "TestA/bad", "boom\n"), ev("fail", "TestA/bad", ""),
				ev("fail", "TestA", ""), ev("output", "", "FAIL\n"), ev("fail", "", ""),
			},
			last:  "1 passed, 2 failed, 0 skipped",
			shown: []string{"FAIL  p ", "      boom", "p TestA/bad"}, hidden: []string{"fine", "      FAIL"},
		},
		{
			name: "skips are loud",
			events: []event{
				ev("start", "", ""), ev("run", "TestA", ""), ev("pass", "TestA", ""),
				ev("run", "TestB", ""), ev("output", "TestB", "=== RUN   TestB\n"), ev("output", "TestB", "    b_test.go:3: no TPM here\n"), ev("skip", "TestB", ""), ev("pass", "", ""),
			},
			last: "1 passed, 0 failed, 1 skipped", ok: true,
			shown: []string{"\nNOT TESTED\n", "p TestB", "no TPM here"}, hidden: []string{"=== RUN"},
		},
		{
			name: "only skips is no success",
			events: []event{
				ev("start", "", ""), ev("run", "TestB", ""), ev("skip", "TestB", ""), ev("pass", "", ""),
			},
			last: "0 passed, 0 failed, 1 skipped",
		},
		{
			name: "a test that never ended failed",
			events: []event{
				ev("start", "", ""), ev("run", "TestA", ""), ev("pass", "TestA", ""),
				ev("run", "TestB", ""), ev("output", "TestB", "panic: test timed out\n"), ev("fail", "", ""),
			},
			last:  "1 passed, 1 failed, 0 skipped",
			shown: []string{"panic: test timed out"},
		},
		{
			name: "a package that did not build is one failure",
			events: []event{
				{Action: "build-output", ImportPath: "p [p.test]", Output: "p.go:1: undefined: x\n"},
				{Action: "build-fail", ImportPath: "p [p.test]"},
				ev("start", "", ""), ev("output", "", "FAIL\tp [build failed]\n"),
				{Action: "fail", Package: "p", FailedBuild: "p [p.test]"},
			},
			last:  "0 passed, 1 failed, 0 skipped",
			shown: []string{"undefined: x"},
		},
		{
			name: "a package that fails around its tests is one failure",
			events: []event{
				ev("start", "", ""), ev("run", "TestA", ""), ev("pass", "TestA", ""),
				ev("output", "", "exit status 3\n"), ev("fail", "", ""),
			},
			last:  "1 passed, 1 failed, 0 skipped",
			shown: []string{"exit status 3"},
		},
		{
			name:   "a package whose end was never told failed",
			events: []event{ev("start", "", ""), ev("run", "TestA", ""), ev("pass", "TestA", "")},
			last:   "1 passed, 1 failed, 0 skipped",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			printed, last, ok := feed(t, tt.events)
			if last != tt.last || ok != tt.ok {
				t.Errorf("got %q, ok=%v; want %q, ok=%v\n%s", last, ok, tt.last, tt.ok, printed)
			}
			if !strings.HasSuffix(printed, "\n"+tt.last+"\n") {
				t.Errorf("the last line printed is not %q:\n%s", tt.last, printed)
			}
			for _, s := range tt.shown {
				if !strings.Contains(printed, s) {
					t.Errorf("%q is not shown:\n%s", s, printed)
				}
			}
			for _, s := range tt.hidden {
				if strings.Contains(printed, s) {
					t.Errorf("%q is shown:\n%s", s, printed)
				}
			}
		})
	}
}

func TestSlowestListsLeavesOnly(t *testing.T) {
	slow := ev("pass", "TestA/slow", "")
	slow.Elapsed = 7
	parent := ev("pass", "TestA", "")
	parent.Elapsed = 9
	printed, _, _ := feed(t, []event{
		ev("start", "", ""), ev("run", "TestA", ""), ev("run", "TestA/slow", ""), slow, parent, ev("pass", "", ""),
	})
	if !strings.Contains(printed, "7.00s  p TestA/slow") || strings.Contains(printed, "9.00s") {
		t.Errorf("the parent is listed, or its subtest is not:\n%s", printed)
	}
}

func TestEndlessOutputIsBounded(t *testing.T) {
	var tt test
	for range 64 {
		tt.write(strings.Repeat("x", outputLimit/8) + "\n")
	}
	tt.write("the panic\n")
	if got := tt.output.Len(); got > 2*outputLimit+64 {
		t.Errorf("kept %d bytes", got)
	}
	if !strings.HasSuffix(tt.output.String(), "the panic\n") {
		t.Error("the end of the output was lost")
	}
}
