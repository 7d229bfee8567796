package attesttest_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"

	"troth/attest/attesttest"
	"troth/attest/tpm"
)

func newManufacturer(t *testing.T) *attesttest.Manufacturer {
	t.Helper()
	m, err := attesttest.NewManufacturer(filepath.Join(t.TempDir(), "m"), "acme")
	if err != nil {
		t.Fatal(err)
	}
	return m
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
	m := newManufacturer(t)
	makers := map[string]func(context.Context, string) (*attesttest.SWTPM, error){
		"rsa": m.NewTPM, "ecc": m.NewECCTPM, "bare": m.NewBareTPM,
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
	s, err := newManufacturer(t).NewBareTPM(ctx, filepath.Join(t.TempDir(), "s"))
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
	s, err := newManufacturer(t).NewBareTPM(ctx, dir)
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
