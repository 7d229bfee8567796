// Package template holds the TCG's templates of endorsement keys: which public
// area a TPM makes its EK from, with which policy, and in which NV indices the
// manufacturer leaves the certificate and what the template may be varied with.
// Both sides need them: a device to make its EK, a verifier to rebuild it.
//
// Specification: TCG "EK Credential Profile for TPM Family 2.0", level 0,
// version 2.5: NV indices in 2.2.1, templates and policies in annex B.
package template
