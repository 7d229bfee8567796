package server_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/pprof"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"troth/internal/api"
	"troth/internal/server"
)

// serveEnv holds what this program is to serve as a process of its own, so that
// what the service costs and what its devices cost can be told apart; profileEnv
// is a file for the CPU profile of that process.
const (
	serveEnv   = "TROTH_TEST_SERVE"
	profileEnv = "TROTH_TEST_SERVE_PROFILE"
)

func TestMain(m *testing.M) {
	if config := os.Getenv(serveEnv); config != "" {
		if err := serveAlone([]byte(config)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// served is the part of a configuration that a process is started with.
type served struct {
	DataDir string
	Vault   *server.VaultConfig
}

func (s served) config() server.Config {
	return server.Config{DataDir: s.DataDir, Listen: "127.0.0.1:0", Certificates: server.CertificatesConfig{Vault: s.Vault}}
}

// serveAlone serves until its standard input ends: whoever started it is gone.
func serveAlone(config []byte) (err error) {
	var s served
	if err := json.Unmarshal(config, &s); err != nil {
		return err
	}
	if path := os.Getenv(profileEnv); path != "" {
		file, err := os.Create(path)
		if err != nil {
			return err
		}
		defer file.Close()
		if err := pprof.StartCPUProfile(file); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	ctx, stop := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	service, err := server.New(ctx, s.config(), "test", slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	return errors.Join(service.Run(ctx, os.Stdout), service.Close())
}

// startAlone is start in a process of its own, whose id it returns.
func startAlone(t testing.TB, s served) (*running, int) {
	t.Helper()
	config := must(json.Marshal(s))(t)
	command := exec.Command(must(os.Executable())(t))
	command.Env = append(os.Environ(), serveEnv+"="+string(config))
	var failure bytes.Buffer
	command.Stderr = &failure
	input := must(command.StdinPipe())(t)
	said := must(command.StdoutPipe())(t)
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = input.Close()
		kill := time.AfterFunc(20*time.Second, func() { _ = command.Process.Kill() })
		defer kill.Stop()
		if err := command.Wait(); err != nil {
			t.Errorf("the service ends: %v: %s", err, failure.String())
		}
	})
	r := &running{t: t, out: &output{}}
	for lines := bufio.NewScanner(said); !strings.HasSuffix(r.out.String(), "trothd: ready\n"); {
		if !lines.Scan() {
			t.Fatalf("it does not serve: %s%s", r.out.String(), failure.String())
		}
		fmt.Fprintln(r.out, lines.Text())
	}
	r.client = &api.Client{Base: serving.FindStringSubmatch(r.out.String())[1], HTTP: clientOf(t, s.DataDir)}
	return r, command.Process.Pid
}

// processorTime is what a process has used up so far, in user and in system mode
// (proc(5): fields 14 and 15 of stat, in hundredths of a second).
func processorTime(t testing.TB, pid int) time.Duration {
	t.Helper()
	text := must(os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat")))(t)
	_, rest, _ := strings.Cut(string(text), ") ") // the name of the program may have spaces
	fields := strings.Fields(rest)
	user, system := must(strconv.ParseInt(fields[11], 10, 64))(t), must(strconv.ParseInt(fields[12], 10, 64))(t)
	return time.Duration(user+system) * 10 * time.Millisecond
}

// ownTime is what this process has used up so far.
func ownTime(t testing.TB) time.Duration {
	t.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		t.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
