package sim

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// Service is a running trothd.
type Service struct {
	URL    string
	CAFile string
	Token  string // bootstrap token; empty if somebody logged in before

	cmd  *exec.Cmd
	done chan struct{} // closed once it has ended
	log  *os.File
}

// startTime is how long a trothd may take until it serves.
const startTime = 30 * time.Second

// StartService runs trothd with the arguments, its log in a file, and waits
// until it serves.
func StartService(ctx context.Context, program, logFile string, args ...string) (*Service, error) {
	log, err := os.OpenFile(logFile, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("start trothd: %w", err)
	}
	s := &Service{cmd: exec.Command(program, args...), done: make(chan struct{}), log: log}
	s.cmd.Stderr = log
	s.cmd.SysProcAttr = owned()
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start trothd: %w", err), log.Close())
	}
	if err := s.cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start trothd: %w", err), log.Close())
	}
	lines := make(chan string)
	go func() {
		defer close(lines)
		for scan := bufio.NewScanner(out); scan.Scan(); {
			lines <- scan.Text()
		}
	}()
	ready := s.greeting(ctx, lines)
	go func() {
		for range lines { // nothing more is said, but nothing may block either
		}
		_ = s.cmd.Wait() // how it ended is in its log
		close(s.done)
	}()
	if !ready {
		return nil, errors.Join(fmt.Errorf("trothd did not start: see %s", logFile), s.Stop())
	}
	return s, nil
}

// greeting reads what trothd says at its start, up to "ready".
func (s *Service) greeting(ctx context.Context, lines <-chan string) bool {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	for {
		select {
		case line, ok := <-lines:
			if !ok {
				return false
			}
			if _, v, ok := strings.Cut(line, "serving "); ok {
				s.URL = v
			}
			if _, v, ok := strings.Cut(line, "CA certificate is "); ok {
				s.CAFile = v
			}
			if _, v, ok := strings.Cut(line, "24 hours: "); ok {
				s.Token = v
			}
			if strings.HasSuffix(line, ": ready") {
				return true
			}
		case <-ctx.Done():
			return false
		}
	}
}

// stopTime is how long trothd may take to finish what it has begun.
const stopTime = 15 * time.Second

// Stop ends trothd in order.
func (s *Service) Stop() error {
	defer func() { _ = s.log.Close() }() // it is trothd's log, not ours
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop trothd: %w", err)
	}
	select {
	case <-s.done:
	case <-time.After(stopTime):
		_ = s.cmd.Process.Kill()
		<-s.done
	}
	return nil
}

// Kill ends trothd as a power cut would.
func (s *Service) Kill() error {
	defer func() { _ = s.log.Close() }() // it is trothd's log, not ours
	if err := s.cmd.Process.Kill(); err != nil {
		return fmt.Errorf("kill trothd: %w", err)
	}
	<-s.done
	return nil
}
