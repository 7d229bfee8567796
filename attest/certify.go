package attest

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/subtle"
	"errors"

	"github.com/google/go-tpm/tpm2"
)

// CheckCertify verifies that the TPM of an attestation key certified a TLS key
// (TPM2_Certify): akPublic passes CheckAK; the signature verifies under it; the
// certification is a TPM's own, of a key, over qualifyingData; the name in it is
// that of tlsPublic (a TPMT_PUBLIC); and that key is an ECC P-256 signing key
// that cannot leave its TPM, not restricted, not for decryption, usable with
// ECDSA and SHA-256. It returns the TLS key. Errors are of type *Error.
func CheckCertify(akPublic, tlsPublic, certifyInfo, signature, qualifyingData []byte) (crypto.PublicKey, error) {
	if fail := certifySizes(akPublic, tlsPublic, certifyInfo, signature, qualifyingData); fail != nil {
		return nil, fail
	}
	public, fail := readAKPublic(akPublic)
	if fail != nil {
		return nil, fail
	}
	ak, fail := checkAKPublic(public)
	if fail != nil {
		return nil, fail
	}
	if _, fail := ak.verify(signature, certifyInfo); fail != nil {
		return nil, fail
	}
	attested, fail := readAttest(certifyInfo, tpm2.TPMSTAttestCertify, CodeCertifyMalformed, CodeCertifyMagic, CodeCertifyType)
	if fail != nil {
		return nil, fail
	}
	if subtle.ConstantTimeCompare(attested.extraData, qualifyingData) != 1 {
		return nil, failure(CodeNonceMismatch, "the certification's qualifying data is not the expected one")
	}
	key, name, fail := checkTLSKey(tlsPublic)
	if fail != nil {
		return nil, fail
	}
	if fail := checkCertified(attested, name); fail != nil {
		return nil, fail
	}
	return key, nil
}

func certifySizes(akPublic, tlsPublic, certifyInfo, signature, qualifyingData []byte) *Error {
	switch {
	case len(akPublic) > maxPublic, len(tlsPublic) > maxPublic, len(certifyInfo) > maxAttest,
		len(signature) > maxSignature, len(qualifyingData) > maxNonce:
		return failure(CodeTooLarge, "an input of the certification exceeds its limit")
	case len(qualifyingData) == 0:
		return failure(CodeNonceMissing, "no qualifying data is expected; a certification without a nonce may be old")
	}
	return nil
}

// checkCertified compares the certified name. The qualified name depends on the
// parents, which are not shown; it must at least be one, in the same algorithm,
// and differ from the name, as it does for every object under a parent or a
// hierarchy (Part 1, "Qualified Name").
func checkCertified(attested attestation, name []byte) *Error {
	if subtle.ConstantTimeCompare(attested.name, name) != 1 {
		return failure(CodeCertifyName, "the certified name is not that of the key shown")
	}
	qualified := attested.qualifiedName
	if len(qualified) != len(name) || !bytes.Equal(qualified[:2], name[:2]) || bytes.Equal(qualified, name) {
		return failure(CodeCertifyName, "the certified key's qualified name is not one")
	}
	return nil
}

func checkTLSKey(tlsPublic []byte) (crypto.PublicKey, []byte, *Error) {
	public, err := decodePublic(tlsPublic)
	switch {
	case errors.Is(err, errKeyType):
		return nil, nil, failure(CodeTLSKeyType, "TLS key: %v", err)
	case err != nil:
		return nil, nil, failure(CodeTLSKeyMalformed, "TLS key: %v", err)
	case !public.has(fixedTPM | fixedParent | sensitiveDataOrigin):
		return nil, nil, failure(CodeTLSKeyAttributes, "TLS key is not bound to its TPM (fixedTPM, fixedParent, sensitiveDataOrigin)")
	case !public.has(signs) || public.any(restricted|decrypts):
		return nil, nil, failure(CodeTLSKeyAttributes, "TLS key is not an unrestricted signing key")
	}
	key, err := publicKey(public)
	if err != nil {
		return nil, nil, failure(CodeTLSKeyType, "TLS key: %v", err)
	}
	ecc, ok := key.(*ecdsa.PublicKey)
	if !ok || ecc.Curve != elliptic.P256() || !signsForTLS(public) {
		return nil, nil, failure(CodeTLSKeyType, "TLS key is not an ECC P-256 key for ECDSA with SHA-256")
	}
	name, err := publicName(public, tlsPublic)
	if err != nil {
		return nil, nil, failure(CodeTLSKeyType, "TLS key: %v", err)
	}
	return key, name, nil
}

// signsForTLS accepts a key that leaves its scheme open, or pins TLS 1.3's
// ecdsa_secp256r1_sha256.
func signsForTLS(public *publicArea) bool {
	return public.scheme == tpm2.TPMAlgNull ||
		public.scheme == tpm2.TPMAlgECDSA && public.hash == tpm2.TPMAlgSHA256
}
