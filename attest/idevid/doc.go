// Package idevid judges the identity that a device's manufacturer certified: an
// IDevID or an IAK, a signing key in the TPM with a certificate of its own, beside
// the endorsement key and its certificate.
//
// Specifications: TCG "TPM 2.0 Keys for Device Identity and Attestation", version
// 1.00 (keys in 7.3, certificates in 8); IEEE 802.1AR (the device's serial number
// in the subject); RFC 4108, section 5 (hardwareModuleName).
//
// The package is pure. That the key is in the same TPM as an attestation key is
// not its question: package attest answers it (CheckDevIDCertify).
package idevid
