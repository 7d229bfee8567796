package cli

import (
	"context"
	"encoding/hex"
	"strings"

	"github.com/spf13/cobra"

	"troth/attest"
	"troth/attest/ima"
)

// imaAnswer is a measurement list and, where a value of PCR 10 was given,
// whether it leads there.
type imaAnswer struct {
	Entries    []imaEntry `json:"entries"`
	Violations int        `json:"violations"`
	Bank       string     `json:"bank,omitempty"`
	PCR10      string     `json:"pcr10,omitempty"`
	Replayed   *bool      `json:"replayed,omitempty"`
	// Covered entries lead to the value; those after them ran ahead of it.
	Covered    int  `json:"covered,omitempty"`
	Ahead      int  `json:"ahead,omitempty"`
	PaddedSHA1 bool `json:"padded_sha1,omitempty"`
}

type imaEntry struct {
	Template  string `json:"template"`
	Algorithm string `json:"algorithm,omitempty"`
	Digest    string `json:"digest,omitempty"`
	Name      string `json:"name"`
	Violation bool   `json:"violation,omitempty"`
}

// sizes are the bytes of a PCR by bank.
func sizes() map[string]int {
	return map[string]int{"sha1": 20, "sha256": 32, "sha384": 48, "sha512": 64}
}

func (a *app) attestIMACommand() *cobra.Command {
	var pcr10, bank string
	cmd := &cobra.Command{
		Use:   "ima FILE",
		Short: "Read an IMA measurement list",
		Long: `Read a measurement list of Linux IMA, in ASCII or binary form; every template hash is
recomputed. With --pcr10 the exit status is 0 if a beginning of the list leads to that
value (a list may run ahead of the quote, never behind) and 1 if none does. - reads
standard input.`,
		Example: `  troth attest ima ascii_runtime_measurements -o json
  troth attest ima binary_runtime_measurements --bank sha256 --pcr10 $(cat pcr10.hex)`,
		Args: takes("FILE"),
		RunE: a.action(func(_ context.Context, args []string) error { return a.attestIMA(args[0], bank, pcr10) }),
	}
	cmd.Flags().StringVar(&pcr10, "pcr10", "", "value of PCR 10 that the list must lead to, in hexadecimal")
	cmd.Flags().StringVar(&bank, "bank", "sha256", "bank of that value")
	complete(cmd, "bank", "sha256", "sha384", "sha512", "sha1")
	return cmd
}

func (a *app) attestIMA(file, bank, pcr10 string) error {
	size, known := sizes()[bank]
	if !known {
		return usagef("--bank takes sha1, sha256, sha384, sha512, not %q", bank)
	}
	want, err := hex.DecodeString(strings.TrimSpace(pcr10))
	if err != nil || pcr10 != "" && len(want) != size {
		return usagef("--pcr10 takes %d hexadecimal digits for bank %s", 2*size, bank)
	}
	raw, err := a.readFile(file, maxIMAList)
	if err != nil {
		return err
	}
	list, err := ima.Parse(raw)
	if err != nil {
		return failf(exitNo, attest.CodeIMAMalformed, "%s is no IMA list: %s%s", file, err, kindHint(raw, kindIMA))
	}
	got := readIMA(list)
	var mismatch error
	if pcr10 != "" {
		mismatch = got.replay(list, bank, want)
	}
	if err := a.printer().print(got, func(p *page) { drawIMA(p, got) }); err != nil || mismatch == nil {
		return err
	}
	return a.after(failf(exitNo, attest.CodeIMAMismatch, "%s does not lead to the given PCR 10: %s", file, mismatch))
}

func readIMA(list *ima.List) imaAnswer {
	got := imaAnswer{Entries: []imaEntry{}}
	for _, e := range list.Entries {
		got.Entries = append(got.Entries, imaEntry{
			Template: e.Template, Algorithm: e.Algorithm, Digest: hex.EncodeToString(e.Digest), Name: e.Name, Violation: e.Violation,
		})
		if e.Violation {
			got.Violations++
		}
	}
	return got
}

func (got *imaAnswer) replay(list *ima.List, bank string, want []byte) error {
	r, err := list.Replay(bank, want)
	ok := err == nil
	got.Bank, got.PCR10, got.Replayed = bank, hex.EncodeToString(want), &ok
	got.Covered, got.Ahead, got.PaddedSHA1 = r.Entries, r.Ahead, r.PaddedSHA1
	return err
}

func drawIMA(p *page, got imaAnswer) {
	t := &table{head: []string{"TEMPLATE", "VIOLATION", "DIGEST", "NAME"}}
	for _, e := range got.Entries {
		t.add(e.Template, yesNo(e.Violation), dash(e.Algorithm)+":"+e.Digest, e.Name)
	}
	p.table(t, "No entries.")
	p.gap()
	p.line("%s, %s", number(len(got.Entries), "entry", "entries"), number(got.Violations, "violation", "violations"))
	if got.Replayed != nil {
		p.line("PCR 10 (%s): replayed %s; %s covered, %d ahead", got.Bank, yesNo(*got.Replayed), number(got.Covered, "entry", "entries"), got.Ahead)
	}
}
