package cli

import (
	"context"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"troth/attest"
	"troth/attest/eventlog"
)

// eventLogAnswer is a log as its writer tells it: nothing here was compared with
// a quote.
type eventLogAnswer struct {
	SpecVersion     string               `json:"spec_version,omitempty"`
	Legacy          bool                 `json:"legacy,omitempty"`
	Banks           []string             `json:"banks"`
	StartupLocality int                  `json:"startup_locality"`
	Events          []eventLine          `json:"events"`
	PCRs            map[string]pcrValues `json:"pcrs"`
	Facts           eventlog.Facts       `json:"facts"`
	// Keys are the entries of PK, KEK, db and dbx.
	Keys     map[string][]eventlog.Key `json:"secure_boot_keys"`
	Findings []eventFinding            `json:"findings"`
}

// pcrValues are PCR indexes and values, lower-case hexadecimal.
type pcrValues map[int]string

type eventLine struct {
	Sequence int              `json:"sequence"`
	PCR      int              `json:"pcr"`
	Type     string           `json:"type"`
	Digests  eventlog.Digests `json:"digests"`
	// Recomputed: the digests are the hash of the data beside them.
	Recomputed bool `json:"recomputed"`
	// Says is what the data tells, for people.
	Says   string `json:"says,omitempty"`
	Length int    `json:"length"`
	Data   string `json:"data,omitempty"`

	measures bool
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
same values proves it, see attest verify. - reads standard input.

An event is verified where its digest is the hash of what is shown beside it; claimed
where only the digest was measured (of a file, say), and the rest is the writer's word;
and "-" where it measures nothing.`,
		Example: "  troth attest eventlog binary_bios_measurements -o json",
		Args:    takes("FILE"),
		RunE: a.action(func(_ context.Context, args []string) error {
			raw, err := a.readFile(args[0], maxEventLog)
			if err != nil {
				return err
			}
			log, err := eventlog.Parse(raw)
			if err != nil {
				return failf(exitNo, attest.CodeEventLogMalformed, "%s is no event log: %s%s", args[0], err, kindHint(raw, kindEventLog))
			}
			got := readEventLog(log, data)
			return a.printer().print(got, func(p *page) { drawEventLog(p, got, a.width()) })
		}),
	}
	cmd.Flags().BoolVar(&data, "data", false, "with -o json or yaml: each event's data in hexadecimal")
	return cmd
}

func readEventLog(log *eventlog.Log, data bool) eventLogAnswer {
	got := eventLogAnswer{
		SpecVersion: log.SpecVersion, Legacy: log.Legacy, Banks: log.Banks, StartupLocality: log.StartupLocality,
		Events: []eventLine{}, PCRs: map[string]pcrValues{}, Facts: log.Facts(), Keys: secureBootKeys(log), Findings: []eventFinding{},
	}
	for _, e := range log.Events {
		line := eventLine{
			Sequence: e.Sequence, PCR: e.PCR, Type: e.Type.String(), Digests: e.Digests,
			Recomputed: e.Recomputed(e.Digests.Banks()), Says: e.Describe(), Length: len(e.Data),
			measures: e.Type != eventlog.NoAction,
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

// secureBootKeys reads the entries of the key databases that the log measures.
func secureBootKeys(log *eventlog.Log) map[string][]eventlog.Key {
	out := map[string][]eventlog.Key{}
	for _, e := range log.Events {
		v, err := e.Variable()
		if err != nil || e.PCR != 7 || e.Type != eventlog.EFIVariableDriverConfig {
			continue
		}
		switch v.Name {
		case "PK", "KEK", "db", "dbx":
			if keys, err := eventlog.Keys(v.Data); err == nil && out[v.Name] == nil {
				out[v.Name] = keys
			}
		}
	}
	return out
}

// keySubjects names certificates by their fingerprints.
func keySubjects(keys map[string][]eventlog.Key) map[string]string {
	out := map[string]string{}
	for _, list := range keys {
		for _, k := range list {
			if k.Subject != "" {
				out[k.Fingerprint] = k.Subject
			}
		}
	}
	return out
}

func drawEventLog(p *page, got eventLogAnswer, width int) {
	drawEvents(p, got.Events, width)
	p.gap()
	p.line("PCR values that the events replay to (%s)", strings.Join(got.Banks, ", "))
	drawPCRs(p, got.PCRs)
	if len(got.Findings) > 0 {
		p.gap()
		findings := &table{head: []string{"FINDING", "PCR", "#", "MESSAGE"}}
		for _, f := range got.Findings {
			findings.add(f.Kind, fmt.Sprint(f.PCR), fmt.Sprint(f.Sequence), f.Message)
		}
		p.table(findings, "")
	}
	p.gap()
	lines := [][2]string{}
	if got.Legacy {
		lines = append(lines, [2]string{"Format", "SHA-1 only, as of TPM 1.2: a quote of it needs --allow-sha1"})
	}
	if got.StartupLocality != 0 {
		lines = append(lines, [2]string{"Startup locality", fmt.Sprint(got.StartupLocality)})
	}
	f := got.Facts
	lines = append(lines, secureBootLines(f.SecureBoot, keySubjects(got.Keys))...)
	lines = append(lines, startedLines(f.SCRTMVersion, f.BootLoaders, f.CommandLines, f.Boot)...)
	p.fields(lines...)
	p.gap()
	p.line("Nothing here is proven: a quote of these PCRs proves it (troth attest verify).")
}

// drawEvents adds a line for each event; a narrow terminal does without types.
func drawEvents(p *page, events []eventLine, width int) {
	const narrow = 110
	t := &table{head: []string{"#", "PCR", "TYPE", "VERIFIED", "SAYS"}}
	slim := width > 0 && width < narrow
	if slim {
		t.head = []string{"#", "PCR", "VERIFIED", "SAYS"}
	}
	before := 0
	for _, e := range events {
		before = max(before, len(e.Type))
	}
	for _, e := range events {
		state := "claimed"
		switch {
		case !e.measures:
			state = "-"
		case e.Recomputed:
			state = "yes"
		}
		says := first(e.Says, fmt.Sprintf("(%d bytes)", e.Length))
		cells := []string{fmt.Sprint(e.Sequence), pcrName(e.PCR), e.Type, state}
		room := width - len("9999  PCR  ") - before - len("  VERIFIED  ")
		if slim {
			cells = []string{fmt.Sprint(e.Sequence), pcrName(e.PCR), state}
			room = width - len("9999  PCR  VERIFIED  ")
			if e.Says == "" {
				says = e.Type + " " + says
			}
		}
		t.add(append(cells, cut(says, width, room))...)
	}
	p.table(t, "No events.")
	p.line("Verified: the digest is the hash of what is shown. Claimed: only the digest was measured, the rest is the writer's word.")
}

func pcrName(pcr int) string {
	if pcr < 0 {
		return "-"
	}
	return fmt.Sprint(pcr)
}

// cut shortens a text for a terminal of a known width.
func cut(s string, width, room int) string {
	runes := []rune(clean(s))
	room = max(room, 20)
	if width <= 0 || len(runes) <= room {
		return s
	}
	return string(runes[:room-1]) + "…"
}

func drawPCRs(p *page, pcrs map[string]pcrValues) {
	t := &table{head: []string{"BANK", "PCR", "VALUE"}}
	reset := map[string][]string{}
	for _, bank := range slices.Sorted(maps.Keys(pcrs)) {
		for _, index := range slices.Sorted(maps.Keys(pcrs[bank])) {
			value := pcrs[bank][index]
			if strings.Trim(value, "0") == "" || index >= 17 && index <= 22 && strings.Trim(value, "f") == "" {
				reset[bank] = append(reset[bank], fmt.Sprint(index))
				continue
			}
			t.add(bank, fmt.Sprint(index), value)
		}
	}
	p.table(t, "No PCR is extended.")
	for _, bank := range slices.Sorted(maps.Keys(reset)) {
		p.line("%s: at their reset value, as nothing was measured: PCR %s", bank, strings.Join(reset[bank], ", "))
	}
}

// strongest is one digest of several, with its bank.
func strongest(digests eventlog.Digests) string {
	for _, bank := range []string{"sha256", "sha384", "sha512", "sha1"} {
		if d := digests.Hex(bank); d != "" {
			return fmt.Sprintf("%s:%s", bank, d)
		}
	}
	return "-"
}
