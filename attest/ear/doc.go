// Package ear makes and verifies attestation results for relying parties: signed
// JSON Web Tokens in the form of EAT Attestation Results (draft-ietf-rats-ear-04,
// an EAT profile, RFC 9711) with the trustworthiness tiers and vectors of AR4SI
// (draft-ietf-rats-ar4si).
//
// A token says what a verifier holds of one device, until when, and on which
// policy. It is signed with ECDSA on P-256 (ES256, RFC 7518) and nothing else;
// the public keys come as a JWK Set (RFC 7517).
//
// The package is pure: bytes and an instant in, an answer out. What a token says
// of a device is for its caller to decide; the package refuses to sign, and to
// accept, a status that is better than the claims behind it.
package ear
