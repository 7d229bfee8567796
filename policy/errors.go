package policy

import "errors"

// What can go wrong with a decision. Each comes with a decision that grants
// nothing, wrapped in an error that names the kind of decision and the cause.
var (
	// ErrInput: the input has no canonical form, or lacks the time.
	ErrInput = errors.New("input is not usable")
	// ErrNoBundle: no bundle is there that could decide; see Current.
	ErrNoBundle = errors.New("no policy bundle is active")
	// ErrUndefined: no rule gave an answer.
	ErrUndefined = errors.New("policy gave no answer")
	// ErrEvaluation: evaluation stopped, by a conflict between rules, by an
	// error in a built-in function, or because the caller gave up.
	ErrEvaluation = errors.New("policy could not be evaluated")
	// ErrTimeout: the deadline of the evaluation passed.
	ErrTimeout = errors.New("policy did not answer in time")
	// ErrMemory: memory ran short while the evaluation was slow.
	ErrMemory = errors.New("policy took too much memory")
	// ErrMalformed: the answer is not of the type that it should be.
	ErrMalformed = errors.New("policy gave a malformed answer")
	// ErrInconsistent: the answer contradicts itself.
	ErrInconsistent = errors.New("policy contradicts itself")
)

// ErrBundle is the cause of every refusal of a bundle, by New and by Test.
var ErrBundle = errors.New("policy bundle refused")
