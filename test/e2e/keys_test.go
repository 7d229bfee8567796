package e2e

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"

	"troth/attest/attesttest"
	"troth/attest/ek"
	"troth/attest/ek/template"
	"troth/attest/tpm"
	"troth/internal/agent"
	"troth/internal/fleet"
)

// journal is an agent's log.
type journal struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.Write(b)
}

func (j *journal) text() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.String()
}

func (j *journal) has(words string) bool { return strings.Contains(j.text(), words) }

func (j *journal) logger() *slog.Logger { return slog.New(slog.NewTextHandler(j, nil)) }

// runs has the agent work on state until the device has enrolled so many times,
// and returns its log.
func (a *attacker) runs(state string, enrolments int, edit func(*agent.Config)) *journal {
	a.t.Helper()
	j := &journal{}
	stop := a.runAgent(state, func(c *agent.Config) {
		c.Log = j.logger()
		if edit != nil {
			edit(c)
		}
	})
	eventually(a.t, 15*time.Second, "the device is enrolled and judged", func() (string, bool) {
		k, n := a.service.kept(a.t, a.id), 0
		for _, e := range k.Events {
			if e.Action == "device.enroll" {
				n++
			}
		}
		return fmt.Sprintf("%d enrolments\n%s", n, j.text()), n == enrolments && k.Posture != nil
	})
	if err := stop(); err != nil {
		a.t.Fatal(err)
	}
	return j
}

func clearTPM(t testing.TB, a *attacker) {
	t.Helper()
	platform := tpm2.AuthHandle{Handle: tpm2.TPMRHPlatform, Auth: tpm2.PasswordAuth(nil)}
	if _, err := (tpm2.Clear{AuthHandle: platform}).Execute(a.link); err != nil {
		t.Fatal(err)
	}
}

// An agent whose TPM was cleared enrols anew with new keys, as the same device,
// and an operator is told.
func TestAttack_K8_ClearedTPMOfAnAgent(t *testing.T) {
	t.Parallel()
	s := everyones(t)
	a := newAttacker(t, s)
	state := t.TempDir()
	a.runs(state, 1, nil)
	old := must(os.ReadFile(filepath.Join(state, "keys.json")))(t)
	clearTPM(t, a)
	j := a.runs(state, 2, nil)
	if !j.has("TPM was cleared") || !j.has("new_keys") {
		t.Errorf("the agent does not say what happened: %s", j.text())
	}
	if aside := must(os.ReadFile(filepath.Join(state, "keys.old.json")))(t); !bytes.Equal(aside, old) {
		t.Error("the old keys were not put aside")
	}
	k := s.kept(t, a.id)
	if _, told := k.open(fleet.KeyNewKeys); !told || len(k.live()) != 1 || k.in("revoked") != 1 {
		t.Errorf("alerts %+v, certificates %+v", k.Alerts, k.Certificates)
	}
	j = a.runs(state, 2, nil) // started again, nothing is new
	if j.has("cleared") || j.has("replaced") {
		t.Errorf("the new keys did not stay: %s", j.text())
	}
}

// Somebody may clear the TPM while the agent runs.
func TestAttack_K8_ClearedWhileTheAgentRuns(t *testing.T) {
	t.Parallel()
	s := newService(t, quick)
	a := newAttacker(t, s)
	p := newProxy(t, a.chip)
	j := &journal{}
	stop := a.runAgent(t.TempDir(), func(c *agent.Config) { c.Log, c.TPM = j.logger(), p.spec })
	enrolments := func() (n int) {
		for _, e := range s.kept(t, a.id).Events {
			if e.Action == "device.enroll" {
				n++
			}
		}
		return n
	}
	eventually(t, 15*time.Second, "the device is enrolled", func() (string, bool) { return j.text(), enrolments() == 1 })
	p.before(tpm2.TPMCCQuote, []byte{0x80, 0x02, 0, 0, 0, 27, 0, 0, 0x01, 0x26, 0x40, 0, 0, 0x0c, 0, 0, 0, 9, 0x40, 0, 0, 9, 0, 0, 0, 0, 0}) // TPM2_Clear
	eventually(t, 15*time.Second, "the device is enrolled again", func() (string, bool) { return j.text(), enrolments() == 2 })
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if _, told := s.kept(t, a.id).open(fleet.KeyNewKeys); !told {
		t.Error("nobody is told of the new keys")
	}
}

// Another TPM under an agent's state is another device: it does not speak for the
// old one.
func TestAttack_K8_ReplacedTPMOfAnAgent(t *testing.T) {
	t.Parallel()
	s := everyones(t)
	old, other := newAttacker(t, s), newAttacker(t, s)
	state := t.TempDir()
	old.runs(state, 1, nil)
	before := s.kept(t, old.id)
	j := other.runs(state, 1, nil)
	if !j.has("TPM was replaced") || !j.has("registers its new EK hash") {
		t.Errorf("the agent does not say what happened: %s", j.text())
	}
	same(t, "of the device whose TPM is gone", before, s.kept(t, old.id))
	if _, err := os.Stat(filepath.Join(state, "keys.old.json")); err != nil {
		t.Error("the old keys were not put aside")
	}
}

// A certificate that a TPM is given later for another EK, which the agent would
// have preferred, does not make it another device.
func TestAttack_K8_MoreEKsLater(t *testing.T) {
	t.Parallel()
	s := everyones(t)
	a := newAttackerWith(t, s, func(ctx context.Context, dir string) (*attesttest.SWTPM, error) {
		return maker(t).NewTPMWith(ctx, dir, attesttest.Factory{EKs: []attesttest.FactoryEK{{Template: template.H3}}})
	})
	state := t.TempDir()
	a.runs(state, 1, nil)
	if err := maker(t).Install(t.Context(), a.link, attesttest.FactoryEK{Template: template.L2}); err != nil {
		t.Fatal(err)
	}
	if e := must(tpm.New(a.link).EK())(t); e.Template != template.L2 {
		t.Fatalf("the preferred EK is %s, so this test tries nothing", e.Template)
	}
	a.runs(state, 1, nil)
	// "troth-agent id" says what the agent goes by, and for no agent or one of
	// another TPM what this TPM would be.
	elsewhere := newAttacker(t, s)
	for dir, want := range map[string]string{state: a.id, t.TempDir(): ek.DeviceID(must(tpm.New(a.link).EK())(t).Public)} {
		if got := must(agent.DeviceID(a.chip.Spec(), dir))(t); string(got) != want {
			t.Errorf("the id with state directory %s is %s, want %s", dir, got, want)
		}
	}
	if got := must(agent.DeviceID(elsewhere.chip.Spec(), state))(t); string(got) != elsewhere.id {
		t.Errorf("the id of another TPM is %s, want %s", got, elsewhere.id)
	}
	clearTPM(t, a)
	if err := os.Remove(filepath.Join(state, "credential.json")); err != nil {
		t.Fatal(err)
	}
	a.runs(state, 2, nil)
}

// A TPM that is busy or locked out is waited for.
func TestAgentWaitsForTheTPM(t *testing.T) {
	t.Parallel()
	s := everyones(t)
	for name, tt := range map[string]struct {
		code tpm2.TPMRC
		says string
	}{
		"busy":       {tpm2.TPMRCTesting, "the TPM is busy"},
		"locked out": {tpm2.TPMRCLockout, "wrong authorizations are not forgotten; the TPM forgets one in"},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAttacker(t, s)
			p := newProxy(t, a.chip)
			p.refuse(2, tt.code)
			j := a.runs(t.TempDir(), 1, func(c *agent.Config) { c.TPM = p.spec })
			if !j.has(tt.says) || p.left() != 0 {
				t.Errorf("the log says %s", j.text())
			}
		})
	}
}

// proxy stands between an agent and its TPM.
type proxy struct {
	spec string

	mu       sync.Mutex
	refusals int        // of the next commands that make a primary key
	code     tpm2.TPMRC // with this answer
	command  tpm2.TPMCC // before the next of these,
	injected []byte     // this is sent
}

func newProxy(t testing.TB, chip *attesttest.SWTPM) *proxy {
	t.Helper()
	dir := must(os.MkdirTemp("", "tr"))(t)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	p := &proxy{spec: "unix:" + dir + "/tpm"}
	l := must(net.Listen("unix", dir+"/tpm"))(t)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go p.serve(c, strings.TrimPrefix(chip.Spec(), "unix:"))
		}
	}()
	return p
}

func (p *proxy) refuse(n int, code tpm2.TPMRC) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refusals, p.code = n, code
}

func (p *proxy) left() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.refusals
}

func (p *proxy) before(command tpm2.TPMCC, injected []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.command, p.injected = command, injected
}

// instead is the answer to a command that the TPM is not to see, and what it is
// to see before it.
func (p *proxy) instead(command tpm2.TPMCC) (answer, first []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if command == tpm2.TPMCCCreatePrimary && p.refusals > 0 {
		p.refusals--
		return binary.BigEndian.AppendUint32([]byte{0x80, 0x01, 0, 0, 0, 10}, uint32(p.code)), nil
	}
	if command == p.command {
		first, p.injected = p.injected, nil
	}
	return nil, first
}

func (p *proxy) serve(client net.Conn, socket string) {
	defer client.Close()
	chip, err := net.Dial("unix", socket)
	if err != nil {
		return
	}
	defer chip.Close()
	for {
		command, err := message(client)
		if err != nil {
			return
		}
		answer, first := p.instead(tpm2.TPMCC(binary.BigEndian.Uint32(command[6:])))
		for _, m := range [][]byte{first, command} {
			if m == nil || answer != nil {
				continue
			}
			if _, err := chip.Write(m); err != nil {
				return
			}
			got, err := message(chip)
			if err != nil {
				return
			}
			if &m[0] == &command[0] {
				answer = got
			}
		}
		if _, err := client.Write(answer); err != nil {
			return
		}
	}
}

// message reads a TPM command or response.
func message(r io.Reader) ([]byte, error) {
	header := make([]byte, 10)
	if _, err := io.ReadFull(r, header); err != nil {
		return nil, err
	}
	rest := make([]byte, binary.BigEndian.Uint32(header[2:])-10)
	_, err := io.ReadFull(r, rest)
	return slices.Concat(header, rest), err
}
