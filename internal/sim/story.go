package sim

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"
)

// story tells a person what happens, what each act proves, and whether it held.
type story struct {
	out    io.Writer
	start  time.Time
	acts   int
	checks int
	failed int
	misses []string
}

func newStory(out io.Writer) *story { return &story{out: out, start: time.Now()} }

func (s *story) printf(format string, args ...any) {
	fmt.Fprintf(s.out, format, args...)
}

func (s *story) act(title, proves string) {
	s.acts++
	s.printf("\n%2d. %s\n    %s\n", s.acts, title, proves)
}

func (s *story) say(format string, args ...any) { s.printf("      "+format+"\n", args...) }

// holds is one claim of the demonstration.
func (s *story) holds(ok bool, format string, args ...any) {
	claim := fmt.Sprintf(format, args...)
	s.checks++
	if ok {
		s.printf("    ✓ %s\n", claim)
		return
	}
	s.failed++
	s.misses = append(s.misses, claim)
	s.printf("    ✗ %s\n", claim)
}

// command shows a command and its output as a terminal would.
func (s *story) command(args []string, out []byte) {
	s.printf("\n      $ troth %s\n", strings.Join(args, " "))
	for line := range strings.Lines(strings.TrimRight(string(out), "\n")) {
		s.printf("      %s\n", strings.TrimRight(line, "\n"))
	}
	s.printf("\n")
}

// until waits for a claim to come true and says how far it is as it changes.
func (s *story) until(ctx context.Context, claim string, limit time.Duration, poll func() (progress string, done bool)) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	last := ""
	for {
		progress, done := poll()
		if done {
			s.holds(true, "%s", claim)
			return nil
		}
		if progress != last {
			s.say("· %s", progress)
			last = progress
		}
		select {
		case <-ctx.Done():
			s.holds(false, "%s (after %s: %s)", claim, limit, progress)
			return fmt.Errorf("%w: %s", ErrDemo, claim)
		case <-time.After(250 * time.Millisecond):
		}
	}
}

func (s *story) summary() {
	s.printf("\n%s\n", strings.Repeat("─", 78))
	took := time.Since(s.start).Round(time.Second)
	if s.failed == 0 {
		s.printf("All %d claims held, in %s.\n", s.checks, took)
		return
	}
	s.printf("%d of %d claims did NOT hold, in %s:\n", s.failed, s.checks, took)
	for _, miss := range s.misses {
		s.printf("  ✗ %s\n", miss)
	}
}
