package attesttest_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"troth/attest/attesttest"
	"troth/attest/tpm"
)

// machine is a running TPM that can be booted again and again.
type machine struct {
	dev   *tpm.TPM
	swtpm *attesttest.SWTPM
}

func newMachine(t *testing.T) machine {
	t.Helper()
	s, err := maker.NewBareTPM(context.Background(), filepath.Join(t.TempDir(), "s"))
	s = started(t, s, err)
	c, err := tpm.Open(s.Spec())
	if err != nil {
		t.Fatal(err)
	}
	d := tpm.New(c)
	t.Cleanup(func() { d.Close() })
	return machine{d, s}
}

// boot power-cycles the machine, boots it, and returns the PCRs 0 to 10.
func (m machine) boot(t *testing.T, p attesttest.Platform, i attesttest.Image) (attesttest.BootLogs, map[string]map[int][]byte) {
	t.Helper()
	if err := m.swtpm.PowerCycle(context.Background()); err != nil {
		t.Fatal(err)
	}
	c, err := tpm.Open(m.swtpm.Spec())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	begin := time.Now()
	logs, err := attesttest.Boot(c, p, i)
	t.Logf("boot took %v", time.Since(begin))
	if err != nil {
		t.Fatal(err)
	}
	ten := []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10}
	pcrs, err := m.dev.PCRs(map[string][]int{"sha1": ten, "sha256": ten, "sha384": ten})
	if err != nil {
		t.Fatal(err)
	}
	return logs, pcrs
}

func TestReferencePredictsBoot(t *testing.T) {
	m := newMachine(t)
	off := attesttest.PlatformFor("edge-200")
	off.SecureBoot, off.PK, off.KEK, off.DB, off.DBX = false, nil, nil, nil, nil
	for name, tt := range map[string]struct {
		p attesttest.Platform
		i attesttest.Image
	}{
		"secure boot":    {attesttest.PlatformFor("edge-100"), attesttest.NewImage("edge-100", "1.0.0")},
		"no secure boot": {off, attesttest.NewImage("edge-200", "2.0.0")},
		"empty":          {attesttest.Platform{}, attesttest.Image{}},
	} {
		t.Run(name, func(t *testing.T) {
			_, pcrs := m.boot(t, tt.p, tt.i)
			want := attesttest.Reference(tt.p, tt.i)
			if len(want) != 10 {
				t.Errorf("reference of %d PCRs", len(want))
			}
			for pcr, value := range want {
				if !bytes.Equal(value, pcrs["sha256"][pcr]) {
					t.Errorf("PCR %d is %x, predicted %x", pcr, pcrs["sha256"][pcr], value)
				}
			}
		})
	}
}

func TestWhatChangesWhichPCR(t *testing.T) {
	p, i := attesttest.PlatformFor("edge-100"), attesttest.NewImage("edge-100", "1.0.0")
	base := attesttest.Reference(p, i)
	for name, tt := range map[string]struct {
		change func(*attesttest.Platform, *attesttest.Image)
		want   []int
	}{
		"boot loader":  {func(_ *attesttest.Platform, i *attesttest.Image) { i.BootLoader = []byte("MZ evil") }, []int{4}},
		"kernel":       {func(_ *attesttest.Platform, i *attesttest.Image) { i.Kernel = []byte("MZ evil") }, []int{9}},
		"command line": {func(_ *attesttest.Platform, i *attesttest.Image) { i.CommandLine += " init=/bin/sh" }, []int{8}},
		"S-CRTM":       {func(p *attesttest.Platform, _ *attesttest.Image) { p.SCRTMVersion = "0.9" }, []int{0}},
		"secure boot":  {func(p *attesttest.Platform, _ *attesttest.Image) { p.SecureBoot = false }, []int{7}},
		"db":           {func(p *attesttest.Platform, _ *attesttest.Image) { p.DB = nil }, []int{7}},
		"files": {func(_ *attesttest.Platform, i *attesttest.Image) {
			i.Files = append(i.Files, attesttest.File{Path: "/bin/x"})
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			p, i := p, i
			tt.change(&p, &i)
			var got []int
			changed := attesttest.Reference(p, i)
			for pcr := range 10 {
				if !bytes.Equal(changed[pcr], base[pcr]) {
					got = append(got, pcr)
				}
			}
			if fmt.Sprint(got) != fmt.Sprint(tt.want) {
				t.Errorf("changed PCRs %v, want %v", got, tt.want)
			}
		})
	}
}

// tpm2-tools reads the log and replays it to the TPM's values in all banks.
func TestEventLogBySecondOpinion(t *testing.T) {
	tool, err := exec.LookPath("tpm2_eventlog")
	if err != nil {
		t.Skip("NOT TESTED: tpm2_eventlog is missing (package tpm2-tools)")
	}
	logs, pcrs := newMachine(t).boot(t, attesttest.PlatformFor("edge-100"), attesttest.NewImage("edge-100", "1.0.0"))
	file := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(file, logs.EventLog, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(tool, file).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	_, replayed, ok := strings.Cut(string(out), "\npcrs:\n")
	if !ok {
		t.Fatalf("no PCRs in %s", out)
	}
	var bank string
	seen := 0
	for line := range strings.Lines(replayed) {
		if m := regexp.MustCompile(`^  (sha\d+):`).FindStringSubmatch(line); m != nil {
			bank = m[1]
			continue
		}
		var (
			pcr   int
			value string
		)
		if n, _ := fmt.Sscanf(line, " %d : 0x%s", &pcr, &value); n != 2 {
			continue
		}
		seen++
		if want := hex.EncodeToString(pcrs[bank][pcr]); value != want {
			t.Errorf("%s:%d replays to %s, TPM has %s", bank, pcr, value, want)
		}
	}
	if seen != 30 {
		t.Errorf("tool replayed %d PCRs of 30:\n%s", seen, replayed)
	}
	for _, what := range []string{"EV_S_CRTM_VERSION", "EV_EFI_VARIABLE_AUTHORITY", "SecureBoot", "EV_EFI_BOOT_SERVICES_APPLICATION", "kernel_cmdline: /vmlinuz root=", "Spec ID Event03"} {
		if !strings.Contains(string(out), what) {
			t.Errorf("tool does not show %q", what)
		}
	}
}

func TestIMAListExplainsPCR10(t *testing.T) {
	image := attesttest.NewImage("edge-100", "1.0.0")
	image.Files = append(image.Files, attesttest.File{Path: "/opt/with space", Content: []byte("x")})
	logs, pcrs := newMachine(t).boot(t, attesttest.PlatformFor("edge-100"), image)
	lines := strings.Split(strings.TrimSuffix(string(logs.IMA), "\n"), "\n")
	if len(lines) != 1+len(image.Files) {
		t.Fatalf("list of %d lines:\n%s", len(lines), logs.IMA)
	}
	pcr10 := make([]byte, 32)
	for _, line := range lines {
		fields := strings.Fields(line)
		if len(fields) != 5 || fields[0] != "10" || fields[2] != "ima-ng" {
			t.Fatalf("line %q", line)
		}
		digest, err := hex.DecodeString(strings.TrimPrefix(fields[3], "sha256:"))
		if err != nil {
			t.Fatal(err)
		}
		template := binary.LittleEndian.AppendUint32(nil, 40)
		template = append(append(template, "sha256:\x00"...), digest...)
		template = binary.LittleEndian.AppendUint32(template, uint32(len(fields[4])+1))
		template = append(append(template, fields[4]...), 0)
		hash := sha256.Sum256(template)
		sum := sha256.Sum256(append(pcr10, hash[:]...))
		pcr10 = sum[:]
	}
	if !bytes.Equal(pcr10, pcrs["sha256"][10]) {
		t.Errorf("list replays to %x, TPM has %x", pcr10, pcrs["sha256"][10])
	}
	h := sha256.New()
	for i := range 10 {
		h.Write(pcrs["sha256"][i])
	}
	if want := fmt.Sprintf("sha256:%x boot_aggregate", h.Sum(nil)); !strings.HasSuffix(lines[0], want) {
		t.Errorf("first line is %q, want …%s", lines[0], want)
	}
}

func TestBootNeedsReset(t *testing.T) {
	m := newMachine(t)
	p, i := attesttest.PlatformFor("edge-100"), attesttest.NewImage("edge-100", "1.0.0")
	m.boot(t, p, i)
	c, err := tpm.Open(m.swtpm.Spec())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := attesttest.Boot(c, p, i); !errors.Is(err, attesttest.ErrNotReset) {
		t.Errorf("second boot: %v", err)
	}
	m.boot(t, p, i)
	if err := m.swtpm.PowerOff(); err != nil {
		t.Fatal(err)
	}
	if _, err := attesttest.Boot(c, p, i); err == nil {
		t.Error("booted without power")
	}
}
