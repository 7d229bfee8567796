package ear

import (
	"errors"
	"fmt"
)

// Codes of the problems that a token can have. They are stable.
const (
	CodeMalformed    = "token_malformed"         // CodeMalformed: it is not a JWS in compact serialisation, or not JSON inside, or too long
	CodeAlgorithm    = "token_algorithm"         // CodeAlgorithm: it is not signed with ES256; "none" is no signature
	CodeType         = "token_type"              // CodeType: its header does not say that it is an EAT in a JWT (typ eat+jwt)
	CodeHeader       = "token_header"            // CodeHeader: its header has more than alg, kid and typ, such as a key of its own
	CodeKeyUnknown   = "token_key_unknown"       // CodeKeyUnknown: the key that it names is not in the key set: get the set anew
	CodeSignature    = "token_signature_invalid" // CodeSignature: the signature does not hold
	CodeProfile      = "token_profile"           // CodeProfile: it has another EAT profile than the one known here
	CodeClaims       = "token_claims"            // CodeClaims: a claim is missing, or is not of the documented form
	CodeInconsistent = "token_inconsistent"      // CodeInconsistent: a status is better than the claims that it stands on
	CodeExpired      = "token_expired"           // CodeExpired: its time is over: ask for a fresh one
	CodeNotYet       = "token_from_future"       // CodeNotYet: it was issued later than now: one of the clocks is wrong
	CodeIssuer       = "token_issuer"            // CodeIssuer: somebody else issued it
	CodeSubject      = "token_subject"           // CodeSubject: it is about another device
	CodeNonce        = "token_nonce"             // CodeNonce: it does not have the nonce that was asked for: it may be a replay
	CodeKeySet       = "key_set_malformed"       // CodeKeySet: the key set is no JWK Set with public P-256 keys of distinct names
)

// Error is a problem with a token or a key set.
type Error struct {
	Code    string
	Message string
}

func (e *Error) Error() string { return e.Code + ": " + e.Message }

func errorf(code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// CodeOf is the code of err; empty if it is no problem of this package.
func CodeOf(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}
