package fleet

import (
	"errors"
	"fmt"
)

// Kind says how an error is to be answered. The edge renders each kind once;
// nothing in between looks at it.
type Kind int

// The kinds of error that a use case can return.
const (
	Internal     Kind = iota // a defect or a broken dependency: nobody outside can act on it
	Invalid                  // the request is malformed or contradicts itself
	Refused                  // understood, and the answer is no
	Unauthorized             // nobody we know
	NotFound                 // no such thing
	Conflict                 // somebody else was faster: read again, then retry
	Unavailable              // a dependency is away: the same request may work later
)

// Error is a failure with a stable code that programs may match and a sentence
// that a person can act on. It never carries a secret.
type Error struct {
	Kind    Kind
	Code    string
	Message string
	Err     error // cause, for logs only; may be nil
}

func (e *Error) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("%s: %s: %v", e.Code, e.Message, e.Err)
	}
	return e.Code + ": " + e.Message
}

func (e *Error) Unwrap() error { return e.Err }

// Errorf makes an Error of the given kind and code.
func Errorf(kind Kind, code, format string, args ...any) *Error {
	return &Error{Kind: kind, Code: code, Message: fmt.Sprintf(format, args...)}
}

// Because is Errorf with a cause that is kept for logs.
func Because(err error, kind Kind, code, format string, args ...any) *Error {
	return &Error{Kind: kind, Code: code, Message: fmt.Sprintf(format, args...), Err: err}
}

// CodeOf is the stable code of err, or "internal".
func CodeOf(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return "internal"
}

// IsKind reports whether err is an Error of the kind k.
func IsKind(err error, k Kind) bool {
	var e *Error
	return errors.As(err, &e) && e.Kind == k
}

// Errors of a store, shared by every implementation.
var (
	// ErrNotFound says that no row has the identifier.
	ErrNotFound = &Error{Kind: NotFound, Code: "not_found", Message: "there is no such object"}
	// ErrConflict says that the row changed since it was read; nothing was written.
	ErrConflict = &Error{Kind: Conflict, Code: "conflict", Message: "the object was changed by somebody else: read it again and retry"}
)
