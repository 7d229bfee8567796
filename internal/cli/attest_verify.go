package cli

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"troth/attest"
)

// codeSecureBoot: Secure Boot was required, and the evidence does not prove it.
const codeSecureBoot = "secure_boot_required"

// evidenceFlags name the files of one piece of evidence.
type evidenceFlags struct {
	ak, quote, signature, nonce, pcrs, eventLog, ima string
	secureBoot, sha1, attributes                     bool
}

func (a *app) attestVerifyCommand() *cobra.Command {
	var e evidenceFlags
	cmd := &cobra.Command{
		Use:   "verify --ak FILE --quote FILE --signature FILE --nonce HEX",
		Short: "Verify a TPM quote and the logs behind it",
		Long: `Verify a TPM quote: key type and attributes, signature, magic and type, nonce, signed
selection and PCR digest; and that every log that is given replays to the quoted
values. What the logs then say (Secure Boot is off, an IMA violation) is a fact in the
answer, and no failure unless it was required.

--ak takes a PEM public key, a TPMT_PUBLIC or a TPM2B_PUBLIC; a PEM key carries no
attributes, which is a warning. --quote takes a TPMS_ATTEST or TPM2B_ATTEST,
--signature a TPMT_SIGNATURE, --nonce the qualifying data as signed, --pcrs the values
of exactly the quoted PCRs, as {"sha256":{"0":"HEX"}}. Without --pcrs the values are
derived from the logs, and verify only if the logs explain everything that was quoted.

Exit status: 0 verified; 1 not verified; 2 a file cannot be read.`,
		Example: `  troth attest verify --ak ak.pub --quote quote.bin --signature sig.bin --nonce 6e6f6e6365 \
    --pcrs pcrs.json --event-log binary_bios_measurements --require-secure-boot -o json`,
		Args: takes(),
		RunE: a.action(func(context.Context, []string) error { return a.attestVerify(e) }),
	}
	f := cmd.Flags()
	f.StringVar(&e.ak, "ak", "", "`FILE` of the attestation key's public part")
	f.StringVar(&e.quote, "quote", "", "`FILE` of the quote")
	f.StringVar(&e.signature, "signature", "", "`FILE` of the quote's signature")
	f.StringVar(&e.nonce, "nonce", "", "qualifying data as signed, in hexadecimal")
	f.StringVar(&e.pcrs, "pcrs", "", "`FILE` of the quoted PCR values (JSON)")
	f.StringVar(&e.eventLog, "event-log", "", "`FILE` of the firmware event log")
	f.StringVar(&e.ima, "ima", "", "`FILE` of the IMA list, ASCII or binary")
	f.BoolVar(&e.secureBoot, "require-secure-boot", false, "not verified unless the log proves that Secure Boot is on")
	f.BoolVar(&e.sha1, "allow-sha1", false, "accept quotes of the SHA-1 bank")
	f.BoolVar(&e.attributes, "require-attributes", false, "not verified with a PEM key, which carries no attributes")
	return cmd
}

func (a *app) attestVerify(e evidenceFlags) error {
	if e.ak == "" || e.quote == "" || e.signature == "" || e.nonce == "" {
		return usagef("attest verify needs --ak, --quote, --signature and --nonce")
	}
	nonce, err := hex.DecodeString(strings.TrimSpace(e.nonce))
	if err != nil {
		return usagef("--nonce takes hexadecimal digits: %s", err)
	}
	evidence, err := a.readEvidence(e)
	if err != nil {
		return err
	}
	result := attest.Appraise(evidence, attest.Expectation{
		QualifyingData: nonce, AllowSHA1: e.sha1, RequireAttributes: e.attributes,
	})
	if e.secureBoot {
		result = requireSecureBoot(result)
	}
	if err := a.printer().print(result, func(p *page) { drawResult(p, result) }); err != nil {
		return err
	}
	if result.Verified {
		return nil
	}
	return a.after(notVerified(result))
}

func (a *app) readEvidence(e evidenceFlags) (out attest.Evidence, err error) {
	for _, part := range []struct {
		file  string
		limit int64
		to    *[]byte
	}{
		{e.ak, maxBlob, &out.AK},
		{e.quote, maxBlob, &out.Quote},
		{e.signature, maxBlob, &out.Signature},
		{e.eventLog, maxEventLog, &out.EventLog},
		{e.ima, maxIMAList, &out.IMA},
	} {
		if part.file == "" {
			continue
		}
		if *part.to, err = a.readFile(part.file, part.limit); err != nil {
			return out, err
		}
	}
	if e.pcrs != "" {
		out.PCRs, err = a.readPCRs(e.pcrs)
	}
	return out, err
}

func (a *app) readPCRs(file string) (pcrs attest.PCRs, err error) {
	text, err := a.readFile(file, maxBlob)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(text, &pcrs); err != nil {
		return nil, failf(exitUsage, codeFile, "%s holds no PCR values as {\"sha256\":{\"0\":\"HEX\"}}: %s", file, err)
	}
	return pcrs, nil
}

// requireSecureBoot makes a verified result fail unless Secure Boot is proven.
func requireSecureBoot(r attest.Result) attest.Result {
	if !r.Verified || r.SecureBoot != nil && r.SecureBoot.Enabled {
		return r
	}
	message := "Secure Boot is required, and the evidence says that it is off"
	if r.SecureBoot == nil {
		message = "Secure Boot is required, and the evidence says nothing of it: an event log and a quote of PCR 7 are needed"
	}
	r.Verified = false
	r.Problems = append(r.Problems, attest.Problem{Code: codeSecureBoot, Severity: attest.SeverityError, Message: message})
	return r
}

// notVerified names the first error; the answer has the others.
func notVerified(r attest.Result) error {
	for _, p := range r.Problems {
		if p.Severity == attest.SeverityError {
			return failf(exitNo, p.Code, "not verified: %s", p.Message)
		}
	}
	return failf(exitNo, "not_verified", "not verified")
}

// drawResult explains the verdict line by line: what holds, what the logs say,
// what does not hold, and last the values.
func drawResult(p *page, r attest.Result) {
	lines := [][2]string{{"Verified", yesNo(r.Verified)}}
	if r.SecureBoot != nil {
		lines = append(lines, [2]string{"Secure Boot", onOff(r.SecureBoot.Enabled)})
	}
	if l := r.EventLog; l != nil {
		lines = append(lines, [2]string{"Event log", eventLogLine(*l)})
		lines = append(lines, bootLines(*l)...)
	}
	if i := r.IMA; i != nil {
		lines = append(lines, [2]string{"IMA list", fmt.Sprintf("%s, %s, %s", number(i.Entries, "entry", "entries"), number(i.Violations, "violation", "violations"), replays(i.Replayed))})
	}
	if c := r.Clock; c != nil {
		running := time.Duration(c.Clock) * time.Millisecond //nolint:gosec // a TPM's clock counts milliseconds since it was made
		lines = append(lines, [2]string{"TPM clock", fmt.Sprintf("ran for %s, reset %d, restart %d, safe: %s", running, c.ResetCount, c.RestartCount, yesNo(c.Safe))})
	}
	p.fields(lines...)
	drawProblems(p, r.Problems)
	if len(r.PCRs) > 0 {
		p.gap()
		drawPCRs(p, plainPCRs(r.PCRs))
	}
}

// eventLogLine says which PCRs nothing explains only where the log replays:
// otherwise that was never established.
func eventLogLine(l attest.EventLogResult) string {
	line := number(l.Events, "event", "events") + ", " + replays(l.Replayed)
	switch {
	case !l.Replayed:
		return line
	case len(l.UnexplainedPCRs) == 0:
		return line + ", and explains every quoted PCR that firmware extends"
	default:
		return line + fmt.Sprintf("; no event explains PCR %s", strings.Trim(fmt.Sprint(l.UnexplainedPCRs), "[]"))
	}
}

// bootLines say what was started, as far as the log proves it.
func bootLines(l attest.EventLogResult) (lines [][2]string) {
	for _, image := range l.BootLoaders {
		name := first(image.Path, "an image that the log does not name")
		lines = append(lines, [2]string{"Booted", name + " " + strongest(image.Digests)})
	}
	for _, c := range l.CommandLines {
		text := first(c.Text, "(only its digest was measured) "+strongest(c.Digests))
		lines = append(lines, [2]string{fmt.Sprintf("Command, PCR %d", c.PCR), text})
	}
	return lines
}

func replays(yes bool) string {
	if yes {
		return "replays to the quote"
	}
	return "does NOT replay to the quote"
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
