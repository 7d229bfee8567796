package tpm

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"fmt"

	"github.com/google/go-tpm/tpm2"
)

// devIDTemplate is one of the TCG's templates for the keys of a manufacturer.
type devIDTemplate struct {
	kind   AKKind // of the key
	public tpm2.TPMTPublic
}

// DevIDTemplate is the template of the TCG from which a manufacturer makes a key
// as a primary key of the endorsement hierarchy ("TPM 2.0 Keys for Device
// Identity and Attestation", 7.3.4): for ECCP256 or ECCP384, whose name algorithm
// is SHA-256 or SHA-384, or RSA2048 with SHA-256. The unique fields hold the
// text "IDEVID" or "IAK" (7.3.1).
func DevIDTemplate(kind DevIDKind, algorithm AKKind) (tpm2.TPMTPublic, error) {
	hash, bits := tpm2.TPMAlgSHA256, tpm2.TPMKeyBits(2048)
	if algorithm == ECCP384 {
		hash = tpm2.TPMAlgSHA384
	}
	unique := []byte("IDEVID")
	if kind == IAK {
		unique = []byte("IAK")
	}
	pub := tpm2.TPMTPublic{
		NameAlg: hash,
		// Table 3 and 4: the role USER has the password, ADMIN the policy.
		ObjectAttributes: tpm2.TPMAObject{
			FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true,
			UserWithAuth: true, AdminWithPolicy: true, SignEncrypt: true, Restricted: kind == IAK,
		},
		AuthPolicy: tpm2.TPM2BDigest{Buffer: devIDPolicy(kind, hash)},
	}
	switch algorithm {
	case ECCP256, ECCP384:
		curve := tpm2.TPMECCNistP256
		if algorithm == ECCP384 {
			curve = tpm2.TPMECCNistP384
		}
		pub.Type, pub.Parameters = tpm2.TPMAlgECC, ecdsaParameters(curve, hash)
		point := tpm2.TPM2BECCParameter{Buffer: unique}
		pub.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{X: point, Y: point})
	case RSA2048:
		scheme := tpm2.TPMTRSAScheme{Scheme: tpm2.TPMAlgNull}
		if kind == IAK { // a restricted key pins its scheme
			scheme = tpm2.TPMTRSAScheme{
				Scheme:  tpm2.TPMAlgRSAPSS,
				Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgRSAPSS, &tpm2.TPMSSigSchemeRSAPSS{HashAlg: hash}),
			}
		}
		pub.Type = tpm2.TPMAlgRSA
		pub.Parameters = tpm2.NewTPMUPublicParms(tpm2.TPMAlgRSA, &tpm2.TPMSRSAParms{Scheme: scheme, KeyBits: bits})
		pub.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{Buffer: unique})
	default:
		return tpm2.TPMTPublic{}, fmt.Errorf("no template of the TCG for a manufacturer's key of kind %q", string(algorithm))
	}
	return pub, nil
}

// devIDTemplates are those of one kind, the quick ones first: a TPM searches long
// for RSA primes.
func devIDTemplates(kind DevIDKind) []devIDTemplate {
	var all []devIDTemplate
	for _, algorithm := range []AKKind{ECCP256, ECCP384, RSA2048} {
		if public, err := DevIDTemplate(kind, algorithm); err == nil {
			all = append(all, devIDTemplate{algorithm, public})
		}
	}
	return all
}

// mayBe reports whether one of the keys is of the template's kind.
func (d devIDTemplate) mayBe(keys []crypto.PublicKey) bool {
	for _, key := range keys {
		switch key := key.(type) {
		case *ecdsa.PublicKey:
			if d.kind == ECCP256 && key.Curve == elliptic.P256() || d.kind == ECCP384 && key.Curve == elliptic.P384() {
				return true
			}
		case *rsa.PublicKey:
			if d.kind == RSA2048 && key.N.BitLen() == 2048 {
				return true
			}
		}
	}
	return false
}

// devIDPolicy is the digest of the policy that a template has (7.3.6.6, table 19).
func devIDPolicy(kind DevIDKind, hash tpm2.TPMIAlgHash) []byte {
	switch {
	case kind == IAK && hash == tpm2.TPMAlgSHA384:
		return []byte{
			0x12, 0x9d, 0x94, 0xeb, 0xf8, 0x45, 0x56, 0x65, 0x2c, 0x6e, 0xef, 0x43, 0xbb, 0xb7, 0x57, 0x51,
			0x2a, 0xc8, 0x7e, 0x52, 0xbe, 0x7b, 0x34, 0x9c, 0xa6, 0xce, 0x4d, 0x82, 0x6f, 0x74, 0x9f, 0xcf,
			0x67, 0x2f, 0x51, 0x71, 0x6c, 0x5c, 0xbb, 0x60, 0x5f, 0x31, 0x3b, 0xf3, 0x45, 0xaa, 0xb3, 0x12,
		}
	case kind == IAK:
		return []byte{
			0x54, 0x37, 0x18, 0x23, 0x26, 0xe4, 0x14, 0xfc, 0xa7, 0x97, 0xd5, 0xf1, 0x74, 0x61, 0x5a, 0x16,
			0x41, 0xf6, 0x12, 0x55, 0x79, 0x7c, 0x3a, 0x2b, 0x22, 0xc2, 0x1d, 0x12, 0x0b, 0x2d, 0x1e, 0x07,
		}
	case hash == tpm2.TPMAlgSHA384:
		return []byte{
			0x4d, 0xb1, 0xaa, 0x83, 0x6d, 0x0b, 0x56, 0x15, 0xdf, 0x6e, 0xe5, 0x3a, 0x40, 0xef, 0x70, 0xc6,
			0x1c, 0x21, 0x7f, 0x43, 0x03, 0xd4, 0x46, 0x95, 0x92, 0x59, 0x72, 0xbc, 0x92, 0x70, 0x06, 0xcf,
			0xa5, 0xcb, 0xdf, 0x6d, 0xc1, 0x8c, 0x4d, 0xbe, 0x32, 0x9b, 0x2f, 0x15, 0x42, 0xc3, 0xdd, 0x33,
		}
	}
	return []byte{
		0xad, 0x6b, 0x3a, 0x22, 0x84, 0xfd, 0x69, 0x8a, 0x07, 0x10, 0xbf, 0x5c, 0xc1, 0xb9, 0xbd, 0xf1,
		0x5e, 0x25, 0x32, 0xe3, 0xf6, 0x01, 0xfa, 0x4b, 0x93, 0xa6, 0xa8, 0xfa, 0x8d, 0xe5, 0x79, 0xea,
	}
}
