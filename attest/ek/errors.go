package ek

import "fmt"

// Codes of errors. They are stable and meant for programs.
const (
	// CodeMalformed: the bytes are no certificate, or one with a structure that
	// cannot be judged.
	CodeMalformed = "ek_malformed"
	// CodeNotEKCertificate: a certificate, but not of an endorsement key: the
	// extended key usage 2.23.133.8.1 is missing (as in platform certificates),
	// it is a CA's, or its key usage is not an EK's.
	CodeNotEKCertificate = "ek_not_ek_certificate"
	// CodeUnknownManufacturer: no chain leads to a root that was added.
	CodeUnknownManufacturer = "ek_unknown_manufacturer"
	// CodeChain: certificates lead to a root that was added, but one of them may
	// not stand where it stands: it is not a CA's, lacks the key usage, has too
	// many CAs below it, or has a critical extension of unknown meaning.
	CodeChain = "ek_chain_invalid"
	// CodeExpired: the certificate, or one above it, is not valid now.
	CodeExpired = "ek_expired"
	// CodeRevoked: a CRL of its issuer lists the certificate, or one above it.
	CodeRevoked = "ek_revoked"
	// CodeCRLUnavailable: policy requires CRLs, and for a certificate of the chain
	// there is none: nobody gave one, it names no address, or none could be had.
	CodeCRLUnavailable = "ek_crl_unavailable"
	// CodeCRLStale: policy requires CRLs, and the one that there is has ended.
	CodeCRLStale = "ek_crl_stale"
	// CodeUnsupportedKey: the key is of a kind without a template here.
	CodeUnsupportedKey = "ek_unsupported_key"
	// CodeNotTemplate: the public area is not exactly a TCG template with a key.
	CodeNotTemplate = "ek_not_template"
	// CodeKeyMismatch: certificate and public area are for different keys.
	CodeKeyMismatch = "ek_key_mismatch"
)

// Error says why an EK was refused.
type Error struct {
	Code    string // one of the constants above
	Message string // for people
	Err     error  // the cause, if there is one
}

func (e *Error) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("%s: %v", e.Message, e.Err)
	}
	return e.Message
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

func refuse(code string, cause error, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...), Err: cause}
}
