package idevid

import (
	"errors"
	"fmt"

	"troth/attest/ek"
)

// Codes of errors. They are stable and meant for programs.
const (
	// CodeMalformed: the bytes are not certificates, too many or too long, or one
	// of them has a structure that cannot be judged.
	CodeMalformed = "idevid_malformed"
	// CodeKeyMismatch: none of the certificates is for the key that was shown.
	CodeKeyMismatch = "idevid_key_mismatch"
	// CodeNotDevID: the certificate is for the key, but not an IDevID's or IAK's: it
	// is a CA's, an EK's or a platform's, its key may not sign, or its issuer does
	// not say that the key is in a TPM and of this kind.
	CodeNotDevID = "idevid_not_idevid_certificate"
	// CodeUnknownManufacturer: no chain leads to a root that was added.
	CodeUnknownManufacturer = "idevid_unknown_manufacturer"
	// CodeChain: certificates lead to a root that was added, but one of them may
	// not stand where it stands.
	CodeChain = "idevid_chain_invalid"
	// CodeExpired: the certificate, or one above it, is not valid now.
	CodeExpired = "idevid_expired"
	// CodeRevoked: a CRL of its issuer lists the certificate, or one above it.
	CodeRevoked = "idevid_revoked"
	// CodeCRLUnavailable: policy requires CRLs, and for a certificate of the chain
	// there is none.
	CodeCRLUnavailable = "idevid_crl_unavailable"
	// CodeCRLStale: policy requires CRLs, and the one that there is has ended.
	CodeCRLStale = "idevid_crl_stale"
)

// Error says why an identity was refused.
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

// CodeOfChain is the code here for a code of package ek, which verifies chains and
// looks up revocation for both.
func CodeOfChain(code string) string {
	switch code {
	case ek.CodeUnknownManufacturer:
		return CodeUnknownManufacturer
	case ek.CodeChain:
		return CodeChain
	case ek.CodeExpired:
		return CodeExpired
	case ek.CodeRevoked:
		return CodeRevoked
	case ek.CodeCRLUnavailable:
		return CodeCRLUnavailable
	case ek.CodeCRLStale:
		return CodeCRLStale
	}
	return CodeMalformed
}

func ofChain(err error) *Error {
	var e *ek.Error
	if errors.As(err, &e) {
		return refuse(CodeOfChain(e.Code), err, "manufacturer's identity")
	}
	return refuse(CodeMalformed, err, "manufacturer's identity")
}
