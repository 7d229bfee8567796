package evidence_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"troth/attest"
	"troth/attest/eventlog"
	"troth/internal/evidence"
	"troth/policy"
)

// captured appraises the evidence of a real boot, with its event log as changed.
func captured(t *testing.T, name string, change func(log []byte) []byte) attest.Result {
	t.Helper()
	read := func(file string) []byte {
		b, err := os.ReadFile(filepath.Join("../../attest/testdata/captured", name, file))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	var manifest struct {
		Nonce string `json:"nonce"`
	}
	var pcrs attest.PCRs
	if err := json.Unmarshal(read("manifest.json"), &manifest); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(read("quote-sha256.pcrs.json"), &pcrs); err != nil {
		t.Fatal(err)
	}
	nonce, err := hex.DecodeString(manifest.Nonce)
	if err != nil {
		t.Fatal(err)
	}
	e := attest.Evidence{
		AK: read("ak.public"), Quote: read("quote-sha256"), Signature: read("quote-sha256.signature"), PCRs: pcrs, IMA: read("ima.ascii"),
	}
	if name != "grub-no-log" {
		e.EventLog = read("eventlog")
	}
	if change != nil {
		e.EventLog = change(e.EventLog)
	}
	r := attest.Appraise(e, attest.Expectation{QualifyingData: nonce})
	if err := r.Err(); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestFactsOfRealBoots(t *testing.T) {
	const microsoft = "48e99b991f57fc52f76149599bff0a58c47154229b9f8d603ac40d3500248507"
	shim := evidence.Attestation(captured(t, "shim-grub", nil))
	b := shim.Boot
	if !b.Known || !slices.Equal(b.Complete, []string{"option_roms", "command_lines", "shim"}) || len(b.Cut) != 0 {
		t.Errorf("known %v, complete %v, cut %v", b.Known, b.Complete, b.Cut)
	}
	if len(b.BootLoaders) != 4 || !strings.HasPrefix(b.BootLoaders[0].Digest, "80a66d53") || b.BootLoaders[0].Path != `\EFI\BOOT\BOOTX64.EFI` ||
		!strings.HasPrefix(b.BootLoaders[0].Device, "PciRoot(") || b.BootLoaders[0].Signer != microsoft || b.BootLoaders[1].Signer != "" {
		t.Errorf("boot loaders %+v", b.BootLoaders)
	}
	if len(b.Authorities) != 2 || b.Authorities[0] != (policy.AuthorityInput{Variable: "db", Fingerprint: microsoft, Verified: true}) || b.Authorities[1].Verified {
		t.Errorf("authorities %+v", b.Authorities)
	}
	if len(b.CommandLines) != 1 || !b.CommandLines[0].Verified || !strings.Contains(b.CommandLines[0].Text, " ima_policy=tcb ") {
		t.Errorf("command lines %+v", b.CommandLines)
	}
	if !b.SBATLevel.Known || !b.SBATLevel.Verified || !strings.HasPrefix(b.SBATLevel.Text, "sbat,1,2025021800\n") {
		t.Errorf("SBAT level %+v", b.SBATLevel)
	}
	if len(b.Files) != 3 || b.Files[1].Name != "/vmlinuz" || len(b.Other) != 0 {
		t.Errorf("files %+v, other %+v", b.Files, b.Other)
	}
	if len(b.Shim) != 3 || b.Shim[0].Name != "MokList" || len(b.OptionROMs) != 0 || len(b.Variables) != 4 || !b.SCRTMVersion.Known ||
		b.Exit != (policy.ExitInput{Known: true, Invoked: true, Succeeded: true}) {
		t.Errorf("%+v", b)
	}
	if !b.GPT.Known || !b.GPT.Verified || b.GPT.Partitions != 1 || len(b.GPT.Digest) != 64 {
		t.Errorf("GPT %+v", b.GPT)
	}
	if s := shim.SecureBoot; !s.Known || !s.Enabled || s.SetupMode || s.DebugMode || len(s.KEK) != 2 || len(s.DB) != 2 || s.DBXSize != 1 || len(s.DBXDigest) != 64 {
		t.Errorf("Secure Boot %+v", s)
	}
	if i := shim.IMA; !i.Given || i.Ahead != 1 || i.BootAggregate != "verified" || i.JudgedBy != "" || i.Violations != 1 {
		t.Errorf("IMA %+v", i)
	}

	uki := evidence.Attestation(captured(t, "uki", nil))
	if len(uki.Boot.Initrds) != 1 || len(uki.Boot.Sections) != 4 || !uki.Boot.Sections[0].Verified || !uki.SecureBoot.SetupMode || uki.SecureBoot.Enabled || uki.Boot.SBATLevel.Known {
		t.Errorf("UKI: %+v, %+v", uki.Boot.Sections, uki.SecureBoot)
	}
	if c := uki.Boot.CommandLines; len(c) != 1 || c[0].Verified || c[0].Text != "" || len(c[0].Digest) != 64 {
		t.Errorf("UKI: command lines %+v", c)
	}
	loader := evidence.Attestation(captured(t, "systemd-boot", nil))
	if c := loader.Boot.CommandLines; len(c) != 2 || c[0].PCR != 12 || !c[0].Verified || c[1].Verified || !slices.Contains(loader.Boot.Complete, "command_lines") {
		t.Errorf("systemd-boot: %+v, complete %v", c, loader.Boot.Complete)
	}
	none := evidence.Attestation(captured(t, "grub-no-log", nil))
	if none.Boot.Known || len(none.Boot.Complete) != 0 || none.SecureBoot.Known || none.EventLog.Given {
		t.Errorf("no log: %+v", none)
	}
}

// Labels of events are not authenticated. A kernel's command line under another
// label of the same length is still taken for one, and a list that hides a
// measurement does not claim to be complete.
func TestAttack_L1_RelabelledCommandLine(t *testing.T) {
	relabelled := captured(t, "shim-grub", func(log []byte) []byte {
		if !bytes.Contains(log, []byte("kernel_cmdline: /vmlinuz")) {
			t.Fatal("no command line to relabel")
		}
		return bytes.ReplaceAll(log, []byte("kernel_cmdline: "), []byte("module_cmdline: "))
	})
	if l := relabelled.EventLog.CommandLines; len(l) != 0 {
		t.Fatalf("the label still tells: %+v", l)
	}
	in := evidence.Attestation(relabelled)
	if l := in.Boot.CommandLines; len(l) != 1 || !l[0].Verified || !strings.HasPrefix(l[0].Text, "/vmlinuz ") {
		t.Errorf("the relabelled line is hidden: %+v", l)
	}
	unlabelled := captured(t, "shim-grub", func(log []byte) []byte {
		return bytes.ReplaceAll(log, []byte("kernel_cmdline: "), []byte("kernel_cmdline; "))
	})
	if in := evidence.Attestation(unlabelled); slices.Contains(in.Boot.Complete, "command_lines") {
		t.Errorf("a line is hidden, and the list claims to be complete: %+v", in.Boot.CommandLines)
	}
}

func TestAttack_L1_HiddenMeasurements(t *testing.T) {
	digest := bytes.Repeat([]byte{0xab}, 32)
	for name, c := range map[string]struct {
		list   string
		change func(*attest.Result)
	}{
		"option ROM under another type": {"option_roms", func(r *attest.Result) {
			r.PCRs["sha256"][2] = bytes.Repeat([]byte{7}, 32)
		}},
		"option ROM that was not measured": {"option_roms", func(r *attest.Result) {
			r.EventLog.Boot.OptionROMs = []eventlog.Image{{Sequence: 1, Digests: eventlog.Digests{{Bank: "sha256", Digest: digest}}}}
		}},
		"PCR 2 not quoted":   {"option_roms", func(r *attest.Result) { delete(r.PCRs["sha256"], 2) }},
		"MokList left out":   {"shim", func(r *attest.Result) { r.EventLog.Boot.Shim = r.EventLog.Boot.Shim[1:] }},
		"command left out":   {"command_lines", func(r *attest.Result) { r.EventLog.Boot.Commands = r.EventLog.Boot.Commands[1:] }},
		"add-on of the stub": {"command_lines", func(r *attest.Result) { r.PCRs["sha256"][12] = bytes.Repeat([]byte{7}, 32) }},
	} {
		t.Run(name, func(t *testing.T) {
			r := captured(t, "shim-grub", nil)
			c.change(&r)
			if in := evidence.Attestation(r); slices.Contains(in.Boot.Complete, c.list) {
				t.Errorf("%s claims to be complete", c.list)
			}
		})
	}
}

// Option ROMs come before the separator, and are complete with it.
func TestOptionROMsAreAccountedFor(t *testing.T) {
	r := captured(t, "shim-grub", nil)
	digest := bytes.Repeat([]byte{0xab}, 32)
	separator, err := hex.DecodeString("df3f619804a92fdb4057192dc43dd748ea778adc52bc498ce80524c014b81119")
	if err != nil {
		t.Fatal(err)
	}
	r.PCRs["sha256"][2] = extend(extend(make([]byte, 32), digest), separator)
	r.EventLog.Boot.OptionROMs = []eventlog.Image{{Sequence: 1, Digests: eventlog.Digests{{Bank: "sha256", Digest: digest}}}}
	in := evidence.Attestation(r)
	if !slices.Contains(in.Boot.Complete, "option_roms") || len(in.Boot.OptionROMs) != 1 {
		t.Errorf("complete %v, %+v", in.Boot.Complete, in.Boot.OptionROMs)
	}
}

func TestUnverifiedEvidenceHasNoBootFacts(t *testing.T) {
	r := captured(t, "shim-grub", nil)
	r.Verified = false
	if in := evidence.Attestation(r); in.Boot.Known || len(in.Boot.BootLoaders) != 0 {
		t.Errorf("%+v", in.Boot)
	}
	if in := evidence.Attestation(attest.Result{}); in.Boot.Known || in.SecureBoot.Known || in.IMA.Given || in.Verified {
		t.Errorf("%+v", in)
	}
}

func TestProblemsSayWhichAreWarnings(t *testing.T) {
	r := attest.Result{
		Problems: []attest.Problem{
			{Code: "event_out_of_place", Severity: attest.SeverityWarning}, {Code: "event_out_of_place", Severity: attest.SeverityWarning},
		},
		ClockProblems: []attest.Problem{
			{Code: "clock_went_back", Severity: attest.SeverityWarning}, {Code: "reset_count_went_back", Severity: attest.SeverityError},
		},
	}
	in := evidence.Attestation(r)
	if !slices.Equal(in.Problems, []string{"event_out_of_place", "clock_went_back", "reset_count_went_back"}) ||
		!slices.Equal(in.Warnings, []string{"event_out_of_place", "clock_went_back"}) {
		t.Errorf("problems %v, warnings %v", in.Problems, in.Warnings)
	}
}

// What a hostile log says is stored with each decision: it is bounded, and what
// was cut is named.
func TestFactsAreBounded(t *testing.T) {
	r := captured(t, "shim-grub", nil)
	long := strings.Repeat("é", 1<<16)
	boot := r.EventLog.Boot
	for i := range 5000 {
		boot.Shim = append(boot.Shim, eventlog.Named{PCR: 14, Name: long, Digests: eventlog.Digests{{Bank: "sha256", Digest: []byte{0}}}})
		boot.Variables = append(boot.Variables, eventlog.BootVariable{Name: long, Description: long, Device: long, Order: make([]uint16, 5000)})
		boot.Authorities = append(boot.Authorities, eventlog.Authority{Variable: long})
		boot.Sections = append(boot.Sections, eventlog.Named{Name: long})
		boot.OptionROMs = append(boot.OptionROMs, eventlog.Image{Path: long, Device: long})
		r.EventLog.CommandLines = append(r.EventLog.CommandLines, eventlog.CommandLine{PCR: 8, Text: long, Verified: true})
		r.EventLog.BootLoaders = append(r.EventLog.BootLoaders, eventlog.Image{Path: long})
		r.SecureBoot.DBX = append(r.SecureBoot.DBX, fmt.Sprintf("%064x", i))
		r.IMAUnknown = append(r.IMAUnknown, attest.UnknownFile{Name: long, Algorithm: "sha256", Digest: make([]byte, 32)})
	}
	r.SecureBoot.DBXEntries = len(r.SecureBoot.DBX)
	boot.SBATLevel.Text = long
	in := evidence.Attestation(r)
	if in.SecureBoot.DBXSize != 5001 || len(in.SecureBoot.DBX) != 1024 || !slices.Equal(in.SecureBoot.Cut, []string{"dbx"}) {
		t.Errorf("dbx: %d of %d, cut %v", len(in.SecureBoot.DBX), in.SecureBoot.DBXSize, in.SecureBoot.Cut)
	}
	for _, name := range []string{"authorities", "boot_loaders", "command_lines", "option_roms", "sections", "shim", "variables"} {
		if !slices.Contains(in.Boot.Cut, name) || slices.Contains(in.Boot.Complete, name) {
			t.Errorf("%s: cut %v, complete %v", name, in.Boot.Cut, in.Boot.Complete)
		}
	}
	if in.Boot.SBATLevel.Verified || len(in.IMA.UnknownFiles) > 8 {
		t.Errorf("%v, %d unknown files", in.Boot.SBATLevel.Verified, len(in.IMA.UnknownFiles))
	}
	document, err := policy.Document(policy.PostureInput{Now: time.Unix(1, 0), Attestation: in})
	if err != nil || len(document) > 1<<20 {
		t.Errorf("a document of %d bytes, %v", len(document), err)
	}
}

// A real boot's facts stay small: they are stored with each decision.
func TestFactsOfARealBootAreSmall(t *testing.T) {
	in := evidence.Attestation(captured(t, "shim-grub", nil))
	document, err := policy.Document(policy.PostureInput{Now: time.Unix(1, 0), Attestation: in})
	if err != nil || len(document) > 16<<10 {
		t.Errorf("a document of %d bytes, %v", len(document), err)
	}
	t.Logf("%d bytes", len(document))
}

func extend(value, digest []byte) []byte {
	sum := sha256.Sum256(append(value, digest...))
	return sum[:]
}
