// Package e2e tries Troth from outside: real trothd processes, real software
// TPMs, the agent that runs on hardware, and attackers who follow the protocol
// as far as it serves them (docs: DESIGN.md section 4; TPM 2.0 Library; RFC 9334).
//
// Every refusal is checked twice: the stable problem code of the answer, and
// what the service keeps afterwards.
//
// The programs are built once; TROTH_BIN names a directory that holds them
// already.
package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"troth/attest/attesttest"
)

// bench is what all tests of this binary share. It is made at its first use and
// cleared away by TestMain.
type bench struct {
	dir string

	makeMaker func() (*attesttest.Manufacturer, error)
	serve     func() (*service, error)

	pool  chan *attacker // enrolled devices of the shared service, to borrow
	spare chan struct{}  // a place for each that may still be made

	mu      sync.Mutex
	closers []func() error
}

// poolSize is how many tests may work on the shared service at once.
const poolSize = 2

var shared *bench

func TestMain(m *testing.M) { os.Exit(run(m)) }

// atOnce is how many tests run at a time: most of them wait, for sweeps, reboots
// and waves, so they are more than there are cores.
const atOnce = "4"

func run(m *testing.M) (status int) {
	flag.Parse()
	if runtime.GOMAXPROCS(0) < 4 {
		if err := flag.Set("test.parallel", atOnce); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	dir, err := os.MkdirTemp("", "tre2e")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	shared = newBench(dir)
	defer func() {
		if err := shared.close(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			status = 1
		}
	}()
	return m.Run()
}

func newBench(dir string) *bench {
	b := &bench{dir: dir, pool: make(chan *attacker, poolSize), spare: make(chan struct{}, poolSize)}
	for range poolSize {
		b.spare <- struct{}{}
	}
	b.makeMaker = sync.OnceValues(func() (*attesttest.Manufacturer, error) {
		return attesttest.NewManufacturer(filepath.Join(dir, "acme"), "acme")
	})
	b.serve = sync.OnceValues(func() (*service, error) {
		s, err := startService(filepath.Join(dir, "shared"), "firmware: {refresh: 1s}\n")
		if err != nil {
			return nil, err
		}
		b.later(s.close)
		return s, s.trust(b)
	})
	return b
}

// later has close called when all tests are through.
func (b *bench) later(close func() error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closers = append(b.closers, close)
}

func (b *bench) close() error {
	var errs []error
	for i := len(b.closers) - 1; i >= 0; i-- {
		errs = append(errs, b.closers[i]())
	}
	return errors.Join(append(errs, os.RemoveAll(b.dir))...)
}

// programs is the directory of trothd, troth, troth-sim and troth-agent.
var programs = sync.OnceValues(func() (string, error) {
	if bin := os.Getenv("TROTH_BIN"); bin != "" {
		return bin, nil
	}
	bin := filepath.Join(shared.dir, "bin")
	cmd := exec.CommandContext(context.Background(), "go", "build", "-o", bin+"/", "troth/cmd/trothd", "troth/cmd/troth", "troth/cmd/troth-sim", "troth/cmd/troth-agent")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build programs: %w\n%s", err, out)
	}
	return bin, nil
})

// maker is the manufacturer whom every service of these tests trusts.
func maker(t testing.TB) *attesttest.Manufacturer {
	t.Helper()
	return must(shared.makeMaker())(t)
}

// must ends the test on an error: must(f())(t).
func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}
