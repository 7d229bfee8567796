package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// silence is how long nothing may finish before a line says what still runs.
const silence = 30 * time.Second

// goTest runs go test and feeds its events to a tally.
type goTest struct {
	dir   string   // working directory, empty for the current one
	flags []string // extra flags of go test
	tally *tally
}

// runGroups runs each group in turn. A group that cannot be listed is a failure
// and does not stop the next.
func (g goTest) runGroups(ctx context.Context, groups []string) {
	seen := map[string]bool{}
	top := g.dir
	for _, group := range groups {
		patterns := group
		g.dir = top
		if dir, rest, nested := strings.Cut(group, ":"); nested {
			g.dir, patterns = filepath.Join(top, dir), rest
		}
		packages, err := g.list(ctx, strings.Split(patterns, ","))
		if err != nil {
			g.tally.broken(group, err.Error())
			continue
		}
		var fresh []string
		for _, p := range packages {
			if !seen[p] {
				seen[p] = true
				fresh = append(fresh, p)
			}
		}
		if len(fresh) > 0 {
			g.runPackages(ctx, fresh)
		}
	}
}

// list resolves package patterns. Packages with errors are listed all the same
// (-e), so that go test reports them.
func (g goTest) list(ctx context.Context, patterns []string) ([]string, error) {
	var out, errs bytes.Buffer
	cmd := g.command(ctx, append([]string{"list", "-e"}, patterns...))
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("go list %s: %w\n%s", strings.Join(patterns, " "), err, errs.String())
	}
	return strings.Fields(out.String()), nil
}

// runPackages runs go test -json once over the packages.
func (g goTest) runPackages(ctx context.Context, packages []string) {
	args := append([]string{"test", "-json"}, g.flags...)
	cmd := g.command(ctx, append(args, packages...))
	events, w := io.Pipe()
	var errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = w, &errs

	var wg sync.WaitGroup
	done := make(chan struct{})
	wg.Go(func() { g.consume(events) })
	wg.Go(func() { g.heartbeat(done) })
	failures := g.tally.failures()
	err := cmd.Run()
	_ = w.Close() // a pipe's Close never fails
	close(done)
	wg.Wait()

	g.tally.finish()
	if err != nil && g.tally.failures() == failures {
		// go test itself could not do its work: a bad flag, no go.mod, a signal.
		g.tally.broken("go test", fmt.Sprintf("%v\n%s", err, errs.String()))
	}
}

// command makes a go command in a process group of its own, which is ended as a
// whole when ctx is, so that no test binary outlives us.
func (g goTest) command(ctx context.Context, args []string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = g.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

// consume reads events to the end of r. What is no JSON (a tool that prints
// around go test) is passed on as it is.
func (g goTest) consume(r io.Reader) {
	br := bufio.NewReader(r)
	for {
		line, err := br.ReadBytes('\n')
		if len(bytes.TrimSpace(line)) > 0 {
			var e event
			if json.Unmarshal(line, &e) == nil && e.Action != "" {
				g.tally.add(e)
			} else {
				g.tally.stray(string(line))
			}
		}
		if err != nil {
			return
		}
	}
}

// heartbeat says what is running whenever nothing has finished for a while.
func (g goTest) heartbeat(done <-chan struct{}) {
	tick := time.NewTicker(silence)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case now := <-tick.C:
			g.tally.stillRunning(now, silence)
		}
	}
}
