package cli

import (
	"bytes"
	"context"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"troth/attest"
	"troth/attest/eventlog"
	"troth/attest/reference"
)

// referenceDiff is the answer of reference diff.
type referenceDiff struct {
	Same        bool                   `json:"same"`
	Bank        string                 `json:"bank"`
	Compared    []int                  `json:"compared"`
	Differences []reference.Difference `json:"differences"`
}

// diffSide is one of the two that are compared. A log or a device has more PCRs
// than a release promises anything of.
type diffSide struct {
	name  string
	file  reference.File
	whole bool
}

func (a *app) referenceDiffCommand() *cobra.Command {
	var device, bank string
	cmd := &cobra.Command{
		Use:   "diff A B | diff A --device ID|NAME",
		Short: "Say in which PCR and event two sets of reference values differ",
		Long: `Compare two sets of reference values: files as record and from-release write them,
event logs, or with --device the latest verified evidence of a device. Where both sides
have the events that lead to a value, the answer names those that differ. A log or a
device is compared in the PCRs that the other side has.

Exit status: 0 the same; 1 different.`,
		Example: `  troth reference diff edge-100-1.1.0.json edge-100-1.2.0.json
  troth reference diff edge-100-1.2.0.json binary_bios_measurements
  troth reference diff edge-100-1.2.0.json --device press-7`,
		Args: func(cmd *cobra.Command, args []string) error {
			if device != "" {
				return takes("A")(cmd, args)
			}
			return takes("A", "B")(cmd, args)
		},
		RunE: a.action(func(ctx context.Context, args []string) error { return a.referenceDiff(ctx, args, device, bank) }),
	}
	cmd.Flags().StringVar(&device, "device", "", "compare with a device that the service knows, by `ID|NAME`")
	cmd.Flags().StringVar(&bank, "bank", "", "bank of event logs (default: that of the other side, or sha256)")
	complete(cmd, "bank", reference.Banks()...)
	return cmd
}

func (a *app) referenceDiff(ctx context.Context, args []string, device, bank string) error {
	if bank != "" && !slices.Contains(reference.Banks(), bank) {
		return usagef("--bank takes sha256 or sha384, not %q", bank)
	}
	raw := [][]byte{}
	for _, file := range args {
		text, err := a.readFile(file, max(maxEventLog, reference.MaxFile))
		if err != nil {
			return err
		}
		if f, err := reference.ParseFile(text); err == nil && bank == "" {
			bank = f.Bank
		}
		raw = append(raw, text)
	}
	bank = first(bank, "sha256")
	var sides []diffSide
	for i, file := range args {
		side, err := readSide(file, raw[i], bank)
		if err != nil {
			return err
		}
		sides = append(sides, side)
	}
	if device != "" {
		g, err := a.goldenDevice(ctx, device)
		if err != nil {
			return err
		}
		f, err := reference.Record(g.result, g.eventLog, bank, slices.Sorted(maps.Keys(g.result.PCRs[bank])))
		if err != nil {
			return failf(exitNo, codeReference, "%s", err)
		}
		sides = append(sides, diffSide{name: device, file: f, whole: true})
	}
	return a.compare(sides[0], sides[1])
}

// readSide tells JSON from a log by its first byte.
func readSide(name string, raw []byte, bank string) (diffSide, error) {
	if bytes.HasPrefix(bytes.TrimSpace(raw), []byte("{")) {
		f, err := reference.ParseFile(raw)
		if err != nil {
			return diffSide{}, failf(exitUsage, codeFile, "%s: %s", name, err)
		}
		return diffSide{name: name, file: f}, nil
	}
	log, err := eventlog.Parse(raw)
	if err != nil {
		return diffSide{}, failf(exitNo, attest.CodeEventLogMalformed, "%s holds no reference values, and is no event log: %s", name, err)
	}
	f, err := reference.FromLog(log, bank)
	if err != nil {
		return diffSide{}, failf(exitNo, codeReference, "%s: %s", name, err)
	}
	return diffSide{name: name, file: f, whole: true}, nil
}

func (a *app) compare(x, y diffSide) error {
	for _, pair := range [][2]*diffSide{{&x, &y}, {&y, &x}} {
		if !pair[0].whole || pair[1].whole {
			continue
		}
		var common []int
		for pcr := range pair[0].file.PCRs {
			if _, there := pair[1].file.PCRs[pcr]; there {
				common = append(common, pcr)
			}
		}
		if len(common) == 0 {
			return failf(exitNo, codeReference, "%s and %s have no PCR in common", x.name, y.name)
		}
		var err error
		if pair[0].file, err = pair[0].file.Selected(common); err != nil {
			return failf(exitNo, codeReference, "%s", err)
		}
	}
	found, err := reference.Diff(x.file, y.file)
	if err != nil {
		return failf(exitUsage, codeReference, "%s", err)
	}
	all := maps.Clone(x.file.PCRs)
	maps.Copy(all, y.file.PCRs)
	got := referenceDiff{Same: len(found) == 0, Bank: x.file.Bank, Compared: slices.Sorted(maps.Keys(all)), Differences: found}
	if got.Differences == nil {
		got.Differences = []reference.Difference{}
	}
	if err := a.printer().print(got, func(p *page) { drawDiff(p, got, x.name, y.name) }); err != nil || got.Same {
		return err
	}
	return a.after(failf(exitNo, "reference_differs", "%s and %s differ in %s", x.name, y.name, number(len(found), "PCR", "PCRs")))
}

func drawDiff(p *page, got referenceDiff, a, b string) {
	if got.Same {
		p.line("The same in all of PCR %s (%s).", numbers(got.Compared), got.Bank)
		return
	}
	p.line("A is %s", a)
	p.line("B is %s", b)
	for _, d := range got.Differences {
		p.gap()
		switch {
		case d.A == "":
			p.line("%s is only in B: %s", namedPCR(d.PCR), d.B)
			continue
		case d.B == "":
			p.line("%s is only in A: %s", namedPCR(d.PCR), d.A)
			continue
		}
		p.line("%s differs:", namedPCR(d.PCR))
		p.line("  A %s", d.A)
		p.line("  B %s", d.B)
		if d.Why != "" {
			p.line("  Which event differs is not known: %s.", d.Why)
		}
		for _, e := range d.Events {
			drawEventDifference(p, e)
		}
	}
}

func drawEventDifference(p *page, d reference.EventDifference) {
	line := func(mark string, e *reference.Event) {
		p.line("    %s %s %s", mark, short(e.Digest.String()), e.What)
	}
	switch {
	case d.A == nil:
		p.line("  Measured only in B:")
		line("B", d.B)
	case d.B == nil:
		p.line("  Measured only in A:")
		line("A", d.A)
	default:
		p.line("  Measured differently:")
		line("A", d.A)
		line("B", d.B)
	}
}
