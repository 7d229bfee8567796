package main

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"troth/internal/agent/slot"
	"troth/tuf"
)

// The test program is the agent too: these tests start it as a process of its own
// and kill it from outside.
const asAgent = "TROTH_TEST_AS_AGENT"

func TestMain(m *testing.M) {
	if os.Getenv(asAgent) != "" {
		if at := os.Getenv(atTime); at != "" && os.Args[1] == "tuf" {
			os.Exit(tufAt(os.Args[2:], at, os.Stdout, os.Stderr))
		}
		os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
	}
	status := m.Run()
	if builtDir != "" {
		if err := os.RemoveAll(builtDir); err != nil {
			status = 1
		}
	}
	os.Exit(status)
}

const (
	chaosModel = "edge"
	oldVersion = "1.0.0"
	newVersion = "1.1.0"
)

// chaos is a repository with one release, and what the factory installs.
type chaos struct {
	repo     *tuf.Repository
	dir      string // of the repository
	from     string // its address
	root     string
	old, new []byte
}

func randomImage(seed uint64) []byte {
	source := rand.New(rand.NewPCG(seed, 7))
	b := make([]byte, 1<<20)
	for i := range b {
		b[i] = byte(source.Uint32())
	}
	return b
}

func newChaos(t *testing.T) *chaos {
	t.Helper()
	dir := t.TempDir()
	repo := filepath.Join(dir, "repo")
	c := &chaos{dir: repo, old: randomImage(1), new: randomImage(2), root: filepath.Join(dir, "root.json")}
	now := time.Now()
	if err := tuf.Init(repo, tuf.InitOptions{KeysDir: filepath.Join(dir, "keys"), Now: now}); err != nil {
		t.Fatal(err)
	}
	r, err := tuf.Open(repo, filepath.Join(dir, "keys"))
	if err != nil {
		t.Fatal(err)
	}
	c.repo = r
	c.publish(t, newVersion, 2, c.new)
	root, err := r.Root()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(c.root, root, 0o600); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.FileServer(http.Dir(repo)))
	t.Cleanup(server.Close)
	c.from = server.URL
	return c
}

func (c *chaos) publish(t *testing.T, version string, counter uint64, image []byte) {
	t.Helper()
	release := tuf.Release{
		Name: fmt.Sprint("edge/fw-", counter), Model: chaosModel, Version: version, Counter: counter,
		Reference: &tuf.Reference{Bank: "sha256", PCRs: map[string]string{"0": fmt.Sprintf("%064x", counter)}},
	}
	if _, err := c.repo.Publish(t.Context(), release, bytes.NewReader(image), time.Now()); err != nil {
		t.Fatal(err)
	}
}

// box is one device's disk.
type box struct {
	*chaos
	dir string
}

func (c *chaos) newBox(t *testing.T, dir string) *box {
	t.Helper()
	b := &box{c, dir}
	factory := filepath.Join(t.TempDir(), "factory")
	if err := os.WriteFile(factory, c.old, 0o600); err != nil {
		t.Fatal(err)
	}
	b.must(t, "slots", "format", "--slots", b.slots(), "--image", factory, "--version", oldVersion, "--counter", "1")
	b.must(t, "slots", "boot", "--slots", b.slots())
	return b
}

func (b *box) slots() string { return filepath.Join(b.dir, "slots") }

func (b *box) update() []string {
	return []string{"update", "--slots", b.slots(), "--state-dir", filepath.Join(b.dir, "state"), "--tuf-root", b.root, "--model", chaosModel, "--from", b.from}
}

// agent runs the agent, by way of other programs where some are named.
func (b *box) agent(t *testing.T, by, args []string) (string, error) {
	t.Helper()
	argv := append(append(by, os.Args[0]), args...)
	cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), asAgent+"=1")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (b *box) must(t *testing.T, args ...string) string {
	t.Helper()
	out, err := b.agent(t, nil, args)
	if err != nil {
		t.Fatalf("%v: %v: %s", args, err, out)
	}
	return out
}

// boots requires that a whole release boots and that the device says which.
func (b *box) boots(t *testing.T) (version string) {
	t.Helper()
	said := strings.Split(strings.TrimSpace(b.must(t, "slots", "boot", "--slots", b.slots())), "\n")
	path := said[len(said)-1] // a warning may stand before it
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	switch {
	case bytes.Equal(content, b.old):
		version = oldVersion
	case bytes.Equal(content, b.new):
		version = newVersion
	default:
		t.Fatalf("what boots, %s, is neither release: %d bytes", path, len(content))
	}
	if says := b.must(t, "slots", "status", "--slots", b.slots()); !strings.Contains(says, "runs release "+version+",") {
		t.Fatalf("%s runs, and the device says %s", version, says)
	}
	return version
}

// finish brings the device to the new release without further trouble.
func (b *box) finish(t *testing.T) {
	t.Helper()
	if b.boots(t) == oldVersion {
		b.must(t, b.update()...)
		if got := b.boots(t); got != newVersion {
			t.Fatalf("after the next update, %s boots", got)
		}
	}
	if out, err := b.agent(t, nil, []string{"slots", "confirm", "--slots", b.slots()}); err != nil && !strings.Contains(out, "no slot is on trial") {
		t.Fatalf("confirm: %v: %s", err, out)
	}
	for range 4 { // more than a trial has tries
		if _, err := slot.Open(b.slots()).Boot(); err != nil {
			t.Fatal(err)
		}
	}
	if got := b.boots(t); got != newVersion {
		t.Fatalf("%s boots after the confirmation", got)
	}
	if left, err := filepath.Glob(filepath.Join(b.slots(), ".*")); err != nil || len(left) > 0 {
		t.Fatalf("left %v, %v", left, err)
	}
}

// deaths are the calls before which a kill may come, and how often each is made.
var deaths = map[string][]struct { //nolint:gochecknoglobals // a table that only this test reads
	call string
	most int
}{
	"update":  {{"write", 60}, {"openat", 60}, {"fsync", 8}, {"renameat", 8}, {"unlinkat", 6}, {"ftruncate", 1}, {"read", 60}, {"fadvise64", 1}, {"fchmod", 3}},
	"boot":    {{"openat", 6}, {"write", 3}, {"fsync", 2}, {"renameat", 1}, {"read", 30}},
	"confirm": {{"openat", 6}, {"write", 2}, {"fsync", 2}, {"renameat", 1}, {"fchmod", 1}},
}

// killed runs a phase and kills it before the n-th of a call, counted in each of
// its threads. It reports where that was; "" if it ended before.
func (b *box) killed(t *testing.T, call string, n int, args []string) string {
	t.Helper()
	trace := filepath.Join(t.TempDir(), "trace")
	_, err := b.agent(t, []string{
		"strace", "-f", "-qq", "-y", "-s", "0", "-o", trace, "-e", "trace=" + call, "-e", fmt.Sprintf("inject=%s:signal=KILL:when=%d", call, n),
	}, args)
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return ""
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); !ok || !status.Signaled() || status.Signal() != syscall.SIGKILL {
		return ""
	}
	content, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	last := ""
	for line := range strings.Lines(string(content)) {
		if strings.Contains(line, call+"(") {
			last = line
		}
	}
	return fmt.Sprintf("%d. %s", n, strings.TrimSpace(last))
}

// TestAttack_T8_KilledAtAnyPoint kills the agent, as a power cut does, at seeded
// points of download, install, switch and confirm. Each time a whole release
// boots, the device says which, and the next attempt succeeds.
// TROTH_CHAOS_POINTS says how many, TROTH_CHAOS_SEED which.
func TestAttack_T8_KilledAtAnyPoint(t *testing.T) {
	if _, err := exec.LookPath("strace"); err != nil {
		t.Skip("NOT TESTED: kill -9 at points of an update: strace is not installed")
	}
	points, seed := number("TROTH_CHAOS_POINTS", 10), number("TROTH_CHAOS_SEED", 1)
	source := rand.New(rand.NewPCG(uint64(seed), 8))
	c := newChaos(t)
	done, phases := 0, []string{"update", "update", "update", "boot", "confirm"}
	for attempt := 0; done < points; attempt++ {
		if attempt > 5*points {
			t.Fatalf("only %d of %d attempts met the agent alive", done, attempt)
		}
		phase := phases[attempt%len(phases)]
		death := deaths[phase][source.IntN(len(deaths[phase]))]
		var b *box
		where := ""
		for n := 1 + source.IntN(death.most); where == "" && n > 0; n /= 2 {
			b = c.newBox(t, t.TempDir())
			where = b.killed(t, death.call, n, b.upTo(t, phase))
		}
		if !strings.Contains(where, "TestAttack") && !strings.Contains(where, "socket:") {
			continue // it ended before, or was not at any of its files or connections yet
		}
		done++
		version := b.boots(t)
		t.Logf("%s, killed before %s: boots %s", phase, where, version)
		b.finish(t)
		if t.Failed() {
			return
		}
	}
}

// upTo brings the device to the beginning of a phase, and gives its command.
func (b *box) upTo(t *testing.T, phase string) []string {
	t.Helper()
	if phase == "update" {
		return b.update()
	}
	b.must(t, b.update()...)
	if phase == "confirm" {
		b.boots(t)
	}
	return []string{"slots", phase, "--slots", b.slots()}
}

func number(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil && n > 0 {
		return n
	}
	return otherwise
}

// small mounts a file system of a few MiB.
func small(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("NOT TESTED: a full disk: no small file system can be mounted here: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir
}

// The disk fills up at every stage of an update: while it downloads, and while it
// writes the slot.
func TestAttack_T8_DiskFull(t *testing.T) {
	c := newChaos(t)
	// The factory's image takes 1 MiB; download and second slot need one each.
	for _, free := range []int{100, 900, 1200, 1900} {
		t.Run(fmt.Sprint(free, " KiB free"), func(t *testing.T) {
			b := c.newBox(t, small(t, "4m"))
			ballast := filepath.Join(b.dir, "ballast")
			if err := os.WriteFile(ballast, make([]byte, (4096-1024-64-free)<<10), 0o600); err != nil {
				t.Fatal(err)
			}
			out, err := b.agent(t, nil, b.update())
			if err == nil || !strings.Contains(out, "no space left on device") {
				t.Fatalf("an update on a full disk: %v: %s", err, out)
			}
			if got := b.boots(t); got != oldVersion {
				t.Fatalf("%s boots", got)
			}
			if err := os.Remove(ballast); err != nil {
				t.Fatal(err)
			}
			b.finish(t)
		})
	}
}

// A disk that is full when a trial is to boot: it cannot be counted, so the good
// slot boots.
func TestAttack_T8_BootOnAFullDisk(t *testing.T) {
	c := newChaos(t)
	b := c.newBox(t, small(t, "8m"))
	b.must(t, b.update()...)
	ballast, err := os.Create(filepath.Join(b.dir, "ballast"))
	if err != nil {
		t.Fatal(err)
	}
	defer ballast.Close()
	for err == nil {
		_, err = ballast.Write(make([]byte, 4096))
	}
	if got := b.boots(t); got != oldVersion {
		t.Fatalf("%s boots", got)
	}
	if err := os.Remove(ballast.Name()); err != nil {
		t.Fatal(err)
	}
	if err := ballast.Close(); err != nil {
		t.Fatal(err)
	}
	b.finish(t)
}

func TestAttack_T8_ReadOnlyState(t *testing.T) {
	c := newChaos(t)
	state := small(t, "4m")
	b := c.newBox(t, t.TempDir())
	if err := os.Symlink(state, filepath.Join(b.dir, "state")); err != nil {
		t.Fatal(err)
	}
	remount := func(flags uintptr) {
		if err := syscall.Mount("tmpfs", state, "tmpfs", syscall.MS_REMOUNT|flags, ""); err != nil {
			t.Fatal(err)
		}
	}
	remount(syscall.MS_RDONLY)
	out, err := b.agent(t, nil, b.update())
	if err == nil || !strings.Contains(out, "read-only file system") {
		t.Fatalf("an update with a read-only state directory: %v: %s", err, out)
	}
	if got := b.boots(t); got != oldVersion {
		t.Fatalf("%s boots", got)
	}
	remount(0)
	b.finish(t)
}
