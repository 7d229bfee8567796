package attest

import (
	"crypto"
	"crypto/subtle"
	"errors"

	"github.com/google/go-tpm/tpm2"
)

// CheckDevIDKey checks the public area (a TPMT_PUBLIC, up to 4 KiB) of a key that
// a device's manufacturer made in its TPM: an IDevID, which signs anything, or an
// IAK, which is restricted to what the TPM made itself (TCG "TPM 2.0 Keys for
// Device Identity and Attestation", 7.3.4.1 and 7.3.4.2). It cannot leave its TPM
// (fixedTPM, fixedParent, sensitiveDataOrigin), signs and does not decrypt, and is
// ECC P-256 or P-384 or RSA of 2048 to 4096 bits. Errors are of type *Error.
func CheckDevIDKey(tpmtPublic []byte) (key crypto.PublicKey, isRestricted bool, err error) {
	public, key, fail := readDevIDKey(tpmtPublic)
	if fail != nil {
		return nil, false, fail
	}
	return key, public.has(restricted), nil
}

func readDevIDKey(tpmtPublic []byte) (*publicArea, crypto.PublicKey, *Error) {
	public, err := decodePublic(tpmtPublic)
	switch {
	case errors.Is(err, errKeyType):
		return nil, nil, failure(CodeDevIDKeyType, "manufacturer's key: %v", err)
	case err != nil:
		return nil, nil, failure(CodeDevIDKeyMalformed, "manufacturer's key: %v", err)
	case !public.has(fixedTPM | fixedParent | sensitiveDataOrigin):
		return nil, nil, failure(CodeDevIDKeyAttributes, "manufacturer's key is not bound to its TPM (fixedTPM, fixedParent, sensitiveDataOrigin)")
	case !public.has(signs) || public.any(decrypts):
		return nil, nil, failure(CodeDevIDKeyAttributes, "manufacturer's key is not a signing key")
	}
	key, err := publicKey(public)
	if err != nil {
		return nil, nil, failure(CodeDevIDKeyType, "manufacturer's key: %v", err)
	}
	return public, key, nil
}

// CheckDevIDCertify verifies that the TPM of an attestation key holds the key of
// CheckDevIDKey: akPublic passes CheckAK; the signature verifies under it; what
// it signed is a TPM's own statement over qualifyingData, that the key with the
// name of keyPublic is loaded (TPM2_Certify) or was created by this TPM
// (TPM2_CertifyCreation). Both say that it is there, for a key that cannot leave.
// The TCG's templates leave only the second to whoever has no say over the
// manufacturer's policy: TPM2_Certify asks the key for the role ADMIN, and their
// attribute adminWithPolicy reserves it. Errors are of type *Error.
func CheckDevIDCertify(akPublic, keyPublic, certifyInfo, signature, qualifyingData []byte) error {
	if fail := certifySizes(akPublic, keyPublic, certifyInfo, signature, qualifyingData); fail != nil {
		return fail
	}
	akArea, fail := readAKPublic(akPublic)
	if fail != nil {
		return fail
	}
	ak, fail := checkAKPublic(akArea)
	if fail != nil {
		return fail
	}
	if _, fail := ak.verify(signature, certifyInfo); fail != nil {
		return fail
	}
	want := tpm2.TPMSTAttestCertify
	if _, typ, ok := attestHead(certifyInfo); ok && typ == uint16(tpm2.TPMSTAttestCreation) {
		want = tpm2.TPMSTAttestCreation
	}
	attested, fail := readAttest(certifyInfo, want, CodeCertifyMalformed, CodeCertifyMagic, CodeCertifyType)
	if fail != nil {
		return fail
	}
	if subtle.ConstantTimeCompare(attested.extraData, qualifyingData) != 1 {
		return failure(CodeNonceMismatch, "the certification's qualifying data is not the expected one")
	}
	public, _, fail := readDevIDKey(keyPublic)
	if fail != nil {
		return fail
	}
	name, err := publicName(public, keyPublic)
	if err != nil {
		return failure(CodeDevIDKeyType, "manufacturer's key: %v", err)
	}
	if want == tpm2.TPMSTAttestCreation {
		if subtle.ConstantTimeCompare(attested.name, name) != 1 {
			return failure(CodeCertifyName, "the certified name is not that of the key shown")
		}
		return nil
	}
	if fail := checkCertified(attested, name); fail != nil {
		return fail
	}
	return nil
}
