package cli

import (
	"context"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"troth/attest"
	"troth/attest/eventlog"
)

// eventLogAnswer is a log as its writer tells it: nothing here was compared with
// a quote.
type eventLogAnswer struct {
	SpecVersion     string               `json:"spec_version,omitempty"`
	Banks           []string             `json:"banks"`
	StartupLocality int                  `json:"startup_locality"`
	Events          []eventLine          `json:"events"`
	PCRs            map[string]pcrValues `json:"pcrs"`
	Facts           eventlog.Facts       `json:"facts"`
	Findings        []eventFinding       `json:"findings"`
}

// pcrValues are PCR indexes and values, lower-case hexadecimal.
type pcrValues map[int]string

type eventLine struct {
	Sequence int               `json:"sequence"`
	PCR      int               `json:"pcr"`
	Type     string            `json:"type"`
	Digests  map[string]string `json:"digests"`
	// Recomputed: the digests are the hash of the data beside them.
	Recomputed bool   `json:"recomputed"`
	Length     int    `json:"length"`
	Data       string `json:"data,omitempty"`
}

type eventFinding struct {
	Kind     string `json:"kind"`
	PCR      int    `json:"pcr"`
	Sequence int    `json:"sequence"`
	Message  string `json:"message"`
}

func (a *app) attestEventLogCommand() *cobra.Command {
	var data bool
	cmd := &cobra.Command{
		Use:   "eventlog FILE",
		Short: "Read a firmware event log",
		Long: `Read a TCG event log (as in /sys/kernel/security/tpm0/binary_bios_measurements): its
events, the PCR values that they replay to in each bank, and where it breaks the rules
of the PC Client profile. It is what the log says, and no more: only a quote of the
same values proves it, see attest verify. - reads standard input.`,
		Example: "  troth attest eventlog binary_bios_measurements -o json",
		Args:    takes("FILE"),
		RunE: a.action(func(_ context.Context, args []string) error {
			raw, err := a.readFile(args[0], maxEventLog)
			if err != nil {
				return err
			}
			log, err := eventlog.Parse(raw)
			if err != nil {
				return failf(exitNo, attest.CodeEventLogMalformed, "%s is no event log: %s", args[0], err)
			}
			got := readEventLog(log, data)
			return a.printer().print(got, func(p *page) { drawEventLog(p, got) })
		}),
	}
	cmd.Flags().BoolVar(&data, "data", false, "with -o json or yaml: each event's data in hexadecimal")
	return cmd
}

func readEventLog(log *eventlog.Log, data bool) eventLogAnswer {
	got := eventLogAnswer{
		SpecVersion: log.SpecVersion, Banks: log.Banks, StartupLocality: log.StartupLocality,
		Events: []eventLine{}, PCRs: map[string]pcrValues{}, Facts: log.Facts(), Findings: []eventFinding{},
	}
	for _, e := range log.Events {
		line := eventLine{
			Sequence: e.Sequence, PCR: e.PCR, Type: e.Type.String(), Digests: map[string]string{},
			Recomputed: e.Recomputed(slices.Sorted(maps.Keys(e.Digests))), Length: len(e.Data),
		}
		for bank, digest := range e.Digests {
			line.Digests[bank] = hex.EncodeToString(digest)
		}
		if data {
			line.Data = hex.EncodeToString(e.Data)
		}
		got.Events = append(got.Events, line)
	}
	for bank, values := range log.Replay() {
		got.PCRs[bank] = pcrValues{}
		for index, value := range values {
			got.PCRs[bank][index] = hex.EncodeToString(value)
		}
	}
	for _, f := range log.Check(log.All()) {
		got.Findings = append(got.Findings, eventFinding{Kind: string(f.Kind), PCR: f.PCR, Sequence: f.Sequence, Message: f.Message})
	}
	return got
}

func drawEventLog(p *page, got eventLogAnswer) {
	events := &table{head: []string{"#", "PCR", "TYPE", "RECOMPUTED", "BYTES", "DIGEST"}}
	for _, e := range got.Events {
		events.add(strconv.Itoa(e.Sequence), strconv.Itoa(e.PCR), e.Type, yesNo(e.Recomputed), strconv.Itoa(e.Length), strongest(e.Digests))
	}
	p.table(events, "No events.")
	p.gap()
	drawPCRs(p, got.PCRs)
	if len(got.Findings) > 0 {
		p.gap()
		findings := &table{head: []string{"FINDING", "PCR", "#", "MESSAGE"}}
		for _, f := range got.Findings {
			findings.add(f.Kind, strconv.Itoa(f.PCR), strconv.Itoa(f.Sequence), f.Message)
		}
		p.table(findings, "")
	}
	drawFacts(p, got.Facts)
}

func drawFacts(p *page, f eventlog.Facts) {
	p.gap()
	if f.SCRTMVersion != nil {
		p.line("S-CRTM version: %s%s", f.SCRTMVersion.Text, claimed(f.SCRTMVersion.Verified))
	}
	if f.SecureBoot != nil {
		p.line("Secure Boot: %s", onOff(f.SecureBoot.Enabled))
	}
	for _, l := range f.BootLoaders {
		p.line("Boot loader: %s %s", dash(l.Path), strongest(l.Digests))
	}
	for _, c := range f.CommandLines {
		p.line("Command line (PCR %d): %s%s", c.PCR, first(c.Text, strongest(c.Digests)), claimed(c.Verified))
	}
}

func claimed(verified bool) string {
	if verified {
		return ""
	}
	return " (claimed)"
}

func onOff(b bool) string {
	if b {
		return "on"
	}
	return "off"
}

func drawPCRs(p *page, pcrs map[string]pcrValues) {
	t := &table{head: []string{"BANK", "PCR", "VALUE"}}
	for _, bank := range slices.Sorted(maps.Keys(pcrs)) {
		for _, index := range slices.Sorted(maps.Keys(pcrs[bank])) {
			t.add(bank, strconv.Itoa(index), pcrs[bank][index])
		}
	}
	p.table(t, "No PCR is extended.")
}

// strongest is one digest of several, with its bank.
func strongest(digests map[string]string) string {
	for _, bank := range []string{"sha256", "sha384", "sha512", "sha1"} {
		if d, ok := digests[bank]; ok {
			return fmt.Sprintf("%s:%s", bank, d)
		}
	}
	return "-"
}
