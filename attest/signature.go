package attest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"math/big"

	"github.com/google/go-tpm/tpm2"
)

// verify checks a TPMT_SIGNATURE over message. Scheme and hash must be those
// that the key pins; a PEM key pins none, and then both must fit the key's type
// and be accepted ones. It returns the signing scheme's hash, which is also the
// one of a quote's PCR digest.
func (k attestationKey) verify(data, message []byte) (crypto.Hash, *Error) {
	s, err := decodeSignature(data)
	if err != nil {
		return 0, failure(CodeSignatureMalformed, "signature: %v", err)
	}
	if k.scheme != tpm2.TPMAlgNull && s.scheme != k.scheme {
		return 0, failure(CodeSignatureScheme, "signature scheme 0x%04x is not the key's", uint16(s.scheme))
	}
	switch public := k.public.(type) {
	case *ecdsa.PublicKey:
		return k.verifyECDSA(public, s, message)
	case *rsa.PublicKey:
		return k.verifyRSA(public, s, message)
	}
	return 0, failure(CodeAKType, "attestation key: neither ECC nor RSA")
}

// digest hashes message with the signature's hash, if that is the pinned one.
func (k attestationKey) digest(alg tpm2.TPMAlgID, message []byte) (crypto.Hash, []byte, *Error) {
	h := hashOf(alg)
	if h == 0 || (k.hash != tpm2.TPMAlgNull && alg != k.hash) {
		return 0, nil, failure(CodeSignatureScheme, "signature hash 0x%04x is not the key's, or neither SHA-256 nor SHA-384", uint16(alg))
	}
	d := h.New()
	d.Write(message)
	return h, d.Sum(nil), nil
}

func (k attestationKey) verifyECDSA(public *ecdsa.PublicKey, s signature, message []byte) (crypto.Hash, *Error) {
	if s.scheme != tpm2.TPMAlgECDSA {
		return 0, failure(CodeSignatureScheme, "signature scheme 0x%04x is not ECDSA", uint16(s.scheme))
	}
	h, digest, fail := k.digest(s.hash, message)
	if fail != nil {
		return 0, fail
	}
	size := (public.Curve.Params().BitSize + 7) / 8
	if len(s.r) > size || len(s.s) > size {
		return 0, failure(CodeSignatureMalformed, "signature: longer than the curve's order")
	}
	r, t := new(big.Int).SetBytes(s.r), new(big.Int).SetBytes(s.s)
	if !ecdsa.Verify(public, digest, r, t) {
		return 0, failure(CodeSignatureInvalid, "the signature does not verify under the attestation key")
	}
	return h, nil
}

func (k attestationKey) verifyRSA(public *rsa.PublicKey, s signature, message []byte) (crypto.Hash, *Error) {
	if s.scheme != tpm2.TPMAlgRSASSA && s.scheme != tpm2.TPMAlgRSAPSS {
		return 0, failure(CodeSignatureScheme, "signature scheme 0x%04x is not RSASSA or RSAPSS", uint16(s.scheme))
	}
	h, digest, fail := k.digest(s.hash, message)
	if fail != nil {
		return 0, fail
	}
	var err error
	if s.scheme == tpm2.TPMAlgRSASSA {
		err = rsa.VerifyPKCS1v15(public, h, digest, s.rsa)
	} else {
		// TPMs differ in the salt's length (Part 1, annex B.7).
		err = rsa.VerifyPSS(public, h, digest, s.rsa, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthAuto, Hash: h})
	}
	if err != nil {
		return 0, failure(CodeSignatureInvalid, "the signature does not verify under the attestation key")
	}
	return h, nil
}
