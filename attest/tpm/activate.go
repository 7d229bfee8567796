package tpm

import (
	"fmt"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"troth/attest/ek/template"
)

// ActivateCredential opens a challenge that was made for this TPM's EK and the
// name of ak, and returns its secret. The TPM refuses if the challenge is for
// another EK or another AK (TPM2_ActivateCredential). credentialBlob and
// encryptedSecret are the contents of a TPM2B_ID_OBJECT and of a
// TPM2B_ENCRYPTED_SECRET.
func (t *TPM) ActivateCredential(ak Key, credentialBlob, encryptedSecret []byte) (secret []byte, err error) {
	err = t.withKeys(func(loaded []object) error {
		e, err := t.findEK()
		if err != nil {
			return fmt.Errorf("find EK: %w", err)
		}
		ek, err := t.loadEK(e)
		if err != nil {
			return err
		}
		defer t.flush(ek)
		rsp, err := tpm2.ActivateCredential{
			ActivateHandle: loaded[0].auth(),
			KeyHandle:      tpm2.AuthHandle{Handle: ek.handle, Name: ek.name, Auth: tpm2.Policy(e.kind.NameAlg, 16, endorsementPolicy(e.kind))},
			CredentialBlob: tpm2.TPM2BIDObject{Buffer: credentialBlob},
			Secret:         tpm2.TPM2BEncryptedSecret{Buffer: encryptedSecret},
		}.Execute(t.transport)
		if err == nil {
			secret = rsp.CertInfo.Buffer
		}
		return err
	}, ak)
	if err != nil {
		return nil, fmt.Errorf("activate credential: %w", err)
	}
	return secret, nil
}

// endorsementPolicy satisfies the policy of an EK's template: PolicyA, the
// authorization of the endorsement hierarchy, and in the high range PolicyB,
// which has PolicyA as a branch (EK Credential Profile, B.6). High range keys
// have a password too, but its use is subject to lockout.
func endorsementPolicy(kind template.Template) tpm2.PolicyCallback {
	return func(t transport.TPM, session tpm2.TPMISHPolicy, nonce tpm2.TPM2BNonce) error {
		_, err := tpm2.PolicySecret{
			AuthHandle:    tpm2.AuthHandle{Handle: tpm2.TPMRHEndorsement, Auth: tpm2.PasswordAuth(nil)},
			PolicySession: session,
			NonceTPM:      nonce,
		}.Execute(t)
		if err != nil || !kind.High {
			return err
		}
		branches, err := template.Branches(kind.NameAlg)
		if err != nil {
			return err
		}
		_, err = tpm2.PolicyOr{PolicySession: session, PHashList: branches}.Execute(t)
		return err
	}
}
