// Package decision is the decision log: what policy decided, of which input, by
// which bundle, each named by its SHA-256 in the manner of OPA's decision logs.
// It is apart from the audit trail, which says who did what.
//
// Log reads it. Recorder adds the answers that are given too often for a row
// each; all others are written by the use case that they are part of, in the
// same transaction.
//
// Names of devices are not in it, so that a name that a bundle masks does not
// come back by another way.
package decision
