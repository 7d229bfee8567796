package cli

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/term"

	"troth/attest"
	"troth/attest/eventlog"
)

// drawResult explains the verdict line by line: each link of the chain and
// whether it holds, what the logs then say, what was found wrong, and last the
// values.
func drawResult(p *page, r attest.Result, e attest.Evidence) {
	p.fields([2]string{"Verified", yesNo(r.Verified)})
	p.gap()
	drawLinks(p, r)
	lines := [][2]string{}
	if l := r.EventLog; l != nil {
		lines = append(lines, secureBootLines(r.SecureBoot, subjectsIn(e.EventLog))...)
		lines = append(lines, startedLines(l.SCRTMVersion, l.BootLoaders, l.CommandLines, l.Boot)...)
	}
	if u := r.UserspaceLog; u != nil {
		for _, event := range u.Events {
			lines = append(lines, [2]string{fmt.Sprintf("systemd, PCR %d", event.PCR), event.Text + claimed(event.Verified)})
		}
	}
	if c := r.Clock; c != nil {
		running := time.Duration(c.Clock) * time.Millisecond //nolint:gosec // a TPM's clock counts milliseconds since it was made
		lines = append(lines, [2]string{"TPM clock", fmt.Sprintf("%s with power in all, %s, %s%s", running,
			number(int(c.ResetCount), "reset", "resets"), number(int(c.RestartCount), "restart or resume", "restarts or resumes"), unsafeClock(c.Safe))})
	}
	if len(lines) > 0 {
		p.gap()
		p.fields(lines...)
	}
	drawUnknown(p, r)
	drawProblems(p, r.Problems)
	if len(r.PCRs) > 0 {
		p.gap()
		drawPCRs(p, plainPCRs(r.PCRs))
	}
}

func unsafeClock(safe bool) string {
	if safe {
		return ""
	}
	return "; NOT safe: it may have gone back in a loss of power"
}

func subjectsIn(log []byte) map[string]string {
	parsed, err := eventlog.Parse(log)
	if err != nil {
		return nil
	}
	return keySubjects(secureBootKeys(parsed))
}

// link is one step of a verification, with the codes that break it.
type link struct {
	name, holds string
	codes       []string
	stops       bool // those after it are not reached
}

func quoteLinks() []link {
	return []link{
		{"Size", "every part is within its bounds", []string{attest.CodeTooLarge, attest.CodeNonceMissing}, true},
		{"Key", "of an accepted type, size and scheme; it signs only what its TPM made, and cannot leave it",
			[]string{attest.CodeAKMalformed, attest.CodeAKType, attest.CodeAKScheme, attest.CodeAKAttributes, attest.CodeAKAttributesUnknown}, true},
		{"Signature", "made with that key",
			[]string{attest.CodeSignatureMalformed, attest.CodeSignatureScheme, attest.CodeSignatureInvalid}, true},
		{"Quote", "a TPM made it, and it is a quote",
			[]string{attest.CodeQuoteMalformed, attest.CodeQuoteMagic, attest.CodeQuoteType}, true},
		{"Nonce", "the expected one, so the quote is fresh", []string{attest.CodeNonceMismatch}, false},
		{"Selection", "the signed selection is accepted",
			[]string{attest.CodeSelectionEmpty, attest.CodeSelectionMismatch, attest.CodeSHA1}, true},
		{"PCR values", "are exactly the quoted ones, and hash to the signed digest", []string{attest.CodePCRsMissing,
			attest.CodePCRsNotQuoted, attest.CodePCRMalformed, attest.CodePCRDigestMismatch}, true},
	}
}

// drawLinks draws the chain that a verdict rests on.
func drawLinks(p *page, r attest.Result) {
	t := &table{head: []string{"CHECK", "HOLDS", ""}}
	reached, whole := true, true
	for _, l := range quoteLinks() {
		found := slices.IndexFunc(r.Problems, func(p attest.Problem) bool { return slices.Contains(l.codes, p.Code) })
		switch {
		case found >= 0 && r.Problems[found].Severity == attest.SeverityError:
			t.add(l.name, "NO", r.Problems[found].Message)
			reached, whole = reached && !l.stops, false
		case !reached:
			t.add(l.name, "-", "not checked, because of the above")
		case found >= 0:
			t.add(l.name, "yes", r.Problems[found].Message)
		default:
			t.add(l.name, "yes", l.holds)
		}
	}
	if whole {
		t.add(eventLogLink(r.EventLog)...)
		t.add(userspaceLink(r.UserspaceLog)...)
		t.add(imaLink(r.IMA)...)
		if i := r.IMA; i != nil {
			t.add(aggregateLink(i.BootAggregate)...)
		}
	}
	p.table(t, "")
}

// eventLogLink says which PCRs nothing explains only where the log replays:
// otherwise that was never established.
func eventLogLink(l *attest.EventLogResult) []string {
	switch {
	case l == nil:
		return []string{"Event log", "-", "none given, and none missing: no quoted PCR of 0 to 9 and 11 to 15 is extended"}
	case !l.Given:
		return []string{"Event log", "-", "none given: nothing explains PCR " + list(l.UnexplainedPCRs)}
	case !l.Replayed:
		return []string{"Event log", "NO", number(l.Events, "event", "events") + ", which do NOT replay to the quote"}
	case len(l.UnexplainedPCRs) == 0:
		return []string{"Event log", "yes", number(l.Events, "event", "events") + ", replays to the quote, and explains every quoted PCR that firmware extends"}
	}
	return []string{"Event log", "yes", number(l.Events, "event", "events") + ", replays to the quote; no event explains PCR " + list(l.UnexplainedPCRs)}
}

func userspaceLink(u *attest.UserspaceResult) []string {
	switch {
	case u == nil:
		return []string{"Userspace log", "-", "none given"}
	case !u.Replayed:
		return []string{"Userspace log", "NO", "it does NOT lead to the quote"}
	}
	return []string{"Userspace log", "yes", number(u.Records, "record", "records") + " of systemd, replays to the quote" + ahead(u.Ahead)}
}

func imaLink(i *attest.IMAResult) []string {
	switch {
	case i == nil:
		return []string{"IMA list", "-", "none given"}
	case !i.Replayed:
		return []string{"IMA list", "NO", "it does NOT replay to the quote"}
	}
	return []string{"IMA list", "yes", fmt.Sprintf("%s, %s, replays to the quote%s", number(i.Entries, "entry", "entries"),
		number(i.Violations, "violation", "violations"), ahead(i.Ahead))}
}

func ahead(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("; %d more came after it", n)
}

func aggregateLink(b attest.BootAggregate) []string {
	switch b {
	case attest.BootAggregateVerified:
		return []string{"Boot aggregate", "yes", "the IMA list is of the boot that the other PCRs describe"}
	case attest.BootAggregateMismatch:
		return []string{"Boot aggregate", "NO", "the IMA list is of another boot than the other PCRs"}
	case attest.BootAggregateUnknown:
		return []string{"Boot aggregate", "-", "the quote does not cover all PCRs that it is the hash of"}
	}
	return []string{"Boot aggregate", "-", "the IMA list does not begin with one"}
}

// drawUnknown lists what neither an allow-list nor a key vouches for.
func drawUnknown(p *page, r attest.Result) {
	if r.IMA == nil || r.IMA.Unknown == 0 {
		return
	}
	p.gap()
	p.line("%s that nothing vouches for", number(r.IMA.Unknown, "measurement", "measurements"))
	t := &table{head: []string{"REASON", "NAME", "DIGEST"}}
	for _, u := range r.IMAUnknown {
		t.add(u.Reason, u.Name, u.Algorithm+":"+u.Digest.String())
	}
	p.table(t, "")
	if more := r.IMA.Unknown - len(r.IMAUnknown); more > 0 {
		p.line("and %d more", more)
	}
}

// width is that of the terminal, in columns; 0 where there is none, and nothing is
// cut.
func (a *app) width() int {
	f, ok := a.Stdout.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return 0
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0
	}
	return width
}

func list(numbers []int) string {
	return strings.ReplaceAll(strings.Trim(fmt.Sprint(numbers), "[]"), " ", ", ")
}

func number(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

func plainPCRs(pcrs attest.PCRs) map[string]pcrValues {
	out := map[string]pcrValues{}
	for bank, values := range pcrs {
		out[bank] = pcrValues{}
		for index, value := range values {
			out[bank][index] = value.String()
		}
	}
	return out
}
