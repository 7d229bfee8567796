package attest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"testing"

	"github.com/google/go-tpm/tpm2"
)

// These targets are inside the package: they hold the decoders, which the public
// API does not show, against go-tpm's. decode is go-tpm's, made canonical.

func FuzzDecodeAttestation(f *testing.F) {
	quote := tpm2.TPMSAttest{Magic: tpm2.TPMGeneratedValue, Type: tpm2.TPMSTAttestQuote,
		QualifiedSigner: tpm2.TPM2BName{Buffer: make([]byte, 34)}, ExtraData: tpm2.TPM2BData{Buffer: []byte("nonce")},
		ClockInfo: tpm2.TPMSClockInfo{Clock: 1, ResetCount: 2, RestartCount: 3, Safe: true},
		Attested: tpm2.NewTPMUAttest(tpm2.TPMSTAttestQuote, &tpm2.TPMSQuoteInfo{
			PCRSelect: tpm2.TPMLPCRSelection{PCRSelections: []tpm2.TPMSPCRSelection{{Hash: tpm2.TPMAlgSHA256, PCRSelect: []byte{1, 2, 3}}}},
			PCRDigest: tpm2.TPM2BDigest{Buffer: make([]byte, 32)}})}
	certify := quote
	certify.Type = tpm2.TPMSTAttestCertify
	certify.Attested = tpm2.NewTPMUAttest(tpm2.TPMSTAttestCertify, &tpm2.TPMSCertifyInfo{
		Name: tpm2.TPM2BName{Buffer: make([]byte, 34)}, QualifiedName: tpm2.TPM2BName{Buffer: make([]byte, 34)}})
	f.Add(tpm2.Marshal(quote))
	f.Add(tpm2.Marshal(certify))
	f.Add(append(tpm2.Marshal(quote), 0))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > maxAttest { // refused before either decoder
			return
		}
		got, err := decodeAttestation(data)
		want, wantErr := decode[tpm2.TPMSAttest](data, maxAttest)
		if wantErr != nil {
			if err == nil {
				t.Fatalf("accepted, go-tpm says: %v", wantErr)
			}
			return
		}
		switch want.Type {
		case tpm2.TPMSTAttestQuote:
			info, infoErr := want.Attested.Quote()
			if infoErr != nil || len(info.PCRSelect.PCRSelections) > maxSelections {
				return
			}
			if err != nil {
				t.Fatalf("refused: %v", err)
			}
			same(t, got.pcrDigest, info.PCRDigest.Buffer)
			if len(got.selections) != len(info.PCRSelect.PCRSelections) {
				t.Fatalf("%d selections", len(got.selections))
			}
			for i, s := range info.PCRSelect.PCRSelections {
				same(t, got.selections[i].bitmap, s.PCRSelect)
				if got.selections[i].hash != s.Hash {
					t.Fatalf("hash %v", got.selections[i].hash)
				}
			}
		case tpm2.TPMSTAttestCertify:
			info, infoErr := want.Attested.Certify()
			if err != nil || infoErr != nil {
				t.Fatalf("refused: %v, %v", err, infoErr)
			}
			same(t, got.name, info.Name.Buffer)
			same(t, got.qualifiedName, info.QualifiedName.Buffer)
		default:
			if err == nil {
				t.Fatalf("accepted type 0x%04x", uint16(want.Type))
			}
			return
		}
		c := want.ClockInfo
		same(t, got.extraData, want.ExtraData.Buffer)
		if got.clock != (Clock{ResetCount: c.ResetCount, RestartCount: c.RestartCount, Clock: c.Clock, Safe: c.Safe}) {
			t.Fatalf("clock %+v, want %+v", got.clock, c)
		}
	})
}

func FuzzDecodeSignature(f *testing.F) {
	f.Add(tpm2.Marshal(tpm2.TPMTSignature{SigAlg: tpm2.TPMAlgECDSA, Signature: tpm2.NewTPMUSignature(tpm2.TPMAlgECDSA,
		&tpm2.TPMSSignatureECC{Hash: tpm2.TPMAlgSHA256, SignatureR: tpm2.TPM2BECCParameter{Buffer: []byte{1}}, SignatureS: tpm2.TPM2BECCParameter{Buffer: []byte{2}}})}))
	f.Add(tpm2.Marshal(tpm2.TPMTSignature{SigAlg: tpm2.TPMAlgRSAPSS, Signature: tpm2.NewTPMUSignature(tpm2.TPMAlgRSAPSS,
		&tpm2.TPMSSignatureRSA{Hash: tpm2.TPMAlgSHA384, Sig: tpm2.TPM2BPublicKeyRSA{Buffer: make([]byte, 256)}})}))
	f.Add([]byte{0, 0x10})
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > maxSignature {
			return
		}
		got, err := decodeSignature(data)
		want, wantErr := decode[tpm2.TPMTSignature](data, maxSignature)
		switch got.scheme {
		case tpm2.TPMAlgECDSA, tpm2.TPMAlgRSASSA, tpm2.TPMAlgRSAPSS:
		default: // no key takes it, whatever follows
			return
		}
		if (err == nil) != (wantErr == nil) {
			t.Fatalf("%v, go-tpm says: %v", err, wantErr)
		}
		if err != nil {
			return
		}
		if got.scheme == tpm2.TPMAlgECDSA {
			ecc, eccErr := want.Signature.ECDSA()
			if eccErr != nil || ecc.Hash != got.hash {
				t.Fatalf("%+v, %v", got, eccErr)
			}
			same(t, got.r, ecc.SignatureR.Buffer)
			same(t, got.s, ecc.SignatureS.Buffer)
			return
		}
		rsa, rsaErr := want.Signature.RSASSA()
		if got.scheme == tpm2.TPMAlgRSAPSS {
			rsa, rsaErr = want.Signature.RSAPSS()
		}
		if rsaErr != nil || rsa.Hash != got.hash {
			t.Fatalf("%+v, %v", got, rsaErr)
		}
		same(t, got.rsa, rsa.Sig.Buffer)
	})
}

func FuzzDecodePublic(f *testing.F) {
	for _, template := range []tpm2.TPMTPublic{tpm2.RSAEKTemplate, tpm2.ECCEKTemplate, tpm2.RSASRKTemplate, tpm2.ECCSRKTemplate} {
		f.Add(tpm2.Marshal(template))
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	point, err := key.PublicKey.Bytes()
	if err != nil {
		f.Fatal(err)
	}
	for _, hash := range []tpm2.TPMAlgID{tpm2.TPMAlgSHA256, tpm2.TPMAlgSHA1} {
		f.Add(tpm2.Marshal(tpm2.TPMTPublic{Type: tpm2.TPMAlgECC, NameAlg: tpm2.TPMAlgSHA256,
			Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{CurveID: tpm2.TPMECCNistP256,
				Scheme: tpm2.TPMTECCScheme{Scheme: tpm2.TPMAlgECDSA, Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgECDSA, &tpm2.TPMSSigSchemeECDSA{HashAlg: hash})}}),
			Unique: tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{X: tpm2.TPM2BECCParameter{Buffer: point[1:33]}, Y: tpm2.TPM2BECCParameter{Buffer: point[33:]}})}))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := decodePublic(data)
		want, wantErr := decode[tpm2.TPMTPublic](data, maxPublic)
		if wantErr == nil && want.Type != tpm2.TPMAlgECC && want.Type != tpm2.TPMAlgRSA {
			if err == nil {
				t.Fatalf("accepted type 0x%04x", uint16(want.Type))
			}
			return
		}
		if (err == nil) != (wantErr == nil) {
			t.Fatalf("%v, go-tpm says: %v", err, wantErr)
		}
		if err == nil {
			samePublic(t, got, want)
		}
	})
}

func samePublic(t *testing.T, got *publicArea, want *tpm2.TPMTPublic) {
	t.Helper()
	a := want.ObjectAttributes
	for bit, set := range map[uint32]bool{fixedTPM: a.FixedTPM, fixedParent: a.FixedParent, sensitiveDataOrigin: a.SensitiveDataOrigin,
		userWithAuth: a.UserWithAuth, restricted: a.Restricted, decrypts: a.Decrypt, signs: a.SignEncrypt} {
		if got.has(bit) != set {
			t.Fatalf("attribute 0x%x in 0x%08x, want %v", bit, got.attributes, set)
		}
	}
	if got.typ != want.Type || got.nameAlg != want.NameAlg {
		t.Fatalf("%+v", got)
	}
	if want.Type == tpm2.TPMAlgRSA {
		detail, err := want.Parameters.RSADetail()
		modulus, idErr := want.Unique.RSA()
		if err != nil || idErr != nil || got.keyBits != uint16(detail.KeyBits) || got.exponent != detail.Exponent || got.scheme != detail.Scheme.Scheme {
			t.Fatalf("%+v, %v, %v", got, err, idErr)
		}
		same(t, got.modulus, modulus.Buffer)
		if s, err := detail.Scheme.Details.RSAPSS(); err == nil && got.hash != s.HashAlg {
			t.Fatalf("hash %v", got.hash)
		}
		return
	}
	detail, err := want.Parameters.ECCDetail()
	point, idErr := want.Unique.ECC()
	if err != nil || idErr != nil || got.curve != detail.CurveID || got.scheme != detail.Scheme.Scheme {
		t.Fatalf("%+v, %v, %v", got, err, idErr)
	}
	same(t, got.x, point.X.Buffer)
	same(t, got.y, point.Y.Buffer)
	if s, err := detail.Scheme.Details.ECDSA(); err == nil && got.hash != s.HashAlg {
		t.Fatalf("hash %v", got.hash)
	}
}

func same(t *testing.T, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Fatalf("%x, go-tpm says %x", got, want)
	}
}
