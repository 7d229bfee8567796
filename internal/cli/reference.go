package cli

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"troth/attest/reference"
	"troth/internal/atomicfile"
)

// codeReference: what was given makes no reference values.
const codeReference = "reference"

func (a *app) referenceCommand() *cobra.Command {
	return a.noun("reference", "Make the PCR values that a release must boot into",
		`Reference values are the PCR values that a device must quote once it runs a release;
firmware publish signs them into it. They are recorded from a golden device that runs
the release, or computed from the release's files, so that nobody types digests.`,
		a.referenceRecordCommand(), a.referenceReleaseCommand(), a.referenceDiffCommand())
}

// referenceFlags say which values, and where to.
type referenceFlags struct {
	bank, selected, out string
}

func (r *referenceFlags) add(cmd *cobra.Command, chosen string) {
	cmd.Flags().StringVar(&r.bank, "bank", "sha256", "bank of the values; the service compares sha256")
	cmd.Flags().StringVar(&r.selected, "select", "", "PCR `NUMBERS` to take, as 4,9,11 (default: "+chosen+")")
	cmd.Flags().StringVar(&r.out, "out", "", "`FILE` to write the reference values to")
	complete(cmd, "bank", reference.Banks()...)
}

// pcrs are those selected; nil: the default.
func (r referenceFlags) pcrs() ([]int, error) {
	if !slices.Contains(reference.Banks(), r.bank) {
		return nil, usagef("--bank takes %s, not %q", strings.Join(reference.Banks(), " or "), r.bank)
	}
	if r.selected == "" {
		return nil, nil
	}
	var out []int
	for word := range strings.SplitSeq(r.selected, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(word))
		if err != nil || n < 0 || n > 23 {
			return nil, usagef("--select takes PCR numbers from 0 to 23, not %q", word)
		}
		out = append(out, n)
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// deliver writes the file and says what is in it. With -o json the answer is the
// file itself.
func (a *app) deliver(f reference.File, r referenceFlags, more ...func(*page)) error {
	if r.out != "" {
		text, err := jsonText(f)
		if err != nil {
			return err
		}
		if err := atomicfile.Write(r.out, text, 0o644); err != nil {
			return failf(exitUsage, codeFile, "%s", err)
		}
	}
	return a.printer().print(f, func(p *page) {
		drawReference(p, f)
		for _, draw := range more {
			draw(p)
		}
		if r.out != "" {
			p.gap()
			p.line("Written to %s, for firmware publish --reference.", r.out)
		}
	})
}

func drawReference(p *page, f reference.File) {
	values := &table{head: []string{"PCR", "WHAT", strings.ToUpper(f.Bank)}}
	for _, pcr := range sortedPCRs(f) {
		values.add(strconv.Itoa(pcr), dash(measuredInto(pcr)), f.PCRs[pcr].String())
	}
	p.table(values, "No values.")
	if len(f.Events) > 0 {
		p.gap()
		events := &table{head: []string{"PCR", "FROM", "DIGEST", "WHAT"}}
		for _, e := range f.Events {
			events.add(strconv.Itoa(e.PCR), string(e.From), short(e.Digest.String()), e.What)
		}
		p.table(events, "")
	}
	if f.Provenance == nil {
		return
	}
	for _, note := range f.Provenance.Notes {
		p.gap()
		p.line("Note: %s.", strings.TrimSuffix(note, "."))
	}
}

func sortedPCRs(f reference.File) []int {
	var out []int
	for pcr := range f.PCRs {
		out = append(out, pcr)
	}
	slices.SortFunc(out, cmp.Compare[int])
	return out
}

// measuredInto says what is measured into a PCR (PC Client profile, section 3.3.4; Linux
// boot loaders above 7).
func measuredInto(pcr int) string {
	names := []string{
		"firmware", "firmware settings", "option ROMs", "option ROM settings", "boot loader", "partition table",
		"platform events", "Secure Boot keys", "GRUB commands", "kernel and initrd", "IMA", "unified kernel image",
		"kernel parameters", "system extensions", "shim's keys", "system identity",
	}
	if pcr < 0 || pcr >= len(names) {
		return ""
	}
	return names[pcr]
}

// numbers joins PCR numbers.
func numbers(pcrs []int) string {
	words := make([]string, len(pcrs))
	for i, pcr := range pcrs {
		words[i] = strconv.Itoa(pcr)
	}
	return strings.Join(words, ", ")
}

func namedPCR(pcr int) string {
	if name := measuredInto(pcr); name != "" {
		return fmt.Sprintf("PCR %d (%s)", pcr, name)
	}
	return fmt.Sprintf("PCR %d", pcr)
}
