// Package differential compares our verifier with two that others wrote,
// github.com/google/go-attestation and github.com/google/go-tpm-tools (whose
// event log code is github.com/google/go-eventlog), over every event log and
// quote of their own test data, over the boots that were captured for us
// (attest/testdata/captured) and over a software TPM's evidence.
//
// It is a module of its own, so that nothing of theirs can be linked into a
// program of ours. Their test data is read where the go command keeps modules;
// none of it is copied here. After the main module's requirements have changed,
// "go mod tidy" in this directory follows them.
//
// Where we differ on purpose, differences says why. A difference that is not
// listed fails, and so does a listed one that is gone; docs/second-opinions.md is
// made from what was found:
//
//	go test . -run Differences -update
package differential_test
