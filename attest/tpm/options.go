package tpm

import "troth/attest/ek/template"

// Option changes what a TPM is asked for.
type Option func(*TPM)

// WithEK has only the EK of one template used, instead of the first that has a
// certificate. Another EK is another device identity.
func WithEK(id template.ID) Option { return func(t *TPM) { t.onlyEK = id } }

// WithAK has CreateAK make keys of a kind other than ECCP256.
func WithAK(kind AKKind) Option { return func(t *TPM) { t.akKind = kind } }

// AKKind is an algorithm of attestation keys, with scheme and hash.
type AKKind string

// The kinds. RSA keys take a TPM seconds, sometimes minutes, to make.
const (
	ECCP256    AKKind = "ecc-p256"     // ECDSA with SHA-256
	ECCP384    AKKind = "ecc-p384"     // ECDSA with SHA-384
	RSA2048    AKKind = "rsa-2048"     // RSASSA (PKCS #1 v1.5) with SHA-256
	RSA2048PSS AKKind = "rsa-2048-pss" // RSAPSS with SHA-256
	RSA3072    AKKind = "rsa-3072"     // RSASSA with SHA-384
)
