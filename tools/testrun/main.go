// Command testrun runs the project's tests and says in one place what was
// tested, what failed and what was not tested at all.
//
//	testrun [-summary FILE] GROUP... [-- GO-TEST-FLAGS]
//
// A group is a comma-separated list of package patterns, after "DIRECTORY:" where
// they are those of a module in another directory. Groups run one after the
// other; a package runs once, in the first group that names it. Output is
// one line a package and the whole output of failing tests. The last line is
// exactly
//
//	N passed, N failed, N skipped
//
// counting every test, subtest, example and fuzz seed that has a result, plus
// one failure for each package that failed without a failing test (it did not
// build, panicked outside a test, or was stopped). The exit status is 0 only if
// nothing failed and something passed.
//
// It reads the event stream of go test -json (go doc cmd/test2json).
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	status := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(status)
}

// run does everything main does but exit, and returns the exit status:
// 0 all passed, 1 something failed or nothing ran, 2 used wrongly.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("testrun", flag.ContinueOnError)
	flags.SetOutput(stderr)
	summary := flags.String("summary", "", "also write the last line to this `file`")
	dir := flags.String("C", "", "run in this `directory`")
	flags.Usage = func() {
		fmt.Fprintln(stderr, "usage: testrun [-C DIR] [-summary FILE] GROUP... [-- GO-TEST-FLAGS]")
		flags.PrintDefaults()
	}
	args, testFlags := splitFlags(args)
	if err := flags.Parse(args); err != nil {
		return 2
	}
	if flags.NArg() == 0 {
		flags.Usage()
		return 2
	}

	tally := newTally(stdout)
	g := goTest{dir: *dir, flags: testFlags, tally: tally}
	g.runGroups(ctx, flags.Args())
	last := tally.report()
	if *summary != "" {
		if err := os.WriteFile(*summary, []byte(last+"\n"), 0o600); err != nil {
			fmt.Fprintf(stderr, "testrun: write summary: %v\n", err)
			return 1
		}
	}
	if tally.ok() {
		return 0
	}
	return 1
}

// splitFlags separates our own arguments from what follows "--", which go test
// gets. The flag package would swallow the separator.
func splitFlags(args []string) (ours, goTest []string) {
	if i := slices.Index(args, "--"); i >= 0 {
		return args[:i], args[i+1:]
	}
	return args, nil
}
