package template

import (
	"fmt"

	"github.com/google/go-tpm/tpm2"
)

// PolicyA is the policy of low range keys and one branch of PolicyB: whoever
// may use the endorsement hierarchy may use the key (B.6.2: PolicySecret of
// TPM_RH_ENDORSEMENT). nameAlg is the key's, SHA-256, SHA-384 or SHA-512.
func PolicyA(nameAlg tpm2.TPMIAlgHash) ([]byte, error) {
	return calculate(nameAlg, tpm2.PolicySecret{AuthHandle: tpm2.TPMRHEndorsement}.Update)
}

// PolicyC is the other branch of PolicyB: what the owner of the endorsement
// hierarchy wrote into the policy index of that hash (B.6.4: PolicyAuthorizeNV
// of the index I-1, I-2 or I-3).
func PolicyC(nameAlg tpm2.TPMIAlgHash) ([]byte, error) {
	index, err := policyIndex(nameAlg)
	if err != nil {
		return nil, err
	}
	name, err := tpm2.NVName(&index)
	if err != nil {
		return nil, fmt.Errorf("compute name of policy index: %w", err)
	}
	return calculate(nameAlg, tpm2.PolicyAuthorizeNV{NVIndex: tpm2.NamedHandle{Handle: index.NVIndex, Name: *name}}.Update)
}

// PolicyB is the policy of high range keys: PolicyA or PolicyC (B.6.5).
func PolicyB(nameAlg tpm2.TPMIAlgHash) ([]byte, error) {
	branches, err := Branches(nameAlg)
	if err != nil {
		return nil, err
	}
	return calculate(nameAlg, tpm2.PolicyOr{PHashList: branches}.Update)
}

// Branches are PolicyA and PolicyC in the order in which PolicyB has them, as
// TPM2_PolicyOR wants them.
func Branches(nameAlg tpm2.TPMIAlgHash) (tpm2.TPMLDigest, error) {
	a, err := PolicyA(nameAlg)
	if err != nil {
		return tpm2.TPMLDigest{}, err
	}
	c, err := PolicyC(nameAlg)
	if err != nil {
		return tpm2.TPMLDigest{}, err
	}
	return tpm2.TPMLDigest{Digests: []tpm2.TPM2BDigest{{Buffer: a}, {Buffer: c}}}, nil
}

// policyIndex is the public area of the index I-1, I-2 or I-3 (B.6.3), as it is
// once written. Its own policy is PolicyA.
func policyIndex(nameAlg tpm2.TPMIAlgHash) (tpm2.TPMSNVPublic, error) {
	var handle tpm2.TPMHandle
	switch nameAlg {
	case tpm2.TPMAlgSHA256:
		handle = 0x01c07f01
	case tpm2.TPMAlgSHA384:
		handle = 0x01c07f02
	case tpm2.TPMAlgSHA512:
		handle = 0x01c07f03
	default:
		return tpm2.TPMSNVPublic{}, fmt.Errorf("no policy index for the hash %#04x", uint16(nameAlg))
	}
	policy, err := PolicyA(nameAlg)
	if err != nil {
		return tpm2.TPMSNVPublic{}, err
	}
	return tpm2.TPMSNVPublic{
		NVIndex: handle,
		NameAlg: nameAlg,
		Attributes: tpm2.TPMANV{
			PolicyWrite: true, WriteAll: true, PPRead: true, OwnerRead: true, AuthRead: true, PolicyRead: true,
			NoDA: true, Written: true,
		},
		AuthPolicy: tpm2.TPM2BDigest{Buffer: policy},
		DataSize:   uint16(2 + len(policy)),
	}, nil
}

// calculate is the digest of a policy of one command.
func calculate(nameAlg tpm2.TPMIAlgHash, update func(*tpm2.PolicyCalculator) error) ([]byte, error) {
	policy, err := tpm2.NewPolicyCalculator(nameAlg)
	if err != nil {
		return nil, fmt.Errorf("compute EK policy: %w", err)
	}
	if err := update(policy); err != nil {
		return nil, fmt.Errorf("compute EK policy: %w", err)
	}
	return policy.Hash().Digest, nil
}
