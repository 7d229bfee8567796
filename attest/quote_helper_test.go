package attest_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"slices"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"troth/attest"
)

// akAttributes are those of a proper attestation key.
func akAttributes() tpm2.TPMAObject {
	return tpm2.TPMAObject{FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true,
		UserWithAuth: true, Restricted: true, SignEncrypt: true}
}

func eccPublic(key *ecdsa.PublicKey, curve tpm2.TPMECCCurve, hash tpm2.TPMAlgID) tpm2.TPMTPublic {
	raw, err := key.Bytes()
	if err != nil {
		panic(err)
	}
	x, y := raw[1:1+len(raw)/2], raw[1+len(raw)/2:]
	return tpm2.TPMTPublic{
		Type: tpm2.TPMAlgECC, NameAlg: tpm2.TPMAlgSHA256, ObjectAttributes: akAttributes(),
		Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{
			Scheme: tpm2.TPMTECCScheme{Scheme: tpm2.TPMAlgECDSA,
				Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgECDSA, &tpm2.TPMSSigSchemeECDSA{HashAlg: hash})},
			CurveID: curve,
		}),
		Unique: tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{
			X: tpm2.TPM2BECCParameter{Buffer: x}, Y: tpm2.TPM2BECCParameter{Buffer: y}}),
	}
}

func rsaPublic(key *rsa.PublicKey, scheme, hash tpm2.TPMAlgID) tpm2.TPMTPublic {
	details := tpm2.NewTPMUAsymScheme(scheme, &tpm2.TPMSSigSchemeRSASSA{HashAlg: hash})
	if scheme == tpm2.TPMAlgRSAPSS {
		details = tpm2.NewTPMUAsymScheme(scheme, &tpm2.TPMSSigSchemeRSAPSS{HashAlg: hash})
	}
	return tpm2.TPMTPublic{
		Type: tpm2.TPMAlgRSA, NameAlg: tpm2.TPMAlgSHA256, ObjectAttributes: akAttributes(),
		Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgRSA, &tpm2.TPMSRSAParms{
			Scheme:  tpm2.TPMTRSAScheme{Scheme: scheme, Details: details},
			KeyBits: tpm2.TPMKeyBits(key.N.BitLen()),
		}),
		Unique: tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{Buffer: key.N.Bytes()}),
	}
}

func newECC(t testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// signAs signs like a TPM, with the given scheme and hash.
func signAs(t testing.TB, key crypto.Signer, scheme, hash tpm2.TPMAlgID, message []byte) []byte {
	t.Helper()
	h, err := hash.Hash()
	if err != nil {
		t.Fatal(err)
	}
	d := h.New()
	d.Write(message)
	digest := d.Sum(nil)
	var s tpm2.TPMUSignature
	switch key := key.(type) {
	case *ecdsa.PrivateKey:
		r, v, err := ecdsa.Sign(rand.Reader, key, digest)
		if err != nil {
			t.Fatal(err)
		}
		s = tpm2.NewTPMUSignature(scheme, &tpm2.TPMSSignatureECC{Hash: hash,
			SignatureR: tpm2.TPM2BECCParameter{Buffer: r.Bytes()}, SignatureS: tpm2.TPM2BECCParameter{Buffer: v.Bytes()}})
	case *rsa.PrivateKey:
		var sig []byte
		if scheme == tpm2.TPMAlgRSAPSS {
			sig, err = rsa.SignPSS(rand.Reader, key, h, digest, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthAuto})
		} else {
			sig, err = rsa.SignPKCS1v15(rand.Reader, key, h, digest)
		}
		if err != nil {
			t.Fatal(err)
		}
		s = tpm2.NewTPMUSignature(scheme, &tpm2.TPMSSignatureRSA{Hash: hash, Sig: tpm2.TPM2BPublicKeyRSA{Buffer: sig}})
	}
	return tpm2.Marshal(tpm2.TPMTSignature{SigAlg: scheme, Signature: s})
}

func sign(t testing.TB, key *ecdsa.PrivateKey, message []byte) []byte {
	t.Helper()
	return signAs(t, key, tpm2.TPMAlgECDSA, tpm2.TPMAlgSHA256, message)
}

func algorithmOf(bank string) tpm2.TPMAlgID {
	return map[string]tpm2.TPMAlgID{"sha1": tpm2.TPMAlgSHA1, "sha256": tpm2.TPMAlgSHA256, "sha384": tpm2.TPMAlgSHA384}[bank]
}

// quoteOf is the TPMS_ATTEST of a quote over all of pcrs, as a TPM makes it.
func quoteOf(nonce []byte, pcrs attest.PCRs, change ...func(*tpm2.TPMSAttest, *tpm2.TPMSQuoteInfo)) []byte {
	var info tpm2.TPMSQuoteInfo
	d := sha256.New()
	for _, bank := range []string{"sha1", "sha256", "sha384"} {
		bitmap := make([]byte, 3)
		for i := range 24 {
			if v, ok := pcrs[bank][i]; ok {
				bitmap[i/8] |= 1 << (i % 8)
				d.Write(v)
			}
		}
		if slices.ContainsFunc(bitmap, func(b byte) bool { return b != 0 }) {
			info.PCRSelect.PCRSelections = append(info.PCRSelect.PCRSelections,
				tpm2.TPMSPCRSelection{Hash: algorithmOf(bank), PCRSelect: bitmap})
		}
	}
	info.PCRDigest.Buffer = d.Sum(nil)
	a := tpm2.TPMSAttest{
		Magic: tpm2.TPMGeneratedValue, Type: tpm2.TPMSTAttestQuote,
		QualifiedSigner: tpm2.TPM2BName{Buffer: append([]byte{0, 0x0b}, make([]byte, 32)...)},
		ExtraData:       tpm2.TPM2BData{Buffer: nonce},
		ClockInfo:       tpm2.TPMSClockInfo{Clock: 123456, ResetCount: 7, RestartCount: 2, Safe: true},
		FirmwareVersion: 0x2019102300163636,
	}
	for _, c := range change {
		c(&a, &info)
	}
	a.Attested = tpm2.NewTPMUAttest(tpm2.TPMSTAttestQuote, &info)
	return tpm2.Marshal(a)
}

// codes lists the codes of a result's problems of one severity.
func codes(r attest.Result, s attest.Severity) []string {
	out := []string{}
	for _, p := range r.Problems {
		provoke(p.Code)
		if p.Severity == s {
			out = append(out, p.Code)
		}
	}
	return out
}

// refused requires that evidence is refused with exactly one kind of error.
func refused(t *testing.T, r attest.Result, code string) {
	t.Helper()
	got := slices.Compact(codes(r, attest.SeverityError))
	if r.Verified || !slices.Equal(got, []string{code}) {
		t.Errorf("verified %v with errors %v, want only %s: %+v", r.Verified, got, code, r.Problems)
	}
	if r.Err() == nil {
		t.Error("Err is nil")
	}
}

func accepted(t *testing.T, r attest.Result) {
	t.Helper()
	if !r.Verified || r.Err() != nil {
		t.Fatalf("not verified: %+v", r.Problems)
	}
}
