package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"troth/attest/attesttest"
	"troth/attest/tpm"
	"troth/internal/agent/slot"
	"troth/internal/api"
)

// machine is a device whose agent is the released program, in a process of its own:
// it can be killed as a power cut kills it.
type machine struct {
	*service
	t     testing.TB
	name  string
	dir   string
	chip  *attesttest.SWTPM
	slots slot.Pair
	said  bytes.Buffer // by the agent, in its last life
}

func newMachine(t testing.TB, s *service) *machine {
	t.Helper()
	m := &machine{service: s, t: t, name: newName(), dir: t.TempDir()}
	m.slots = slot.Open(filepath.Join(m.dir, "slots"))
	if err := m.slots.Format(bytes.NewReader(attesttest.NewImage(model, factory).Bytes()), factory, 1); err != nil {
		t.Fatal(err)
	}
	m.chip = must(maker(t).NewTPM(t.Context(), filepath.Join(m.dir, "tpm")))(t)
	t.Cleanup(func() {
		if err := m.chip.Close(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("the agent's last life:\n%s", &m.said)
		}
	})
	return m
}

// boot is a power-on. What boots is a whole release, and it is measured.
func (m *machine) boot() (version string) {
	m.t.Helper()
	if err := m.chip.PowerCycle(m.t.Context()); err != nil {
		m.t.Fatal(err)
	}
	path := must(m.slots.Boot())(m.t)
	content := must(os.ReadFile(path))(m.t)
	for _, v := range []string{factory, patch} {
		if bytes.Equal(content, attesttest.NewImage(model, v).Bytes()) {
			version = v
		}
	}
	if version == "" {
		m.t.Fatalf("what boots is no release, but %d bytes", len(content))
	}
	running, _, _, err := m.slots.Running()
	if err != nil || running.Version != version {
		m.t.Fatalf("%s boots, and the device says %s, %v", version, running.Version, err)
	}
	transport := must(tpm.Open(m.chip.Spec()))(m.t)
	logs, err := attesttest.Boot(transport, attesttest.PlatformFor(model), must(attesttest.ParseImage(content))(m.t))
	if err := errors.Join(err, transport.Close(), os.WriteFile(m.dir+"/event_log", logs.EventLog, 0o600), os.WriteFile(m.dir+"/ima", logs.IMA, 0o600)); err != nil {
		m.t.Fatal(err)
	}
	return version
}

// live runs the agent, by way of other programs where some are named, until it ends
// or has lived long enough, or somebody is content with it.
func (m *machine) live(limit time.Duration, content func() bool, by ...string) error {
	m.t.Helper()
	bin := must(programs())(m.t)
	ctx, cancel := context.WithTimeout(m.t.Context(), limit)
	defer cancel()
	argv := append(by, filepath.Join(bin, "troth-agent"), "run", "--server", m.admin.Base, "--server-ca", m.caFile,
		"--state-dir", m.dir+"/state", "--tpm", m.chip.Spec(), "--model", model, "--name", m.name, "--event-log", m.dir+"/event_log",
		"--ima", m.dir+"/ima", "--slots", m.dir+"/slots", "--tuf-root", m.tufRoot())
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	m.said.Reset()
	cmd.Stdout, cmd.Stderr = &m.said, &m.said
	// All of it is ended together: a tracer must not leave the agent behind.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case err := <-ended:
			return err
		case <-time.After(100 * time.Millisecond):
			if content != nil && content() {
				cancel()
			}
		}
	}
}

// lethal are the calls before which the agent dies, and how often a thread of it
// makes each at most.
var lethal = []struct { //nolint:gochecknoglobals // a table that only this test reads
	call string
	most int
}{{"fsync", 5}, {"renameat", 4}, {"openat", 30}, {"write", 40}, {"flock", 4}, {"fchmod", 3}, {"unlinkat", 3}}

// stateful is what the agent writes to: a death elsewhere shows nothing.
var stateful = regexp.MustCompile(`/(state|slots)/|socket:`)

// die has the agent killed at a seeded point. It says where that was; "" if it came
// to its end before.
func (m *machine) die(source *rand.Rand) string {
	m.t.Helper()
	at := lethal[source.IntN(len(lethal))]
	trace := filepath.Join(m.t.TempDir(), "trace")
	n := 1 + source.IntN(at.most)
	err := m.live(3*time.Second, nil, "strace", "-f", "-qq", "-y", "-s", "0", "-o", trace,
		"-e", "trace="+at.call, "-e", fmt.Sprintf("inject=%s:signal=KILL:when=%d", at.call, n))
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() && status.Signal() == syscall.SIGKILL {
			last := ""
			for line := range strings.Lines(string(must(os.ReadFile(trace))(m.t))) {
				if strings.Contains(line, at.call+"(") {
					last = strings.TrimSpace(line)
				}
			}
			return fmt.Sprintf("%d. %s", n, last)
		}
	}
	return ""
}

func (m *machine) row() (lifecycle, verdict, firmware string) {
	m.t.Helper()
	known, err := m.fleet(m.t)
	if err != nil {
		return err.Error(), "", ""
	}
	d := known[m.name]
	return d.Lifecycle, d.Verdict, d.Firmware
}

// settle lives without further trouble, and reboots as it is asked to, until the service finds the device
// compliant on a version.
func (m *machine) settle(version string) {
	m.t.Helper()
	content := func() bool {
		lifecycle, verdict, firmware := m.row()
		return lifecycle == "active" && verdict == "compliant" && firmware == version && !m.trial()
	}
	for deadline := time.Now().Add(90 * time.Second); ; m.boot() {
		_ = m.live(60*time.Second, content) // it ends by itself to reboot; fewer lives, fewer tries of a trial
		if content() {
			return
		}
		if time.Now().After(deadline) {
			known, _ := m.fleet(m.t)
			m.t.Fatalf("never compliant on %s: %+v", version, m.device(m.t, known[m.name].ID))
		}
	}
}

func (m *machine) trial() bool {
	_, _, trial, err := m.slots.Running()
	return trial || err != nil
}

// The agent that a service leads is killed, with its device as by a power cut or
// alone, at seeded points of enrolment, check-in, download, install, switch and
// confirmation. Each time a whole release boots and the device says which; in the end it runs the patch, the rollout
// has succeeded, and the service knows of one certificate that lives.
// TROTH_CHAOS_POINTS says how many, TROTH_CHAOS_SEED which.
func TestAttack_T8_RunKilledAtAnyPoint(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("strace"); err != nil {
		t.Skip("NOT TESTED: kill -9 of the agent that a service leads: strace is not installed")
	}
	points, seed := number("TROTH_CHAOS_POINTS", 3), number("TROTH_CHAOS_SEED", 1)
	source := rand.New(rand.NewPCG(uint64(seed), 9))
	s := newService(t, "check_in: {interval: 1s, fresh: 60s, sweep: 1s}\nfirmware: {refresh: 1s}\n")
	s.alsoPatch(t)
	for done, attempts := 0, 0; done < points; {
		m := newMachine(t, s)
		if m.boot(); source.IntN(4) == 0 { // while it enrols
			done += m.killed(source, &attempts)
		}
		m.settle(factory)
		id := s.offer(t)
		m.boot()
		// A second death on trial might be the last try, and end it rightly.
		for onTrial := 0; done < points && attempts < 10*points && onTrial < 2; {
			if running, _, trial, err := m.slots.Running(); err == nil && running.Version == patch {
				onTrial++
				if !trial {
					break
				}
			}
			done += m.killed(source, &attempts)
		}
		m.settle(patch)
		m.afterwards(id)
		if attempts >= 10*points {
			t.Fatalf("only %d of %d attempts met the agent alive", done, attempts)
		}
		if t.Failed() {
			return
		}
	}
}

func (m *machine) killed(source *rand.Rand, attempts *int) int {
	m.t.Helper()
	*attempts++
	where := m.die(source)
	how := "power cut"
	version := ""
	if running, _, _, err := m.slots.Running(); err == nil && source.IntN(3) == 0 {
		how, version = "kill", running.Version // only the agent ended, and is started again
	} else {
		version = m.boot()
	}
	if !stateful.MatchString(where) {
		return 0
	}
	said := regexp.MustCompile(`state=[a-z-]+`).FindAllString(m.said.String(), -1)
	m.t.Logf("after %v, %s before %s: runs %s", said, how, where, version)
	return 1
}

// afterwards looks at what the deaths left.
func (m *machine) afterwards(rollout string) {
	m.t.Helper()
	r := m.completed(m.t, 20*time.Second, rollout)
	for _, member := range r.Members {
		if member.Name == m.name && member.State != "success" {
			m.t.Errorf("the device ended as %s: %s", member.State, member.Reason)
		}
	}
	known := must(m.fleet(m.t))(m.t)
	if k := m.kept(m.t, known[m.name].ID); len(k.live()) != 1 {
		m.t.Errorf("it holds certificates %v", k.live())
	}
	for _, dir := range []string{"state", "slots"} {
		if left, err := filepath.Glob(filepath.Join(m.dir, dir, ".*")); err != nil || len(left) > 0 {
			m.t.Errorf("left %v, %v", left, err)
		}
	}
}

// number reads a setting of make chaos.
func number(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil && n > 0 {
		return n
	}
	return otherwise
}

// offer starts a rollout of the patch to every device that does not run it.
func (s *service) offer(t testing.TB) string {
	t.Helper()
	soak, timeout, failures := 0, 300, 0
	var r api.Rollout
	s.post(t, api.PathRollouts, api.RolloutRequest{
		Model: model, Version: patch, Waves: []int{100}, SoakSeconds: &soak, TimeoutSeconds: &timeout, MaxFailurePercent: &failures, Start: true,
	}, &r)
	return r.ID
}
