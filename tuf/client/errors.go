package client

import (
	"context"
	"errors"
	"fmt"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// Codes of an Error. They are stable.
const (
	CodeExpired     = "tuf_expired"     // metadata is past its expiry: a frozen repository, or nobody signs any more
	CodeRollback    = "tuf_rollback"    // a version is lower than one that was seen, or not the one announced
	CodeSignature   = "tuf_signature"   // fewer valid signatures than the threshold
	CodeMalformed   = "tuf_malformed"   // metadata does not have the shape that the specification asks for
	CodeContent     = "tuf_content"     // length or hash differs from what was signed
	CodeTooLarge    = "tuf_too_large"   // more bytes than signed, or than the role's limit
	CodeTruncated   = "tuf_truncated"   // the answer ended early; a download resumes
	CodeSlow        = "tuf_slow"        // less than the minimum rate; a download resumes
	CodeUnreachable = "tuf_unreachable" // no answer, or not a useful one
	CodeNotFound    = "tuf_not_found"   // the file or target does not exist
	CodeName        = "tuf_name"        // a target or role name that could escape its directory
	CodeDelegation  = "tuf_delegation"  // a release whose model its signer may not sign for
	CodeNotReady    = "tuf_not_ready"   // no successful Refresh yet
	CodeStorage     = "tuf_storage"     // the local disk refused
)

// Error is what every function of this package returns when it fails.
type Error struct {
	Code string // one of the Code constants
	What string // the role or target that it is about
	Err  error
}

// Error names what failed and why.
func (e *Error) Error() string { return fmt.Sprintf("%s: %v (%s)", e.What, e.Err, e.Code) }

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// Code gives the code of an error of this package, "" for any other.
func Code(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

func fail(code, what string, err error) error {
	return &Error{Code: code, What: what, Err: err}
}

func failf(code, what, format string, args ...any) error {
	return fail(code, what, fmt.Errorf(format, args...))
}

// classify gives go-tuf's errors a code. Its error types form a tree in which
// the general kind matches all special ones, so the special ones come first.
func classify(what string, err error) error {
	var coded *Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &coded):
		return err
	case errors.Is(err, &metadata.ErrExpiredMetadata{}):
		return fail(CodeExpired, what, err)
	case errors.Is(err, &metadata.ErrLengthOrHashMismatch{}):
		return fail(CodeContent, what, err)
	case errors.Is(err, &metadata.ErrBadVersionNumber{}):
		return fail(CodeRollback, what, err)
	case errors.Is(err, &metadata.ErrUnsignedMetadata{}):
		return fail(CodeSignature, what, err)
	case errors.Is(err, &metadata.ErrRepository{}):
		return fail(CodeRollback, what, err) // what is left of this kind: a role that vanished from the snapshot
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return fail(CodeUnreachable, what, err)
	}
	return fail(CodeMalformed, what, err)
}
