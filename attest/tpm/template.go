package tpm

import (
	"crypto"
	"fmt"

	"github.com/google/go-tpm/tpm2"

	"troth/attest/ek/template"
)

// persistent is where a platform may keep an EK: 0x81010001 and 0x81010002 for
// the low range (TCG "TPM v2.0 Provisioning Guidance", 7.8), and for the high
// range where the last byte is that of the certificate's index, as swtpm has it.
func persistent(kind template.Template) tpm2.TPMHandle {
	switch kind.ID {
	case template.L1:
		return 0x81010001
	case template.L2:
		return 0x81010002
	}
	return 0x81010000 | kind.Certificate&0xff
}

// storageTemplate is the parent of all keys made here: a storage key by the
// ECC P-256 SRK template. It is derived from the hierarchy's seed each time and
// never stored.
func storageTemplate() tpm2.TPMTPublic { return tpm2.ECCSRKTemplate }

// signingTemplate is a signing key. It is exempt from the dictionary attack
// logic: its authorization is empty, so there is nothing to guess, and a device
// that loses power must not lock itself out.
func signingTemplate(kind AKKind, restricted bool) (tpm2.TPMTPublic, error) {
	pub := tpm2.TPMTPublic{
		NameAlg: tpm2.TPMAlgSHA256,
		ObjectAttributes: tpm2.TPMAObject{
			FixedTPM:            true,
			FixedParent:         true,
			SensitiveDataOrigin: true,
			UserWithAuth:        true,
			NoDA:                true,
			Restricted:          restricted,
			SignEncrypt:         true,
		},
	}
	switch kind {
	case ECCP256, "":
		pub.Type, pub.Parameters = tpm2.TPMAlgECC, ecdsaParameters(tpm2.TPMECCNistP256, tpm2.TPMAlgSHA256)
	case ECCP384:
		pub.Type, pub.Parameters = tpm2.TPMAlgECC, ecdsaParameters(tpm2.TPMECCNistP384, tpm2.TPMAlgSHA384)
	case RSA2048:
		pub.Type, pub.Parameters = tpm2.TPMAlgRSA, rsassaParameters(2048, tpm2.TPMAlgSHA256)
	case RSA3072:
		pub.Type, pub.Parameters = tpm2.TPMAlgRSA, rsassaParameters(3072, tpm2.TPMAlgSHA384)
	case RSA2048PSS:
		pub.Type, pub.Parameters = tpm2.TPMAlgRSA, tpm2.NewTPMUPublicParms(tpm2.TPMAlgRSA, &tpm2.TPMSRSAParms{
			Scheme: tpm2.TPMTRSAScheme{
				Scheme:  tpm2.TPMAlgRSAPSS,
				Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgRSAPSS, &tpm2.TPMSSigSchemeRSAPSS{HashAlg: tpm2.TPMAlgSHA256}),
			},
			KeyBits: 2048,
		})
	default:
		return pub, fmt.Errorf("unknown kind of key %q", string(kind))
	}
	return pub, nil
}

func ecdsaParameters(curve tpm2.TPMECCCurve, hash tpm2.TPMIAlgHash) tpm2.TPMUPublicParms {
	return tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{
		Scheme: tpm2.TPMTECCScheme{
			Scheme:  tpm2.TPMAlgECDSA,
			Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgECDSA, &tpm2.TPMSSigSchemeECDSA{HashAlg: hash}),
		},
		CurveID: curve,
	})
}

func rsassaParameters(bits tpm2.TPMKeyBits, hash tpm2.TPMIAlgHash) tpm2.TPMUPublicParms {
	return tpm2.NewTPMUPublicParms(tpm2.TPMAlgRSA, &tpm2.TPMSRSAParms{
		Scheme: tpm2.TPMTRSAScheme{
			Scheme:  tpm2.TPMAlgRSASSA,
			Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgRSASSA, &tpm2.TPMSSigSchemeRSASSA{HashAlg: hash}),
		},
		KeyBits: bits,
	})
}

// schemeHash is the hash that a signing key's public area pins.
func schemeHash(tpmtPublic []byte) (crypto.Hash, error) {
	pub, err := tpm2.Unmarshal[tpm2.TPMTPublic](tpmtPublic)
	if err != nil {
		return 0, fmt.Errorf("decode key: %w", err)
	}
	alg := tpm2.TPMAlgNull
	if ecc, err := pub.Parameters.ECCDetail(); err == nil {
		if s, err := ecc.Scheme.Details.ECDSA(); err == nil {
			alg = s.HashAlg
		}
	} else if rsa, err := pub.Parameters.RSADetail(); err == nil {
		if s, err := rsa.Scheme.Details.RSASSA(); err == nil {
			alg = s.HashAlg
		} else if s, err := rsa.Scheme.Details.RSAPSS(); err == nil {
			alg = s.HashAlg
		}
	}
	hash, err := alg.Hash()
	if err != nil {
		return 0, fmt.Errorf("find hash of signing scheme: %w", err)
	}
	return hash, nil
}
