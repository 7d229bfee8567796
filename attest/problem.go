package attest

import (
	"fmt"
	"strings"
)

// Severity of a Problem. Only errors make a Result not verified.
type Severity string

// Severities.
const (
	SeverityError   Severity = "error"
	SeverityWarning Severity = "warning"
	SeverityInfo    Severity = "info"
)

// Problem is one thing that an appraisal found wrong. Codes are stable; messages
// are for people and may change. A message holds no secret, and text from a
// device only in quoted, shortened form.
type Problem struct {
	Code     string   `json:"code"`
	Severity Severity `json:"severity"`
	Message  string   `json:"message"`
}

// Problem codes. Unless noted, a problem with the code is an error.
const (
	// CodeTooLarge: an input exceeds its limit and was not read.
	CodeTooLarge = "evidence_too_large"

	// CodeAKMalformed: the AK is neither a TPMT_PUBLIC, a TPM2B_PUBLIC nor a PEM public key.
	CodeAKMalformed = "ak_malformed"
	// CodeAKType: the AK's type, curve, size or exponent is not one that is accepted.
	CodeAKType = "ak_type"
	// CodeAKScheme: the AK does not pin a signing scheme and hash that are accepted.
	CodeAKScheme = "ak_scheme"
	// CodeAKAttributes: the AK lacks an attribute that makes its signatures mean something.
	CodeAKAttributes = "ak_attributes"
	// CodeAKAttributesUnknown: a PEM key carries no attributes. A warning, unless required.
	CodeAKAttributesUnknown = "ak_attributes_unknown"

	// CodeSignatureMalformed: the signature is not a TPMT_SIGNATURE.
	CodeSignatureMalformed = "signature_malformed"
	// CodeSignatureScheme: the signature's scheme or hash is not the key's.
	CodeSignatureScheme = "signature_scheme"
	// CodeSignatureInvalid: the signature does not verify under the AK.
	CodeSignatureInvalid = "signature_invalid"

	// CodeQuoteMalformed: the quote is not a TPMS_ATTEST.
	CodeQuoteMalformed = "quote_malformed"
	// CodeQuoteMagic: the quote was not made inside a TPM (TPM_GENERATED_VALUE).
	CodeQuoteMagic = "quote_magic"
	// CodeQuoteType: an attestation, but of something else than PCRs.
	CodeQuoteType = "quote_type"

	// CodeNonceMissing: no qualifying data was expected, so freshness cannot be told.
	CodeNonceMissing = "nonce_missing"
	// CodeNonceMismatch: the quote's qualifying data is not the expected one.
	CodeNonceMismatch = "nonce_mismatch"

	// CodeSelectionEmpty: the quote covers no PCR.
	CodeSelectionEmpty = "selection_empty"
	// CodeSelectionMismatch: the signed PCR selection is not the required one, or names unknown banks or PCRs.
	CodeSelectionMismatch = "selection_mismatch"
	// CodeSHA1: the quote covers a SHA-1 bank, which was not allowed.
	CodeSHA1 = "sha1_not_allowed"

	// CodePCRsMissing: a quoted PCR's value is not in the evidence.
	CodePCRsMissing = "pcrs_missing"
	// CodePCRsNotQuoted: the evidence has a PCR value that the quote does not cover.
	CodePCRsNotQuoted = "pcrs_not_quoted"
	// CodePCRMalformed: a PCR value does not have its bank's size.
	CodePCRMalformed = "pcr_malformed"
	// CodePCRDigestMismatch: the PCR values do not hash to the quoted digest.
	CodePCRDigestMismatch = "pcr_digest_mismatch"

	// CodeClockWentBack: the TPM's clock is behind the one quoted before. A warning where a loss of power explains it.
	CodeClockWentBack = "clock_went_back"
	// CodeResetCountWentBack: the TPM's reset count is below the one quoted before.
	CodeResetCountWentBack = "reset_count_went_back"
	// CodeRestartCountWentBack: the TPM's restart count went back without a reset.
	CodeRestartCountWentBack = "restart_count_went_back"

	// CodeEventLogMalformed: the event log does not parse.
	CodeEventLogMalformed = "event_log_malformed"
	// CodeEventLogBank: the event log has digests of none of the quoted banks.
	CodeEventLogBank = "event_log_bank_missing"
	// CodeEventLogNotQuoted: the quote covers no PCR that the event log explains.
	CodeEventLogNotQuoted = "event_log_not_quoted"
	// CodeEventLogMismatch: a PCR that the event log covers does not replay to its quoted value.
	CodeEventLogMismatch = "event_log_mismatch"
	// CodeEventDataMismatch: an event's digest is not the hash of its data, where the profile says so.
	CodeEventDataMismatch = "event_data_mismatch"
	// CodeEventUnverified: the S-CRTM version in the log is only claimed, its digest is not its hash. A warning.
	CodeEventUnverified = "event_unverified"
	// CodeEventMalformed: the data of an event that was measured does not parse.
	CodeEventMalformed = "event_malformed"
	// CodeEventRepeated: a Secure Boot variable was measured again or after the separator.
	CodeEventRepeated = "event_repeated"
	// CodeSeparatorInvalid: PCR 0 to 7 does not have exactly one separator of an allowed value.
	CodeSeparatorInvalid = "separator_invalid"
	// CodeEventOutOfPlace: an event type is unknown or not allowed in its PCR, which yields no facts. A warning.
	CodeEventOutOfPlace = "event_out_of_place"
	// CodeUnexplainedPCR: no event explains a quoted PCR that is not at its reset value. An error for PCR 0 to 7, a warning for others and where no event log was given.
	CodeUnexplainedPCR = "unexplained_pcr"

	// CodeUserspaceLogMalformed: the userspace log does not parse, or measures into a PCR that is the firmware's or IMA's.
	CodeUserspaceLogMalformed = "userspace_log_malformed"
	// CodeUserspaceLogMismatch: no beginning of the userspace log, after the event log, leads to the quoted PCRs.
	CodeUserspaceLogMismatch = "userspace_log_mismatch"
	// CodeUserspaceLogData: a digest of the userspace log is not the hash of its text, in a PCR where nothing secret is measured.
	CodeUserspaceLogData = "userspace_log_data_mismatch"

	// CodeIMAMalformed: the IMA list does not parse, or a template hash does not hold.
	CodeIMAMalformed = "ima_malformed"
	// CodeIMANotQuoted: the quote does not cover PCR 10.
	CodeIMANotQuoted = "ima_not_quoted"
	// CodeIMAMismatch: no prefix of the IMA list leads to the quoted PCR 10.
	CodeIMAMismatch = "ima_mismatch"
	// CodeIMAState: the IMA list is said to continue another boot's, one of another form, or a state without the quoted banks.
	CodeIMAState = "ima_state"
	// CodeIMAJudged: the beginning of the IMA list was judged by other files than those that the verifier now expects.
	CodeIMAJudged = "ima_judged"
	// CodeIMABootAggregate: the list's boot_aggregate is not that of the quoted PCRs. A warning where it is missing.
	CodeIMABootAggregate = "ima_boot_aggregate"
	// CodeIMASHA1Padded: the kernel extended padded SHA-1 digests into a stronger bank. A warning.
	CodeIMASHA1Padded = "ima_sha1_padded"

	// CodeCertifyMalformed: the certification is not a TPMS_ATTEST.
	CodeCertifyMalformed = "certify_malformed"
	// CodeCertifyMagic: the certification was not made inside a TPM.
	CodeCertifyMagic = "certify_magic"
	// CodeCertifyType: an attestation, but not of a key.
	CodeCertifyType = "certify_type"
	// CodeCertifyName: another key was certified than the one shown.
	CodeCertifyName = "certify_name"
	// CodeTLSKeyMalformed: the certified key is not a TPMT_PUBLIC.
	CodeTLSKeyMalformed = "tls_key_malformed"
	// CodeTLSKeyType: the certified key is not ECC P-256, or pins a scheme that TLS 1.3 cannot use.
	CodeTLSKeyType = "tls_key_type"
	// CodeTLSKeyAttributes: the certified key could leave its TPM, or is not a plain signing key.
	CodeTLSKeyAttributes = "tls_key_attributes"

	// CodeDevIDKeyMalformed: the manufacturer's key (IDevID or IAK) is not a TPMT_PUBLIC.
	CodeDevIDKeyMalformed = "idevid_key_malformed"
	// CodeDevIDKeyType: the manufacturer's key is of a type, curve, size or name algorithm that is not accepted.
	CodeDevIDKeyType = "idevid_key_type"
	// CodeDevIDKeyAttributes: the manufacturer's key could leave its TPM, or is not a signing key.
	CodeDevIDKeyAttributes = "idevid_key_attributes"

	// CodeEKMalformed: the EK public is not a TPMT_PUBLIC.
	CodeEKMalformed = "ek_public_malformed"
	// CodeEKUnusable: the EK is not a restricted decryption key that a credential can be made for.
	CodeEKUnusable = "ek_public_unusable"
	// CodeCredentialInput: the name or the secret does not fit a credential.
	CodeCredentialInput = "credential_input"
)

// Error reports why something was not verified. Problems holds at least one
// problem of SeverityError.
type Error struct{ Problems []Problem }

// Code is the first error's code.
func (e *Error) Code() string {
	for _, p := range e.Problems {
		if p.Severity == SeverityError {
			return p.Code
		}
	}
	return ""
}

// Error lists the errors, code and message.
func (e *Error) Error() string {
	var out []string
	for _, p := range e.Problems {
		if p.Severity == SeverityError {
			out = append(out, p.Code+": "+p.Message)
		}
	}
	return strings.Join(out, "; ")
}

func failure(code, format string, args ...any) *Error {
	return &Error{Problems: []Problem{problem(code, SeverityError, format, args...)}}
}

func problem(code string, s Severity, format string, args ...any) Problem {
	return Problem{Code: code, Severity: s, Message: fmt.Sprintf(format, args...)}
}
