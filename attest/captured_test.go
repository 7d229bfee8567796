package attest_test

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"troth/attest"
	"troth/attest/ek"
	"troth/attest/eventlog"
	"troth/attest/ima"
)

// captured is the evidence of one real boot (testdata/captured/README.md), with
// what is known of it from elsewhere than its logs.
type captured struct {
	Name        string    `json:"name"`
	CapturedAt  time.Time `json:"captured_at"`
	Nonce       string    `json:"nonce"`
	CommandLine string    `json:"command_line"`
	SecureBoot  struct {
		Enabled          bool
		PK, KEK, DB, DBX []string
	} `json:"secure_boot"`
	Images []struct {
		File         string            `json:"file"`
		Authenticode map[string]string `json:"authenticode"`
	} `json:"images"`

	dir string
}

const capturedDir = "testdata/captured"

// capturedBoots loads all scenarios.
func capturedBoots(t testing.TB) []captured {
	t.Helper()
	manifests, err := filepath.Glob(filepath.Join(capturedDir, "*", "manifest.json"))
	if err != nil || len(manifests) < 6 {
		t.Fatalf("captured evidence: %d boots, %v; make capture", len(manifests), err)
	}
	var all []captured
	for _, path := range manifests {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		c := captured{dir: filepath.Dir(path)}
		if err := json.Unmarshal(text, &c); err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
	}
	return all
}

func capturedBoot(t testing.TB, name string) captured {
	t.Helper()
	for _, c := range capturedBoots(t) {
		if c.Name == name {
			return c
		}
	}
	t.Fatalf("no captured boot %s", name)
	return captured{}
}

// read gives a file of the boot, nil where there is none.
func (c captured) read(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(c.dir, name))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return data
}

// evidence is the quote of a bank, or "all" of them in one, with both logs.
func (c captured) evidence(t testing.TB, quote string) attest.Evidence {
	t.Helper()
	e := attest.Evidence{AK: c.read(t, "ak.public"), Quote: c.read(t, "quote-"+quote),
		Signature: c.read(t, "quote-"+quote+".signature"), EventLog: c.read(t, "eventlog"), IMA: c.read(t, "ima.ascii")}
	if err := json.Unmarshal(c.read(t, "quote-"+quote+".pcrs.json"), &e.PCRs); err != nil {
		t.Fatal(err)
	}
	return e
}

// want is what a verifier requires that asked for the quote.
func (c captured) want(t testing.TB, quote string) attest.Expectation {
	t.Helper()
	nonce, err := hex.DecodeString(c.Nonce)
	if err != nil {
		t.Fatal(err)
	}
	want := attest.Expectation{QualifyingData: nonce, AllowSHA1: true, RequireAttributes: true, Selection: map[string][]int{}}
	for _, bank := range banksOf(quote) {
		for pcr := range 24 {
			want.Selection[bank] = append(want.Selection[bank], pcr)
		}
	}
	return want
}

func banksOf(quote string) []string {
	if quote == "all" {
		return []string{"sha1", "sha256", "sha384"}
	}
	return []string{quote}
}

func TestCapturedVerifies(t *testing.T) {
	for _, c := range capturedBoots(t) {
		for _, quote := range []string{"sha1", "sha256", "sha384", "all"} {
			for _, list := range []string{"ima.ascii", "ima.binary"} {
				t.Run(c.Name+"/"+quote+"/"+list, func(t *testing.T) {
					e := c.evidence(t, quote)
					e.IMA = c.read(t, list)
					checkCaptured(t, c, quote, attest.Appraise(e, c.want(t, quote)))
				})
			}
		}
	}
}

func checkCaptured(t *testing.T, c captured, quote string, r attest.Result) {
	t.Helper()
	if !r.Verified {
		t.Fatalf("not verified: %v", r.Problems)
	}
	// The kernel had no SHA-384 when IMA started.
	padded := slices.Contains(banksOf(quote), "sha384")
	has, want := c.Name != "grub-no-log", []string{}
	if !has {
		want = append(want, attest.CodeUnexplainedPCR)
	}
	if padded {
		want = append(want, attest.CodeIMASHA1Padded)
	}
	if got := codes(r, attest.SeverityWarning); !slices.Equal(got, want) || len(r.Problems) != len(want) {
		t.Errorf("problems %v, want warnings %v", r.Problems, want)
	}
	if has != r.EventLog.Given || has != (r.SecureBoot != nil) {
		t.Errorf("event log %v, Secure Boot %v", r.EventLog, r.SecureBoot)
	} else if !has && !slices.Equal(r.EventLog.UnexplainedPCRs, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}) {
		t.Errorf("unexplained PCRs %v of a boot without a log", r.EventLog.UnexplainedPCRs)
	} else if has && (!r.EventLog.Replayed || len(r.EventLog.UnexplainedPCRs) > 0 || r.EventLog.Events < 20) {
		t.Errorf("event log %+v", *r.EventLog)
	}
	entries, violations, ahead := 9, 1, 1
	if c.Name == "uki" { // boot_aggregate alone
		entries, violations, ahead = 1, 0, 0
	}
	if !r.IMA.Replayed || r.IMA.Entries != entries || r.IMA.Violations != violations || r.IMA.Ahead != ahead {
		t.Errorf("IMA %+v, want %d entries, %d violations, %d ahead", *r.IMA, entries, violations, ahead)
	}
	if r.Clock == nil || !r.Clock.Safe || r.Clock.ResetCount == 0 || r.Clock.Clock == 0 {
		t.Errorf("clock %+v", r.Clock)
	}
}

// TestCapturedReplays compares the logs with the PCRs without Appraise.
func TestCapturedReplays(t *testing.T) {
	for _, c := range capturedBoots(t) {
		t.Run(c.Name, func(t *testing.T) {
			pcrs := c.evidence(t, "all").PCRs
			if c.Name != "grub-no-log" {
				log, err := eventlog.Parse(c.read(t, "eventlog"))
				if err != nil {
					t.Fatal(err)
				}
				replay := log.Replay()
				for _, bank := range banksOf("all") {
					for pcr, value := range replay[bank] {
						if !bytes.Equal(value, pcrs[bank][pcr]) {
							t.Errorf("%s PCR %d replays to %x, quoted %x", bank, pcr, value, pcrs[bank][pcr])
						}
					}
				}
				if found := log.Check(log.All()); len(found) > 0 {
					t.Errorf("findings %v", found)
				}
			}
			for _, name := range []string{"ima.ascii", "ima.binary"} {
				list, err := ima.Parse(c.read(t, name))
				if err != nil {
					t.Fatal(err)
				}
				for _, bank := range banksOf("all") {
					r, err := list.Replay(bank, pcrs[bank][ima.PCR])
					if err != nil || r.PaddedSHA1 != (bank == "sha384") {
						t.Errorf("%s in bank %s: %+v, %v", name, bank, r, err)
					}
				}
				checkBootAggregate(t, list.Entries[0], pcrs)
			}
		})
	}
}

// checkBootAggregate computes what the kernel measured of the PCRs before it.
func checkBootAggregate(t *testing.T, e ima.Entry, pcrs attest.PCRs) {
	t.Helper()
	bank, last, h := "sha256", 9, sha256.New()
	if e.Template == "ima" {
		bank, last, h = "sha1", 7, sha1.New()
	}
	for pcr := range last + 1 {
		h.Write(pcrs[bank][pcr])
	}
	if e.Name != "boot_aggregate" || e.Algorithm != bank || !bytes.Equal(e.Digest, h.Sum(nil)) {
		t.Errorf("first entry is %s %s:%x, want boot_aggregate %x", e.Name, e.Algorithm, e.Digest, h.Sum(nil))
	}
}

func TestCapturedIMAFormsAgree(t *testing.T) {
	templates := map[string]string{"qemu-kernel": "ima", "own-keys": "ima-sig", "uki": "ima-sig"}
	for _, c := range capturedBoots(t) {
		ascii, err := ima.Parse(c.read(t, "ima.ascii"))
		if err != nil {
			t.Fatal(err)
		}
		binary, err := ima.Parse(c.read(t, "ima.binary"))
		if err != nil {
			t.Fatal(err)
		}
		template := templates[c.Name]
		if template == "" {
			template = "ima-ng"
		}
		if len(ascii.Entries) != len(binary.Entries) {
			t.Fatalf("%s: %d and %d entries", c.Name, len(ascii.Entries), len(binary.Entries))
		}
		for i, a := range ascii.Entries {
			b := binary.Entries[i]
			if a.Template != template || a.Template != b.Template || a.Name != b.Name ||
				a.Algorithm != b.Algorithm || !bytes.Equal(a.Digest, b.Digest) || a.Violation != b.Violation {
				t.Errorf("%s entry %d: %+v and %+v", c.Name, i, a, b)
			}
		}
	}
}

// TestCapturedSecureBoot compares what the log says with the variables as the
// kernel showed them.
func TestCapturedSecureBoot(t *testing.T) {
	on := 0
	for _, c := range capturedBoots(t) {
		got := attest.Appraise(c.evidence(t, "sha256"), c.want(t, "sha256")).SecureBoot
		if c.Name == "grub-no-log" {
			if got != nil {
				t.Errorf("%s: Secure Boot %+v without a log", c.Name, got)
			}
			continue
		}
		want := c.SecureBoot
		if want.Enabled {
			on++
		}
		if got == nil || got.Enabled != want.Enabled || !slices.Equal(got.PK, want.PK) || !slices.Equal(got.KEK, want.KEK) ||
			!slices.Equal(got.DB, want.DB) || !slices.Equal(got.DBX, want.DBX) {
			t.Errorf("%s: %+v, want %+v", c.Name, got, want)
		}
		if want.Enabled != (len(want.PK) > 0) || want.Enabled != (len(want.DB) > 0) {
			t.Errorf("%s: the manifest has no keys or keys without Secure Boot: %+v", c.Name, want)
		}
	}
	if on != 2 {
		t.Errorf("%d boots with Secure Boot, want 2", on)
	}
}

// TestCapturedImages compares the boot loaders of the log with the files.
func TestCapturedImages(t *testing.T) {
	kernel := capturedBoot(t, "systemd-boot").Images[1].Authenticode
	for _, c := range capturedBoots(t) {
		if c.Name == "grub-no-log" {
			continue
		}
		r := attest.Appraise(c.evidence(t, "all"), c.want(t, "all"))
		var loaded []eventlog.Digests
		for _, l := range r.EventLog.BootLoaders {
			// Debian's GRUB has shim measure the kernel twice.
			if n := len(loaded); n == 0 || !loaded[n-1].Equal(l.Digests) {
				loaded = append(loaded, l.Digests)
			}
		}
		if c.Name == "qemu-kernel" {
			if len(loaded) != 1 || loaded[0].Hex("sha256") == kernel["sha256"] {
				t.Errorf("%s: boot loaders %v, want one that is not the kernel's file", c.Name, loaded)
			}
			continue
		}
		if len(loaded) != len(c.Images) {
			t.Fatalf("%s: boot loaders %v, want %v", c.Name, loaded, c.Images)
		}
		for i, img := range c.Images {
			for bank, digest := range img.Authenticode {
				if loaded[i].Hex(bank) != digest {
					t.Errorf("%s: image %d is %s:%s, the file %s has %s", c.Name, i, bank, loaded[i].Hex(bank), img.File, digest)
				}
			}
		}
	}
}

// TestCapturedCommandLine compares the command lines of the log with the one
// that the running kernel had.
func TestCapturedCommandLine(t *testing.T) {
	cases := []struct {
		boot  string
		pcr   int
		first string // that /proc/cmdline has before the measured text
		text  bool   // the log has the text
	}{
		{"systemd-boot", 12, "", true}, {"systemd-boot", 9, "", false},
		{"own-keys", 12, "", true}, {"own-keys", 9, "", false},
		{"shim-grub", 8, "BOOT_IMAGE=", true},
		{"qemu-kernel", 9, "", false},
		{"uki", 9, "", false},
	}
	for _, tc := range cases {
		t.Run(fmt.Sprintf("%s/%d", tc.boot, tc.pcr), func(t *testing.T) {
			c := capturedBoot(t, tc.boot)
			r := attest.Appraise(c.evidence(t, "all"), c.want(t, "all"))
			i := slices.IndexFunc(r.EventLog.CommandLines, func(l eventlog.CommandLine) bool { return l.PCR == tc.pcr })
			if i < 0 {
				t.Fatalf("none in PCR %d: %+v", tc.pcr, r.EventLog.CommandLines)
			}
			got := r.EventLog.CommandLines[i]
			if got.Verified != tc.text || tc.text && tc.first+got.Text != c.CommandLine {
				t.Errorf("%+v, want verified %t, text of %q", got, tc.text, c.CommandLine)
			}
			measured := append(utf16le(c.CommandLine), 0, 0) // load options, as the EFI stub and systemd-boot hash them
			if tc.first != "" {
				measured = []byte(strings.TrimPrefix(c.CommandLine, tc.first))
			}
			for _, bank := range banksOf("all") {
				if digest := hex.EncodeToString(hashed(bank, measured)); got.Digests.Hex(bank) != digest {
					t.Errorf("%s:%s, want %s of %q", bank, got.Digests.Hex(bank), digest, measured)
				}
			}
		})
	}
}

func TestCapturedEK(t *testing.T) {
	for _, c := range capturedBoots(t) {
		t.Run(c.Name, func(t *testing.T) {
			cert, err := ek.ParseCertificate(c.read(t, "ek.der"))
			if err != nil {
				t.Fatal(err)
			}
			public, err := ek.Public(cert)
			if err != nil || !bytes.Equal(public, c.read(t, "ek.public")) {
				t.Errorf("the public area rebuilt from the certificate is not the TPM's: %v", err)
			}
			if err := ek.CheckPublic(c.read(t, "ek.public")); err != nil {
				t.Error(err)
			}
			if _, err := attest.CheckAK(c.read(t, "ak.public")); err != nil {
				t.Error(err)
			}
			roots := ek.NewRoots()
			if err := roots.Add("swtpm", c.read(t, "ek.roots.pem")); err != nil {
				t.Fatal(err)
			}
			chain, err := roots.Verify(cert, c.CapturedAt)
			if err != nil || chain.Manufacturer != "swtpm" || len(chain.Certificates) != 3 {
				t.Errorf("chain %+v, %v", chain, err)
			}
			_, err = roots.Verify(cert, cert.NotBefore.Add(-time.Hour))
			ekRefused(t, err, ek.CodeExpired)
			_, err = ek.NewRoots().Verify(cert, c.CapturedAt)
			ekRefused(t, err, ek.CodeUnknownManufacturer)
			damaged := bytes.Clone(cert.Raw)
			damaged[len(damaged)-1] ^= 1 // of the signature
			if cert, err = ek.ParseCertificate(damaged); err != nil {
				t.Fatal(err)
			}
			_, err = roots.Verify(cert, c.CapturedAt)
			ekRefused(t, err, ek.CodeUnknownManufacturer)
		})
	}
}

func ekRefused(t *testing.T, err error, code string) {
	t.Helper()
	var refused *ek.Error
	if !errors.As(err, &refused) || refused.Code != code {
		t.Errorf("%v, want %s", err, code)
	}
}

func TestCapturedSetIsSmallAndDescribed(t *testing.T) {
	const limit = 600_000 // bytes
	size := int64(0)
	err := filepath.Walk(capturedDir, func(_ string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().IsRegular() {
			size += info.Size()
		}
		return err
	})
	if err != nil || size > limit {
		t.Errorf("%d bytes, limit %d, %v", size, limit, err)
	}
	readme, err := os.ReadFile(filepath.Join(capturedDir, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range capturedBoots(t) {
		if filepath.Base(c.dir) != c.Name || !bytes.Contains(readme, []byte("| `"+c.Name+"` |")) {
			t.Errorf("%s is not described in README.md, or not in its own directory", c.Name)
		}
	}
}
