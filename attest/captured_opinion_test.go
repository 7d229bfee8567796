package attest_test

import (
	"encoding/binary"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	"troth/attest/eventlog"
)

func tpm2Tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("NOT TESTED: %s is missing (package tpm2-tools)", name)
	}
	return path
}

var (
	replayedBank = regexp.MustCompile(`^  (sha\d+):$`)
	replayedPCR  = regexp.MustCompile(`^    (\d+) *: 0x([0-9a-f]+)$`)
	replayStart  = regexp.MustCompile(`(?m)^pcrs:$`)
	lineEnd      = regexp.MustCompile(`\r?\n`)
)

// TestCapturedReplaysLikeTPM2Tools compares each PCR of each bank with the replay
// of tpm2_eventlog.
func TestCapturedReplaysLikeTPM2Tools(t *testing.T) {
	tool := tpm2Tool(t, "tpm2_eventlog")
	for _, c := range capturedBoots(t) {
		if c.Name == "grub-no-log" {
			continue
		}
		out, err := exec.CommandContext(t.Context(), tool, filepath.Join(c.dir, "eventlog")).Output()
		if err != nil {
			t.Fatal(err)
		}
		log, err := eventlog.Parse(c.read(t, "eventlog"))
		if err != nil {
			t.Fatal(err)
		}
		ours := log.Replay()
		theirs, bank := 0, ""
		for _, line := range lineEnd.Split(string(out[replayStart.FindIndex(out)[0]:]), -1) {
			if m := replayedBank.FindStringSubmatch(line); m != nil {
				bank = m[1]
			}
			m := replayedPCR.FindStringSubmatch(line)
			if m == nil {
				continue
			}
			pcr, err := strconv.Atoi(m[1])
			if err != nil {
				t.Fatal(err)
			}
			theirs++
			if got := hex.EncodeToString(ours[bank][pcr]); got != m[2] {
				t.Errorf("%s: %s PCR %d is %s, tpm2_eventlog has %s", c.Name, bank, pcr, got, m[2])
			}
		}
		if want := 3 * len(ours["sha256"]); theirs != want {
			t.Errorf("%s: tpm2_eventlog has %d PCRs, we have %d", c.Name, theirs, want)
		}
	}
}

// TestCapturedQuotesLikeTPM2Tools has tpm2_checkquote verify key, signature and
// nonce of each quote, and refuse another nonce.
func TestCapturedQuotesLikeTPM2Tools(t *testing.T) {
	tool := tpm2Tool(t, "tpm2_checkquote")
	for _, c := range capturedBoots(t) {
		public := c.read(t, "ak.public")
		key := filepath.Join(t.TempDir(), "ak")
		sized := append(binary.BigEndian.AppendUint16(nil, uint16(len(public))), public...)
		if err := os.WriteFile(key, sized, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, quote := range []string{"sha1", "sha256", "sha384", "all"} {
			path := filepath.Join(c.dir, "quote-"+quote)
			check := func(nonce string) error {
				return exec.CommandContext(t.Context(), tool, "-u", key, "-m", path, "-s", path+".signature", "-g", "sha256", "-q", nonce).Run()
			}
			if err := check(c.Nonce); err != nil {
				t.Errorf("%s, quote %s: tpm2_checkquote: %v", c.Name, quote, err)
			}
			if err := check("00" + c.Nonce[2:]); err == nil && c.Nonce[:2] != "00" {
				t.Errorf("%s, quote %s: tpm2_checkquote takes another nonce", c.Name, quote)
			}
		}
	}
}
