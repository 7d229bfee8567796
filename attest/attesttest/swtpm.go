package attesttest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// SWTPM is a software TPM: its state on disk, and a swtpm process while it has
// power. Its methods are safe for concurrent use.
type SWTPM struct {
	state string

	mu   sync.Mutex
	run  string   // directory of the sockets, short enough for a socket's path
	proc *process // nil while powered off
}

// Start gives the TPM power and starts it up (TPM2_Startup with CLEAR). It
// returns when the TPM answers. Starting a started TPM does nothing. The
// process ends with this one, however that ends.
func (s *SWTPM) Start(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.start(ctx); err != nil {
		return fmt.Errorf("start swtpm: %w", err)
	}
	return nil
}

// Spec names the command socket for attest/tpm's Open ("unix:/path"). It stays
// the same until Close, and is empty before the first Start.
func (s *SWTPM) Spec() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.run == "" {
		return ""
	}
	return "unix:" + s.socket()
}

// PowerOff shuts the TPM down in order (TPM2_Shutdown with CLEAR) and ends its
// process. The state stays, and so does Spec.
func (s *SWTPM) PowerOff() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.stop(); err != nil {
		return fmt.Errorf("stop swtpm: %w", err)
	}
	return nil
}

// PowerCycle turns the TPM off and on: PCRs are at their reset values, nothing
// is loaded, and resetCount is one higher.
func (s *SWTPM) PowerCycle(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.stop(); err != nil {
		return fmt.Errorf("power-cycle swtpm: %w", err)
	}
	if err := s.start(ctx); err != nil {
		return fmt.Errorf("power-cycle swtpm: %w", err)
	}
	return nil
}

// Close turns the TPM off and removes the sockets. The state stays: NewTPM
// opens it again.
func (s *SWTPM) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.stop(); err != nil {
		return fmt.Errorf("close swtpm: %w", err)
	}
	if s.run == "" {
		return nil
	}
	if err := os.RemoveAll(s.run); err != nil {
		return fmt.Errorf("close swtpm: %w", err)
	}
	s.run = ""
	return nil
}

func (s *SWTPM) socket() string { return filepath.Join(s.run, "tpm") }

func (s *SWTPM) start(ctx context.Context) error {
	if s.proc != nil && s.proc.alive() {
		return nil
	}
	if s.run == "" {
		run, err := os.MkdirTemp("", "tr")
		if err != nil {
			return err
		}
		s.run = run
	}
	log := filepath.Join(s.run, "log")
	proc, err := startProcess("swtpm", "socket", "--tpm2",
		"--tpmstate", "dir="+s.state,
		"--server", "type=unixio,path="+s.socket(),
		"--ctrl", "type=unixio,path="+filepath.Join(s.run, "ctrl"),
		"--log", "file="+log+",truncate",
		"--flags", "not-need-init,startup-clear")
	if err != nil {
		return err
	}
	if err := s.waitReady(ctx, proc); err != nil {
		out, _ := os.ReadFile(log)
		return errors.Join(fmt.Errorf("%w: %s", err, tail(out)), proc.stop())
	}
	s.proc = proc
	return nil
}

// waitReady returns once the TPM answers a command.
func (s *SWTPM) waitReady(ctx context.Context, proc *process) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	getRandom := []byte{0x80, 0x01, 0, 0, 0, 12, 0, 0, 0x01, 0x7b, 0, 8}
	var last error
	for {
		if last = s.command(ctx, getRandom); last == nil {
			return nil
		}
		select {
		case <-proc.done:
			return fmt.Errorf("process ended: %w", proc.err)
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ctx.Err(), last)
		case <-time.After(3 * time.Millisecond):
		}
	}
}

func (s *SWTPM) stop() error {
	if s.proc == nil {
		return nil
	}
	if s.proc.alive() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		shutdownClear := []byte{0x80, 0x01, 0, 0, 0, 12, 0, 0, 0x01, 0x45, 0, 0}
		// A TPM that does not answer is cut off; its next Startup will
		// report a clock that is not safe.
		_ = s.command(ctx, shutdownClear)
		cancel()
	}
	if err := s.proc.stop(); err != nil {
		return err
	}
	s.proc = nil
	// swtpm removes its sockets on SIGTERM, and cannot on SIGKILL.
	for _, name := range []string{"tpm", "ctrl"} {
		if err := os.Remove(filepath.Join(s.run, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

// command sends one TPM command and checks that it succeeded.
func (s *SWTPM) command(ctx context.Context, cmd []byte) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", s.socket())
	if err != nil {
		return err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return err
		}
	}
	if _, err := conn.Write(cmd); err != nil {
		return err
	}
	header := make([]byte, 10)
	if _, err := io.ReadFull(conn, header); err != nil {
		return err
	}
	if rc := binary.BigEndian.Uint32(header[6:]); rc != 0 {
		return fmt.Errorf("TPM answered %#x", rc)
	}
	return nil
}

// stop ends the process with SIGTERM, and SIGKILL if that does not help.
func (p *process) stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.done:
		return nil
	case <-time.After(3 * time.Second):
	}
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-p.done
	return nil
}
