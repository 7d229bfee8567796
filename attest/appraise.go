package attest

import (
	"crypto"
	"crypto/subtle"
	"maps"
	"slices"

	"github.com/google/go-tpm/tpm2"

	"troth/attest/eventlog"
	"troth/attest/ima"
)

// Appraise verifies evidence against an expectation. It always returns a result;
// whatever could not be verified is a problem in it.
func Appraise(e Evidence, want Expectation) Result {
	a := appraisal{evidence: e, want: want, result: Result{Problems: []Problem{}, PCRs: PCRs{}}}
	if a.quote() {
		a.result.PCRs = a.evidence.PCRs.clone()
		a.logs()
	}
	a.result.Verified = !a.failed
	if a.result.Verified && a.result.IMA != nil {
		a.result.IMAState = a.imaState()
	}
	return a.result
}

// appraisal holds the state of one appraisal. Each step runs only when the ones
// before it held.
type appraisal struct {
	evidence  Evidence
	want      Expectation
	selection selection // as signed
	result    Result
	failed    bool

	log     *eventlog.Log // see parsedLog
	logErr  error
	list    *ima.List // see parsedList
	listErr error
}

func (a *appraisal) fail(code, format string, args ...any) {
	a.failed = true
	a.result.Problems = append(a.result.Problems, problem(code, SeverityError, format, args...))
}

func (a *appraisal) warn(code, format string, args ...any) {
	a.result.Problems = append(a.result.Problems, problem(code, SeverityWarning, format, args...))
}

func (a *appraisal) take(e *Error) bool {
	if e != nil {
		a.failed = true
		a.result.Problems = append(a.result.Problems, e.Problems...)
	}
	return e == nil
}

// quote verifies everything up to the PCR digest.
func (a *appraisal) quote() bool {
	if !a.sizes() {
		return false
	}
	key, fail := readAK(a.evidence.AK)
	if !a.take(fail) || !a.attributes(key) {
		return false
	}
	quoted := unsized(a.evidence.Quote)
	hash, fail := key.verify(a.evidence.Signature, quoted)
	if !a.take(fail) {
		return false
	}
	attested, ok := a.quoteInfo(quoted)
	if !ok {
		return false
	}
	a.nonce(attested.extraData)
	return a.values(attested, hash) && !a.failed
}

func (a *appraisal) sizes() bool {
	for _, input := range []struct {
		what        string
		size, limit int
	}{
		{"quote", len(a.evidence.Quote), maxAttest},
		{"signature", len(a.evidence.Signature), maxSignature},
		{"qualifying data", len(a.want.QualifyingData), maxNonce},
	} {
		if input.size > input.limit {
			a.fail(CodeTooLarge, "%s has %d bytes, more than %d", input.what, input.size, input.limit)
		}
	}
	if len(a.want.QualifyingData) == 0 {
		a.fail(CodeNonceMissing, "no qualifying data is expected; a quote without a nonce may be old")
	}
	return !a.failed
}

func (a *appraisal) attributes(key attestationKey) bool {
	switch {
	case key.certain:
	case a.want.RequireAttributes:
		a.fail(CodeAKAttributesUnknown, "a PEM key carries no TPM attributes, and they are required")
	default:
		a.warn(CodeAKAttributesUnknown, "a PEM key carries no TPM attributes: that it is a restricted key of a TPM must be known otherwise")
	}
	return !a.failed
}

// quoteInfo reads a TPMS_ATTEST and requires that a TPM made it, as a quote.
func (a *appraisal) quoteInfo(quoted []byte) (attestation, bool) {
	attested, fail := readAttest(quoted, tpm2.TPMSTAttestQuote, CodeQuoteMalformed, CodeQuoteMagic, CodeQuoteType)
	return attested, a.take(fail)
}

// readAttest reads a TPMS_ATTEST of the wanted type. Magic and type are judged
// on their bytes, before the rest is parsed.
func readAttest(data []byte, want tpm2.TPMST, malformed, wrongMagic, wrongType string) (attestation, *Error) {
	magic, typ, ok := attestHead(data)
	switch {
	case !ok:
		return attestation{}, failure(malformed, "attestation has %d bytes", len(data))
	case magic != uint32(tpm2.TPMGeneratedValue):
		return attestation{}, failure(wrongMagic, "attestation begins with 0x%08x: no TPM made it", magic)
	case typ != uint16(want):
		return attestation{}, failure(wrongType, "attestation is of type 0x%04x, not 0x%04x", typ, uint16(want))
	}
	attested, err := decodeAttestation(data)
	if err != nil {
		return attestation{}, failure(malformed, "attestation: %v", err)
	}
	return attested, nil
}

func (a *appraisal) nonce(extraData []byte) {
	if subtle.ConstantTimeCompare(extraData, a.want.QualifyingData) != 1 {
		a.fail(CodeNonceMismatch, "the quote's qualifying data is not the expected one")
	}
}

// values checks the signed selection, and that the PCR values are exactly the
// selected ones and hash to the signed digest.
func (a *appraisal) values(attested attestation, hash crypto.Hash) bool {
	var err error
	if a.selection, err = readSelection(attested.selections); err != nil {
		a.fail(CodeSelectionMismatch, "signed selection: %v", err)
		return false
	}
	if !a.selected() {
		return false
	}
	if len(a.evidence.PCRs) == 0 && (a.evidence.hasEventLog() || a.evidence.IMA != nil) && !a.derive(hash, attested.pcrDigest) {
		return false
	}
	if !a.exactly() {
		return false
	}
	if subtle.ConstantTimeCompare(a.selection.digest(hash, a.evidence.PCRs), attested.pcrDigest) != 1 {
		a.fail(CodePCRDigestMismatch, "the PCR values do not hash to the quoted digest")
		return false
	}
	if !a.failed {
		clock := attested.clock
		a.result.Clock = &clock
		a.result.ClockProblems = CompareClock(a.want.LastClock, clock)
	}
	return true
}

func (a *appraisal) selected() bool {
	switch {
	case len(a.selection) == 0:
		a.fail(CodeSelectionEmpty, "the quote covers no PCR")
		return false
	case a.want.Selection != nil && !a.selection.equals(a.want.Selection):
		a.fail(CodeSelectionMismatch, "the quote covers %s, which is not the required selection", a.selection)
		return false
	case !a.want.AllowSHA1 && a.selection.of("sha1") != nil:
		a.fail(CodeSHA1, "the quote covers the SHA-1 bank, which is not allowed")
		return false
	}
	return true
}

// exactly requires a well-formed value for each selected PCR and for no other.
func (a *appraisal) exactly() bool {
	values := a.evidence.PCRs
	if err := values.check(); err != nil {
		a.fail(CodePCRMalformed, "PCR values: %v", err)
		return false
	}
	given := 0
	for _, bank := range values {
		given += len(bank)
	}
	for _, b := range a.selection {
		bank := values[b.bank]
		for _, i := range b.indexes {
			if _, ok := bank[i]; !ok {
				a.fail(CodePCRsMissing, "PCR %d of bank %s is quoted, but its value is not given", i, b.bank)
				return false
			}
		}
		given -= len(b.indexes)
	}
	if given == 0 {
		return true
	}
	for _, bank := range slices.Sorted(maps.Keys(values)) {
		for _, i := range slices.Sorted(maps.Keys(values[bank])) {
			if !slices.Contains(a.selection.of(bank), i) {
				a.fail(CodePCRsNotQuoted, "PCR %d of bank %s is given, but the quote does not cover it", i, bank)
				return false
			}
		}
	}
	return true
}
