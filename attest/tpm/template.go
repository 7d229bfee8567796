package tpm

import "github.com/google/go-tpm/tpm2"

// nvRSACertificate and nvECCCertificate are the NV indices of the EK
// certificates for the templates L-1 and L-2 (EK Credential Profile, 2.2.1.4),
// persistentRSA and persistentECC where a platform may keep those keys.
const (
	nvRSACertificate = 0x01c00002
	nvECCCertificate = 0x01c0000a
	persistentRSA    = 0x81010001
	persistentECC    = 0x81010002
)

// storageTemplate is the parent of all keys made here: a storage key by the
// ECC P-256 SRK template. It is derived from the hierarchy's seed each time and
// never stored.
func storageTemplate() tpm2.TPMTPublic { return tpm2.ECCSRKTemplate }

// signingTemplate is an ECC P-256 key that signs with ECDSA and SHA-256. It is
// exempt from the dictionary attack logic: its authorization is empty, so there
// is nothing to guess, and a device that loses power must not lock itself out.
func signingTemplate(restricted bool) tpm2.TPMTPublic {
	return tpm2.TPMTPublic{
		Type:    tpm2.TPMAlgECC,
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
		Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{
			Scheme: tpm2.TPMTECCScheme{
				Scheme:  tpm2.TPMAlgECDSA,
				Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgECDSA, &tpm2.TPMSSigSchemeECDSA{HashAlg: tpm2.TPMAlgSHA256}),
			},
			CurveID: tpm2.TPMECCNistP256,
		}),
	}
}
