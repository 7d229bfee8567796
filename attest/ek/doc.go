// Package ek judges endorsement keys: it reads EK certificates as TPMs hold
// them, verifies their chain up to the manufacturers that one trusts, and
// rebuilds the TPM's public area from the templates of the specification, so
// that nothing a device says about its EK is taken on trust.
//
// Specification: TCG "EK Credential Profile for TPM Family 2.0", level 0,
// version 2.5 (templates in annex B, certificates in section 3).
//
// The package is pure: it reads no clock, and no file or network but through what
// it is given (LoadRoots an fs.FS, CRLs a fetch function).
package ek
