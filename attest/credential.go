package attest

import (
	"io"
	"troth/attest/eventlog"

	"github.com/google/go-tpm/tpm2"
)

// MakeCredential encrypts secret so that only the TPM with both the EK and a
// loaded key of the given Name can recover it (TPM2_MakeCredential, Part 1,
// "Credential Protection"). ekPublic is the EK's TPMT_PUBLIC, rebuilt from a
// certificate or checked against the TCG templates by the caller; akName is what
// CheckAK returned; secret has 16 bytes up to the size of the EK's name
// algorithm. The blobs are the contents of a TPM2B_ID_OBJECT and a
// TPM2B_ENCRYPTED_SECRET, without their sizes. No error shows the secret.
func MakeCredential(rand io.Reader, ekPublic, akName, secret []byte) (credentialBlob, encryptedSecret []byte, err error) {
	public, err := decode[tpm2.TPMTPublic](ekPublic, maxPublic)
	if err != nil {
		return nil, nil, failure(CodeEKMalformed, "endorsement key: %v", err)
	}
	if fail := checkEK(ekPublic); fail != nil {
		return nil, nil, fail
	}
	h, err := public.NameAlg.Hash()
	if err != nil {
		return nil, nil, failure(CodeEKUnusable, "endorsement key: %v", err)
	}
	if len(secret) < 16 || len(secret) > h.Size() {
		return nil, nil, failure(CodeCredentialInput, "a secret of %d bytes, not 16 to %d", len(secret), h.Size())
	}
	if !isName(akName) {
		return nil, nil, failure(CodeCredentialInput, "the name of %d bytes is not a TPM Name", len(akName))
	}
	return seal(rand, public, akName, secret)
}

// checkEK requires a restricted decryption key of a size and curve that the
// credential is safe under.
func checkEK(ekPublic []byte) *Error {
	public, err := decodePublic(ekPublic)
	if err != nil {
		return failure(CodeEKUnusable, "endorsement key: %v", err)
	}
	if !public.has(restricted|decrypts|fixedTPM|fixedParent|sensitiveDataOrigin) || public.any(signs) {
		return failure(CodeEKUnusable, "endorsement key is not a restricted decryption key bound to its TPM")
	}
	if _, err := publicKey(public); err != nil {
		return failure(CodeEKUnusable, "endorsement key: %v", err)
	}
	switch public.nameAlg {
	case tpm2.TPMAlgSHA256, tpm2.TPMAlgSHA384, tpm2.TPMAlgSHA512:
		return nil
	}
	return failure(CodeEKUnusable, "endorsement key's name algorithm is not SHA-256, SHA-384 or SHA-512")
}

// isName accepts a name algorithm followed by a digest of its size.
func isName(name []byte) bool {
	if len(name) < 2 {
		return false
	}
	h, ok := eventlog.HashOf(algorithmBank(tpm2.TPMAlgID(name[0])<<8 | tpm2.TPMAlgID(name[1])))
	return ok && len(name) == 2+h.Size()
}

func seal(rand io.Reader, public *tpm2.TPMTPublic, name, secret []byte) (blob, encrypted []byte, err error) {
	defer func() {
		if recover() != nil {
			blob, encrypted, err = nil, nil, failure(CodeEKUnusable, "endorsement key cannot be encrypted to")
		}
	}()
	key, err := tpm2.ImportEncapsulationKey(public)
	if err != nil {
		return nil, nil, failure(CodeEKUnusable, "endorsement key: %v", err)
	}
	blob, encrypted, err = tpm2.CreateCredential(fullReader{rand}, key, name, secret)
	if err != nil {
		return nil, nil, failure(CodeEKUnusable, "endorsement key cannot be encrypted to: %v", err)
	}
	return blob, encrypted, nil
}

// fullReader fills the buffer or fails, as go-tpm reads its seed only once.
type fullReader struct{ r io.Reader }

func (f fullReader) Read(p []byte) (int, error) { return io.ReadFull(f.r, p) }
