package reference_test

import (
	"os"
	"path/filepath"
	"testing"

	"troth/attest/attesttest"
	"troth/attest/eventlog"
	"troth/attest/reference"
	"troth/attest/tpm"
)

// TestReplaceSimulated boots release N on a software TPM, and predicts N+1 from
// its log and the new files. Simulated boot loaders are no PE images: they are
// measured as they are.
func TestReplaceSimulated(t *testing.T) {
	dir, err := os.MkdirTemp("", "tr")
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	maker, err := attesttest.NewManufacturer(filepath.Join(dir, "maker"), "acme")
	must(t, err)
	chip, err := maker.NewECCTPM(t.Context(), filepath.Join(dir, "tpm"))
	must(t, err)
	t.Cleanup(func() { _ = chip.Close() })
	must(t, chip.Start(t.Context()))
	conn, err := tpm.Open(chip.Spec())
	must(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	platform := attesttest.PlatformFor("edge-100")
	logs, err := attesttest.Boot(conn, platform, attesttest.NewImage("edge-100", "1.0.0"))
	must(t, err)
	log, err := eventlog.Parse(logs.EventLog)
	must(t, err)

	next := attesttest.NewImage("edge-100", "1.1.0")
	next.CommandLine += " audit=1"
	line := "BOOT_IMAGE=/vmlinuz " + next.CommandLine
	p, err := reference.Replace(log, reference.Release{
		Path: path(t, "grub+kernel"),
		Images: map[reference.Role]reference.Image{
			reference.GRUB:   {Name: "boot loader", Authenticode: reference.Hash(next.BootLoader)},
			reference.Kernel: {Name: "kernel", Content: reference.Hash(next.Kernel)},
		},
		CommandLine: &line,
	})
	must(t, err)
	for pcr, want := range attesttest.Reference(platform, next) {
		if got := p.PCRs["sha256"][pcr]; string(got) != string(want) {
			t.Errorf("PCR %d is predicted as %s, a device has %x", pcr, got, want)
		}
	}
}
