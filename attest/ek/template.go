package ek

import (
	"encoding/binary"

	"github.com/google/go-tpm/tpm2"
)

// Template is a TCG template of an endorsement key (EK Credential Profile,
// annex B).
type Template string

// The templates for RSA-2048 and ECC P-256. Low range keys are the usual ones;
// the certificates of high range keys are in other NV indices.
const (
	L1 Template = "L-1" // RSA-2048, low range, certificate in 0x01c00002
	L2 Template = "L-2" // ECC P-256, low range, certificate in 0x01c0000a
	H1 Template = "H-1" // RSA-2048, high range, certificate in 0x01c00012
	H2 Template = "H-2" // ECC P-256, high range, certificate in 0x01c00014
)

// templates lists all templates, the ones to prefer first.
func templates() []Template { return []Template{L1, L2, H1, H2} }

func (t Template) isRSA() bool { return t == L1 || t == H1 }

// policyB is the policy of high range templates with SHA-256: PolicyA
// (PolicySecret of the endorsement hierarchy, which low range templates have)
// or PolicyC (PolicyAuthorizeNV of index I-1). EK Credential Profile, B.6.
var policyB = [32]byte{
	0xca, 0x3d, 0x0a, 0x99, 0xa2, 0xb9, 0x39, 0x06, 0xf7, 0xa3, 0x34, 0x24, 0x14, 0xef, 0xcf, 0xb3,
	0xa3, 0x85, 0xd4, 0x4c, 0xd1, 0xfd, 0x45, 0x90, 0x89, 0xd1, 0x9b, 0x50, 0x71, 0xc0, 0xb7, 0xa0,
}

// prefix is the TPMT_PUBLIC of the template up to its unique field, which is
// the key.
func (t Template) prefix() []byte {
	var pub tpm2.TPMTPublic
	var unique int
	if t.isRSA() {
		pub = tpm2.RSAEKTemplate
		pub.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{})
		unique = 2
	} else {
		pub = tpm2.ECCEKTemplate
		pub.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{})
		unique = 4
	}
	if t == H1 || t == H2 {
		pub.ObjectAttributes.UserWithAuth = true
		pub.AuthPolicy = tpm2.TPM2BDigest{Buffer: policyB[:]}
	}
	all := tpm2.Marshal(pub)
	return all[:len(all)-unique]
}

// sized puts the 16-bit size of a TPM2B before b.
func sized(b []byte) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...)
}
