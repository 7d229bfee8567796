package install

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// Bounds of a program that is run.
const (
	longTime  = 30 * time.Minute // to install
	shortTime = time.Minute      // for everything else
	maxAnswer = 64 << 10         // bytes of standard output; more is an error
	maxReason = 1 << 10          // bytes of each output that an error quotes, the last
	grace     = 5 * time.Second  // for the output of a program that was ended
)

// command is one run of a program: no shell, an environment of its own, and no
// open file but standard input, output and error.
type command struct {
	argv  []string
	env   []string
	stdin *os.File // nil: nothing to read
	limit time.Duration
}

// environment of every program: nothing of the agent's own.
func environment() []string {
	return []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"}
}

// run gives what the program wrote to standard output. The error holds the exit
// status (*exec.ExitError) and the end of standard error. A program that takes
// too long is killed, with all that it started.
func (c command) run(ctx context.Context) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, c.limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.argv[0], c.argv[1:]...)
	out, reason := &bounded{limit: maxAnswer}, &ending{}
	cmd.Stdout, cmd.Stderr = out, reason
	cmd.Env, cmd.Dir = append(environment(), c.env...), "/"
	if c.stdin != nil {
		cmd.Stdin = c.stdin // a *os.File is handed over as the descriptor that it is
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = grace
	err := cmd.Run()
	switch {
	case out.over:
		return nil, fmt.Errorf("run %s: it wrote more than %d bytes", c.argv[0], maxAnswer)
	case ctx.Err() != nil && errors.Is(ctx.Err(), context.DeadlineExceeded):
		return nil, fmt.Errorf("run %s: it took longer than %s: %w", c.argv[0], c.limit, ctx.Err())
	case ctx.Err() != nil:
		return nil, fmt.Errorf("run %s: %w: %w", c.argv[0], ErrLater, ctx.Err())
	case err != nil:
		said := &ending{} // some say what is wrong on standard output
		_, _ = said.Write(out.kept)
		return nil, fmt.Errorf("run %s: %w: %s", c.argv[0], err, strings.TrimSpace(reason.String()+" "+said.String()))
	}
	return out.kept, nil
}

// exited gives the status of a program that ended by itself, -1 otherwise.
func exited(err error) int {
	var e *exec.ExitError
	if errors.As(err, &e) {
		return e.ExitCode()
	}
	return -1
}

// bounded keeps what is written, up to a limit, and closes the pipe beyond it. It
// is no bytes.Buffer, whose ReadFrom has no limit.
type bounded struct {
	kept  []byte
	limit int
	over  bool
}

func (b *bounded) Write(p []byte) (int, error) {
	if len(b.kept)+len(p) > b.limit {
		b.over = true
		return 0, io.ErrShortWrite
	}
	b.kept = append(b.kept, p...)
	return len(p), nil
}

// ending keeps the last of what is written.
type ending struct{ tail []byte }

func (e *ending) Write(p []byte) (int, error) {
	e.tail = append(e.tail, p...)
	e.tail = e.tail[max(0, len(e.tail)-maxReason):]
	return len(p), nil
}

// String is in one line, without what a terminal would act on.
func (e *ending) String() string {
	clean := strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(string(e.tail), "?"))
	return strings.TrimSpace(clean)
}
