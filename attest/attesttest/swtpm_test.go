package attesttest_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"

	"troth/attest/attesttest"
	"troth/attest/tpm"
)

// maker is the one manufacturer of these tests, because making one is slow.
var maker *attesttest.Manufacturer

func TestMain(m *testing.M) {
	if dir := os.Getenv("ATTESTTEST_ORPHAN"); dir != "" {
		orphan(dir)
	}
	os.Exit(withMaker(m.Run))
}

func withMaker(run func() int) int {
	dir, err := os.MkdirTemp("", "tr")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	if maker, err = attesttest.NewManufacturer(dir, "acme"); err != nil {
		panic(err)
	}
	return run()
}

// started powers a TPM on, with the time it took, and off at the end.
func started(t *testing.T, s *attesttest.SWTPM, err error) *attesttest.SWTPM {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	if err := s.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	t.Logf("start took %v", time.Since(begin))
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestManufacture(t *testing.T) {
	ctx := context.Background()
	makers := map[string]func(context.Context, string) (*attesttest.SWTPM, error){
		"rsa": maker.NewTPM, "ecc": maker.NewECCTPM, "bare": maker.NewBareTPM,
	}
	for name, manufacture := range makers {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "state")
			begin := time.Now()
			s, err := manufacture(ctx, dir)
			t.Logf("manufacture took %v", time.Since(begin))
			s = started(t, s, err)
			first := readEK(t, s)
			if (first.Certificate == nil) != (name == "bare") {
				t.Errorf("certificate of %d bytes", len(first.Certificate))
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			again, err := manufacture(ctx, dir)
			again = started(t, again, err)
			if got := readEK(t, again); string(got.Public) != string(first.Public) {
				t.Error("opening the state again made another TPM")
			}
			left, err := filepath.Glob(filepath.Join(filepath.Dir(dir), ".tpm-*"))
			if err != nil || len(left) != 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}

func readEK(t *testing.T, s *attesttest.SWTPM) tpm.EK {
	t.Helper()
	c, err := tpm.Open(s.Spec())
	if err != nil {
		t.Fatal(err)
	}
	dev := tpm.New(c)
	defer dev.Close()
	ek, err := dev.EK()
	if err != nil {
		t.Fatal(err)
	}
	return ek
}

func TestManufacturerIsStable(t *testing.T) {
	dir := t.TempDir()
	var pems []string
	for range 2 {
		m, err := attesttest.NewManufacturer(dir, "acme")
		if err != nil {
			t.Fatal(err)
		}
		pem, err := m.RootsPEM()
		if err != nil {
			t.Fatal(err)
		}
		pems = append(pems, string(pem))
	}
	if pems[0] != pems[1] || strings.Count(pems[0], "BEGIN CERTIFICATE") != 2 {
		t.Errorf("certificates changed or are not two:\n%s\n%s", pems[0], pems[1])
	}
	if _, err := attesttest.NewManufacturer(t.TempDir(), "a b\n--x"); err == nil {
		t.Error("name with spaces accepted")
	}
}

func TestPowerCycle(t *testing.T) {
	ctx := context.Background()
	s, err := maker.NewBareTPM(ctx, filepath.Join(t.TempDir(), "s"))
	s = started(t, s, err)
	spec := s.Spec()
	c, err := tpm.Open(spec)
	if err != nil {
		t.Fatal(err)
	}
	clock := func() *tpm2.TPMSClockInfo {
		rsp, err := tpm2.ReadClock{}.Execute(c)
		if err != nil {
			t.Fatal(err)
		}
		return &rsp.CurrentTime.ClockInfo
	}
	before := clock()
	for i := range 3 {
		begin := time.Now()
		if err := s.PowerCycle(ctx); err != nil {
			t.Fatal(err)
		}
		t.Logf("power cycle took %v", time.Since(begin))
		after := clock()
		if after.ResetCount != before.ResetCount+uint32(i)+1 || !after.Safe {
			t.Errorf("cycle %d: clock %+v, was %+v", i, after, before)
		}
		if s.Spec() != spec {
			t.Errorf("socket moved from %s to %s", spec, s.Spec())
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
	if _, err := os.Stat(filepath.Dir(strings.TrimPrefix(spec, "unix:"))); !os.IsNotExist(err) {
		t.Errorf("sockets left behind: %v", err)
	}
}

func TestStartReportsWhy(t *testing.T) {
	ctx := context.Background()
	dir := filepath.Join(t.TempDir(), "s")
	s, err := maker.NewBareTPM(ctx, dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "tpm2-00.permall"), []byte("rubbish"), 0o600); err != nil {
		t.Fatal(err)
	}
	err = s.Start(ctx)
	if err == nil {
		t.Fatal("damaged state started")
	}
	t.Log(err)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// orphan is this test program as one that starts a TPM and never ends it.
func orphan(dir string) {
	ctx := context.Background()
	m, err := attesttest.NewManufacturer(filepath.Join(dir, "m"), "acme")
	if err != nil {
		panic(err)
	}
	s, err := m.NewBareTPM(ctx, filepath.Join(dir, "s"))
	if err != nil {
		panic(err)
	}
	if err := s.Start(ctx); err != nil {
		panic(err)
	}
	fmt.Println(s.Spec())
	select {}
}

// A swtpm does not outlive a program that was killed.
func TestKilledParent(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "ATTESTTEST_ORPHAN="+t.TempDir())
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	socket := strings.TrimSpace(strings.TrimPrefix(line, "unix:"))
	t.Cleanup(func() { os.RemoveAll(filepath.Dir(socket)) })
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatalf("TPM is not there: %v", err)
	}
	conn.Close()
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed, and says so
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if conn, err = net.Dial("unix", socket); err != nil {
			return
		}
		conn.Close()
	}
	t.Error("swtpm still runs")
}

// A swtpm that dies by itself is noticed, and can be started again.
func TestDeadTPMStartsAgain(t *testing.T) {
	ctx := context.Background()
	s, err := maker.NewBareTPM(ctx, filepath.Join(t.TempDir(), "s"))
	s = started(t, s, err)
	ctrl := filepath.Join(filepath.Dir(strings.TrimPrefix(s.Spec(), "unix:")), "ctrl")
	conn, err := net.Dial("unix", ctrl)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte{0, 0, 0, 3}); err != nil { // CMD_SHUTDOWN
		t.Fatal(err)
	}
	_, _ = conn.Read(make([]byte, 4))
	conn.Close()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if err := s.Start(ctx); err != nil {
			t.Fatal(err)
		}
		if c, err := tpm.Open(s.Spec()); err == nil {
			_, err = tpm2.ReadClock{}.Execute(c)
			c.Close()
			if err == nil {
				return
			}
		}
	}
	t.Error("TPM did not come back")
}
