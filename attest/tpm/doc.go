// Package tpm is the device side of attestation: it asks a TPM 2.0 for its
// endorsement key, makes keys that never leave it, and has it quote, certify,
// sign and activate credentials.
//
// Specifications: TCG "TPM 2.0 Library", parts 1 to 3; TCG "EK Credential
// Profile for TPM Family 2.0" (EK templates and NV indices).
//
// All byte slices that come out of this package are the contents of the TPM's
// structures without the 16-bit size that a TPM2B puts in front.
//
// The package assumes empty authorization values of the endorsement hierarchy,
// as a TPM has them from the factory, and needs no privilege beyond read and
// write access to the TPM device.
package tpm
