package e2e

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"

	"troth/attest/attesttest"
	"troth/internal/agent"
	"troth/internal/api"
	"troth/internal/fleet"
	"troth/internal/store"
)

// counting is an agent whose bytes to the service are counted.
type counting struct {
	*attacker
	cable *cable
	proxy *proxy // to the TPM
	state string
	list  string // file of the IMA list
	stop  func() error
}

func (c *counting) start() {
	c.t.Helper()
	c.stop = c.runAgent(c.state, func(config *agent.Config) {
		config.Server, config.IMA, config.TPM = "https://"+c.cable.addr, c.list, c.proxy.spec
	})
}

func (c *counting) end() {
	c.t.Helper()
	if err := c.stop(); err != nil {
		c.t.Fatal(err)
	}
}

// measure has the system open n files for the first time, while no agent runs.
func (c *counting) measure(n int, what string) {
	c.t.Helper()
	for i := range n {
		file := attesttest.File{Path: fmt.Sprintf("/opt/%s\n10 %s/%d", what, strings.Repeat("0", 40), i), Content: fmt.Append(nil, what, i)}
		c.logs.IMA = must(attesttest.MeasureFile(c.link, c.logs.IMA, file))(c.t)
	}
	if err := os.WriteFile(c.list, c.logs.IMA, 0o600); err != nil {
		c.t.Fatal(err)
	}
}

// grow has the system open a file for the first time while the agent runs: the
// kernel lists it, and the TPM has it by the next quote.
func (c *counting) grow(what string) {
	c.t.Helper()
	var extend command
	c.logs.IMA = must(attesttest.MeasureFile(&extend, c.logs.IMA, attesttest.File{Path: "/opt/" + what, Content: []byte(what)}))(c.t)
	if err := os.WriteFile(c.list, c.logs.IMA, 0o600); err != nil {
		c.t.Fatal(err)
	}
	c.proxy.before(tpm2.TPMCCQuote, extend)
}

// command is a TPM that does nothing, and keeps what it was told to do.
type command []byte

func (c *command) Send(input []byte) ([]byte, error) {
	*c = bytes.Clone(input)
	// TPM_ST_SESSIONS, 19 bytes, success, no parameters, an empty password session.
	return []byte{0x80, 0x02, 0, 0, 0, 19, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0}, nil
}

// counted waits until the service has counted the whole list, and then for two
// check-ins more. It returns the bytes that were sent until the list was counted,
// and those of one of the later check-ins.
func (c *counting) counted() (until, each int64) {
	c.t.Helper()
	entries := bytes.Count(c.logs.IMA, []byte(" ima-ng "))
	before := c.cable.sent.Load()
	db := must(store.Open(c.t.Context(), c.service.dsn))(c.t)
	defer db.Close()
	var first, last fleet.Device
	eventually(c.t, 15*time.Second, "the list is counted", func() (string, bool) {
		p, err := db.Progress(c.t.Context(), fleet.DeviceID(c.id))
		if err == nil {
			first, err = db.Device(c.t.Context(), fleet.DeviceID(c.id))
		}
		return fmt.Sprintf("%d of %d, %v", p.Entries, entries, err), err == nil && p.Entries == entries
	})
	until = c.cable.sent.Load() - before
	last = first
	const more = 2
	for range more {
		seen := last.LastSeen
		eventually(c.t, 10*time.Second, "the device checks in again", func() (string, bool) {
			last = must(db.Device(c.t.Context(), fleet.DeviceID(c.id)))(c.t)
			return last.LastSeen.String(), last.LastSeen.After(seen)
		})
	}
	// The agent has no firmware slots here, and so reports none; nothing else is wrong.
	const expected = "firmware-reported"
	if failing := c.failing(); len(failing) != 1 || failing[expected] == "" {
		c.t.Fatalf("the device is %s: %v", last.Verdict, failing)
	}
	for _, a := range c.service.kept(c.t, c.id).Alerts {
		if a.Key != "control:"+expected && a.Key != fleet.KeySilent { // silent while the service was away
			c.t.Fatalf("an alert was raised: %+v", a)
		}
	}
	return until, (c.cable.sent.Load() - before - until) / more
}

// A list is sent once, and then what it grew by, across restarts of the agent and
// of the service, a database that was put back, and reboots.
func TestAgentSendsWhatIsNew(t *testing.T) {
	t.Parallel()
	s := newService(t, quick)
	a := newAttacker(t, s)
	c := &counting{
		attacker: a, proxy: newProxy(t, a.chip), cable: newCable(t, "tcp", strings.TrimPrefix(s.admin.Base, "https://")),
		state: t.TempDir(), list: filepath.Join(t.TempDir(), "ima"),
	}
	small := func(what string, n int64) {
		t.Helper()
		if whole := int64(len(c.logs.IMA)); n > whole/4 {
			t.Errorf("%s sent %d bytes; the whole list has %d", what, n, whole)
		}
		t.Logf("%s: %d bytes of a list of %d", what, n, len(c.logs.IMA))
	}
	c.measure(400, "boot")
	c.start()
	_, each := c.counted()
	small("a check-in without anything new", each)

	c.end()
	c.measure(3, "later")
	c.start()
	until, each := c.counted()
	small("an agent that started anew", until)
	small("a check-in after that", each)

	for i := range 2 {
		c.grow(fmt.Sprint("live", i))
		until, _ = c.counted()
		small("an entry that is new while the agent runs", until)
	}

	saved := t.TempDir()
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
	copyDatabase(t, s, s.path("data"), saved)
	s.restart(t)
	_, each = c.counted()
	small("a check-in with a service that started anew", each)

	c.end()
	c.measure(2, "last")
	c.start()
	c.counted()
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
	copyDatabase(t, s, saved, s.path("data"))
	s.restart(t)
	_, each = c.counted()
	small("a check-in after the database was put back", each)

	c.end()
	a.boot(factory)
	c.measure(450, "reboot")
	c.start()
	_, each = c.counted()
	small("a check-in after the reboot", each)
	c.end()
}

// copyDatabase copies an SQLite database that nobody has open.
func copyDatabase(t *testing.T, s *service, from, to string) {
	t.Helper()
	name := filepath.Base(strings.TrimPrefix(s.dsn, "sqlite:"))
	for _, suffix := range []string{"-wal", "-shm"} {
		_ = os.Remove(filepath.Join(to, name+suffix)) // of what is replaced
	}
	content := must(os.ReadFile(filepath.Join(from, name)))(t)
	if err := os.WriteFile(filepath.Join(to, name), content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// The list that an enrolment was proven with is counted: the first check-in sends
// what grew since.
func TestEnrolmentCountsTheList(t *testing.T) {
	t.Parallel()
	a := newAttacker(t, everyones(t))
	for range 2 { // the second time with the keys that are known
		a.enroll()
		entries, whole := bytes.Count(a.logs.IMA, []byte(" ima-ng ")), len(a.logs.IMA)
		n := must(a.ask())(t)
		if n.IMAEntries != entries || entries == 0 {
			t.Fatalf("after an enrolment with %d entries, %d are counted", entries, n.IMAEntries)
		}
		a.nonce = n.Nonce
		a.logs.IMA = must(attesttest.MeasureFile(a.link, a.logs.IMA, attesttest.File{Path: "/opt/late", Content: []byte("late")}))(t)
		out := must(a.checkIn(func(v *visit) {
			v.ima, v.IMAFrom = a.logs.IMA[whole:], uint64(entries)
			v.after = func(r *api.CheckInRequest) { r.Evidence.IMAFrom = entries }
		}))(t)
		if out.Verdict != "compliant" || out.IMAEntries != entries+1 {
			t.Errorf("%s with %d entries, want %d: %v", out.Verdict, out.IMAEntries, entries+1, out.Findings)
		}
	}
}
