package cli

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"strings"

	"github.com/spf13/cobra"

	"troth/attest"
)

// codeSecureBoot: Secure Boot was required, and the evidence does not prove it.
const codeSecureBoot = "secure_boot_required"

// evidenceFlags name the files of one piece of evidence.
type evidenceFlags struct {
	ak, quote, signature, nonce, pcrs, eventLog, userspaceLog, ima string
	imaAllow, imaKeys                                              string
	secureBoot, sha1, attributes                                   bool
}

func (a *app) attestVerifyCommand() *cobra.Command {
	var e evidenceFlags
	cmd := &cobra.Command{
		Use:   "verify --ak FILE --quote FILE --signature FILE --nonce HEX",
		Short: "Verify a TPM quote and the logs behind it",
		Long: `Verify a TPM quote: key type and attributes, signature, magic and type, nonce, signed
selection and PCR digest; and that every log that is given replays to the quoted
values. What the logs then say (Secure Boot is off, an IMA violation, an unknown file)
is a fact in the answer, and no failure unless it was required.

--ak takes a PEM public key, a TPMT_PUBLIC or a TPM2B_PUBLIC; a PEM key carries no
attributes, which is a warning. --quote takes a TPMS_ATTEST or TPM2B_ATTEST,
--signature a TPMT_SIGNATURE, --nonce the qualifying data as signed, --pcrs the values
of exactly the quoted PCRs, as {"sha256":{"0":"HEX"}}. Without --pcrs the values are
derived from the logs, and verify only if the logs explain everything that was quoted.

Where systemd measured after the boot (systemd-pcrphase, systemd-pcrextend), the event
log alone does not explain PCR 9 and 11 to 15: add --userspace-log, the file
/run/log/systemd/tpm2-measure.log. --ima-allow and --ima-keys say what may run: digests
of files, as sha256sum prints them, and certificates that files are signed with. What
neither vouches for is listed.

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
	f.StringVar(&e.userspaceLog, "userspace-log", "", "`FILE` of systemd's own measurements (tpm2-measure.log)")
	f.StringVar(&e.ima, "ima", "", "`FILE` of the IMA list, ASCII or binary")
	f.StringVar(&e.imaAllow, "ima-allow", "", "`FILE` of digests that may run, as sha256sum prints them")
	f.StringVar(&e.imaKeys, "ima-keys", "", "`FILE` of certificates that files may be signed with")
	f.BoolVar(&e.secureBoot, "require-secure-boot", false, "not verified unless the log proves that Secure Boot is on")
	f.BoolVar(&e.sha1, "allow-sha1", false, "accept quotes of the SHA-1 bank")
	f.BoolVar(&e.attributes, "require-attributes", false, "not verified with a PEM key, which carries no attributes")
	return cmd
}

func (a *app) attestVerify(e evidenceFlags) error {
	if e.ak == "" || e.quote == "" || e.signature == "" || e.nonce == "" {
		return usagef("attest verify needs --ak, --quote, --signature and --nonce")
	}
	if e.ima == "" && (e.imaAllow != "" || e.imaKeys != "") {
		return usagef("--ima-allow and --ima-keys judge an IMA list: give one with --ima")
	}
	nonce, err := hex.DecodeString(strings.TrimSpace(e.nonce))
	if err != nil {
		return usagef("--nonce takes hexadecimal digits: %s", err)
	}
	evidence, err := a.readEvidence(e)
	if err != nil {
		return err
	}
	want := attest.Expectation{QualifyingData: nonce, AllowSHA1: e.sha1, RequireAttributes: e.attributes}
	if want.IMAAllow, err = a.readAllowList(e.imaAllow); err != nil {
		return err
	}
	if want.IMAKeys, err = a.readIMAKeys(e.imaKeys); err != nil {
		return err
	}
	result := hintAtKinds(attest.Appraise(evidence, want), evidence)
	if e.secureBoot {
		result = requireSecureBoot(result)
	}
	if err := a.printer().print(result, func(p *page) { drawResult(p, result, evidence) }); err != nil {
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
		{e.userspaceLog, maxEventLog, &out.UserspaceLog},
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

// hintAtKinds adds to a part that does not parse what it is instead.
func hintAtKinds(r attest.Result, e attest.Evidence) attest.Result {
	for i, p := range r.Problems {
		hint := ""
		switch p.Code {
		case attest.CodeAKMalformed, attest.CodeAKType, attest.CodeAKAttributes:
			hint = kindHint(e.AK, kindPublic, kindPEMKey)
		case attest.CodeQuoteMalformed, attest.CodeQuoteMagic:
			hint = kindHint(e.Quote, kindQuote)
		case attest.CodeTooLarge:
			part := e.Signature
			if strings.HasPrefix(p.Message, "quote ") {
				part = e.Quote
			}
			hint = kindHint(part, kindQuote)
		case attest.CodeSignatureMalformed, attest.CodeSignatureScheme, attest.CodeSignatureInvalid:
			// A quote that is no quote fails here first.
			if hint = kindHint(e.Signature); hint == "" && recognise(e.Quote) != kindQuote {
				hint = "; and the quote is no quote" + kindHint(e.Quote, kindQuote)
			}
		case attest.CodeEventLogMalformed:
			hint = kindHint(e.EventLog, kindEventLog)
		case attest.CodeUserspaceLogMalformed:
			hint = kindHint(e.UserspaceLog, kindUserspace)
		case attest.CodeIMAMalformed:
			hint = kindHint(e.IMA, kindIMA)
		}
		r.Problems[i].Message += hint
	}
	return r
}

func (a *app) readPCRs(file string) (pcrs attest.PCRs, err error) {
	text, err := a.readFile(file, maxBlob)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(text, &pcrs); err != nil {
		return nil, failf(exitUsage, codeFile, "%s holds no PCR values as {\"sha256\":{\"0\":\"HEX\"}}: %s%s", file, err, kindHint(text, kindPCRs))
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
