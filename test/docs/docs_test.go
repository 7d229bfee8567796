// Package docs_test runs the commands that the documentation tells people to
// run, in the order of the page.
package docs_test

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// block is a fenced block of shell commands:
//
//	```sh             runs, and must succeed
//	```sh background  runs until the end of the page
//	```sh until       is tried again until it succeeds
type block struct {
	kind   string
	script string
}

var fence = regexp.MustCompile("(?ms)^```sh( [a-z]+)?\n(.*?)^```$")

func blocks(t *testing.T, page string) []block {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var found []block
	for _, m := range fence.FindAllStringSubmatch(string(text), -1) {
		found = append(found, block{kind: strings.TrimSpace(m[1]), script: m[2]})
	}
	return found
}

// patience with a block that is tried until it succeeds.
const patience = 2 * time.Minute

func TestGettingStarted(t *testing.T) {
	bin := build(t)
	dir, err := os.MkdirTemp("", "trdoc") // short: sockets have short names
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	env := append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "TROTH_CONFIG="+filepath.Join(dir, "config.yaml"))
	address := freeAddress(t)
	for i, b := range blocks(t, "../../docs/getting-started.md") {
		// Port 8443 of this machine may be somebody else's.
		script := strings.ReplaceAll(b.script, "127.0.0.1:8443", address)
		script = strings.ReplaceAll(script, "trothd serve ", "trothd serve --listen "+address+" ")
		run := &runner{t: t, dir: dir, env: env, name: fmt.Sprintf("block %d", i+1), script: script}
		switch b.kind {
		case "background":
			run.background()
		case "until":
			run.until()
		case "":
			run.once()
		default:
			t.Fatalf("block %d is of the unknown kind %q", i+1, b.kind)
		}
	}
}

type runner struct {
	t      *testing.T
	dir    string
	env    []string
	name   string
	script string
}

func (r *runner) command(script string) *exec.Cmd {
	cmd := exec.Command("/bin/bash", "-euo", "pipefail", "-c", script)
	cmd.Dir, cmd.Env = r.dir, r.env
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

func (r *runner) once() {
	r.t.Helper()
	if out, err := r.command(r.script).CombinedOutput(); err != nil {
		r.t.Fatalf("%s: %v\n%s\n%s", r.name, err, r.script, out)
	}
}

func (r *runner) until() {
	r.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		out, err := r.command(r.script).CombinedOutput()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("%s never succeeded: %v\n%s\n%s", r.name, err, r.script, out)
		}
		time.Sleep(500 * time.Millisecond)
	}
}

// background starts a program that stays, and waits until what it says at its
// start is there for the next block.
func (r *runner) background() {
	r.t.Helper()
	cmd := r.command("exec " + strings.TrimSpace(r.script))
	var log bytes.Buffer
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		r.t.Fatalf("%s: %v", r.name, err)
	}
	r.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if r.t.Failed() {
			r.t.Logf("%s said:\n%s", r.name, log.String())
		}
	})
	if !strings.Contains(r.script, "> trothd.out") {
		return
	}
	for range 100 {
		out, _ := os.ReadFile(filepath.Join(r.dir, "trothd.out"))
		if strings.Contains(string(out), ": ready") {
			return
		}
		time.Sleep(200 * time.Millisecond)
	}
	r.t.Fatalf("%s: the service did not become ready", r.name)
}

func build(t *testing.T) string {
	t.Helper()
	bin := t.TempDir()
	cmd := exec.Command("go", "build", "-o", bin+"/", "../../cmd/...")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return bin
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}
