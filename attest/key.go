package attest

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"

	"github.com/google/go-tpm/tpm2"
)

// Bounds on RSA moduli in bits: below is weak, above costs a verifier too much.
const (
	minRSABits = 2048
	maxRSABits = 4096
)

// attestationKey is a public key with everything pinned that a signature under
// it may use.
type attestationKey struct {
	public crypto.PublicKey
	scheme tpm2.TPMAlgID // TPMAlgNull: the key says nothing, as a PEM key
	hash   tpm2.TPMAlgID // TPMAlgNull: likewise
	// certain is true for a TPM public area, whose attributes were checked.
	certain bool
}

// CheckAK checks an attestation key's public area (a TPMT_PUBLIC, up to 4 KiB):
// restricted, sign, fixedTPM, fixedParent, sensitiveDataOrigin and userWithAuth
// set, decrypt clear; ECC P-256 or P-384 with ECDSA, or RSA of 2048 to 4096 bits
// with RSASSA or RSAPSS; SHA-256 or SHA-384 pinned. It returns the key's Name
// (Part 1, section "Names"): the name algorithm and the hash of the whole public
// area. Errors are of type *Error.
func CheckAK(tpmtPublic []byte) (name []byte, err error) {
	public, err := decode[tpm2.TPMTPublic](tpmtPublic, maxPublic)
	if err != nil {
		return nil, failure(CodeAKMalformed, "attestation key: %v", err)
	}
	if _, fail := checkAKPublic(public); fail != nil {
		return nil, fail
	}
	name, err = publicName(public, tpmtPublic)
	if err != nil {
		return nil, failure(CodeAKType, "attestation key: %v", err)
	}
	return name, nil
}

// publicName computes a Name over the bytes as they came.
func publicName(public *tpm2.TPMTPublic, raw []byte) ([]byte, error) {
	switch public.NameAlg {
	case tpm2.TPMAlgSHA256, tpm2.TPMAlgSHA384, tpm2.TPMAlgSHA512:
	default:
		return nil, errors.New("name algorithm is not SHA-256, SHA-384 or SHA-512")
	}
	h, err := public.NameAlg.Hash()
	if err != nil {
		return nil, err
	}
	d := h.New()
	d.Write(raw)
	return d.Sum([]byte{byte(public.NameAlg >> 8), byte(public.NameAlg)}), nil //nolint:gosec // the two bytes of a 16-bit number
}

// readAK reads an attestation key in any accepted form.
func readAK(data []byte) (attestationKey, *Error) {
	if len(data) > maxPublic {
		return attestationKey{}, failure(CodeTooLarge, "attestation key has %d bytes, more than %d", len(data), maxPublic)
	}
	if bytes.HasPrefix(bytes.TrimSpace(data), []byte("-----BEGIN")) {
		return readPEM(data)
	}
	public, err := decode[tpm2.TPMTPublic](unsized(data), maxPublic)
	if err != nil {
		return attestationKey{}, failure(CodeAKMalformed, "attestation key: %v", err)
	}
	return checkAKPublic(public)
}

func readPEM(data []byte) (attestationKey, *Error) {
	block, rest := pem.Decode(data)
	if block == nil || block.Type != "PUBLIC KEY" || len(bytes.TrimSpace(rest)) > 0 {
		return attestationKey{}, failure(CodeAKMalformed, "attestation key: not exactly one PEM block of type PUBLIC KEY")
	}
	parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return attestationKey{}, failure(CodeAKMalformed, "attestation key: not a PKIX public key")
	}
	k := attestationKey{public: parsed, scheme: tpm2.TPMAlgNull, hash: tpm2.TPMAlgNull}
	switch p := parsed.(type) {
	case *ecdsa.PublicKey:
		if p.Curve != elliptic.P256() && p.Curve != elliptic.P384() {
			return k, failure(CodeAKType, "attestation key: curve is not P-256 or P-384")
		}
	case *rsa.PublicKey:
		if err := checkRSA(p); err != nil {
			return k, failure(CodeAKType, "attestation key: %v", err)
		}
	default:
		return k, failure(CodeAKType, "attestation key: neither ECC nor RSA")
	}
	return k, nil
}

func checkAKPublic(public *tpm2.TPMTPublic) (attestationKey, *Error) {
	k := attestationKey{certain: true}
	a := public.ObjectAttributes
	switch {
	case !a.Restricted || !a.SignEncrypt || a.Decrypt:
		return k, failure(CodeAKAttributes, "attestation key is not a restricted signing key")
	case !a.FixedTPM || !a.FixedParent || !a.SensitiveDataOrigin:
		return k, failure(CodeAKAttributes, "attestation key is not bound to its TPM (fixedTPM, fixedParent, sensitiveDataOrigin)")
	case !a.UserWithAuth:
		return k, failure(CodeAKAttributes, "attestation key lacks userWithAuth")
	}
	var err error
	if k.public, err = publicKey(public); err != nil {
		return k, failure(CodeAKType, "attestation key: %v", err)
	}
	if k.scheme, k.hash, err = schemeOf(public); err != nil {
		return k, failure(CodeAKScheme, "attestation key: %v", err)
	}
	if hashOf(k.hash) == 0 {
		return k, failure(CodeAKScheme, "attestation key pins hash 0x%04x, not SHA-256 or SHA-384", uint16(k.hash))
	}
	return k, nil
}

// publicKey converts a public area of an accepted type, curve and size.
func publicKey(public *tpm2.TPMTPublic) (crypto.PublicKey, error) {
	switch public.Type {
	case tpm2.TPMAlgECC:
		return eccKey(public)
	case tpm2.TPMAlgRSA:
		return rsaKey(public)
	}
	return nil, errors.New("neither ECC nor RSA")
}

func eccKey(public *tpm2.TPMTPublic) (crypto.PublicKey, error) {
	detail, err := public.Parameters.ECCDetail()
	if err != nil {
		return nil, err
	}
	point, err := public.Unique.ECC()
	if err != nil {
		return nil, err
	}
	var curve elliptic.Curve
	switch detail.CurveID {
	case tpm2.TPMECCNistP256:
		curve = elliptic.P256()
	case tpm2.TPMECCNistP384:
		curve = elliptic.P384()
	default:
		return nil, errors.New("curve is not P-256 or P-384")
	}
	size := (curve.Params().BitSize + 7) / 8
	x, y := point.X.Buffer, point.Y.Buffer
	if len(x) > size || len(y) > size {
		return nil, errors.New("coordinates are longer than the curve's")
	}
	uncompressed := make([]byte, 1+2*size)
	uncompressed[0] = 4
	copy(uncompressed[1+size-len(x):], x)
	copy(uncompressed[1+2*size-len(y):], y)
	return ecdsa.ParseUncompressedPublicKey(curve, uncompressed)
}

func rsaKey(public *tpm2.TPMTPublic) (crypto.PublicKey, error) {
	detail, err := public.Parameters.RSADetail()
	if err != nil {
		return nil, err
	}
	modulus, err := public.Unique.RSA()
	if err != nil {
		return nil, err
	}
	key := &rsa.PublicKey{N: new(big.Int).SetBytes(modulus.Buffer), E: 65537}
	// Zero stands for the default exponent (Part 2, TPMS_RSA_PARMS).
	if detail.Exponent != 0 && detail.Exponent != 65537 {
		return nil, errors.New("RSA exponent is not 65537")
	}
	if key.N.BitLen() != int(detail.KeyBits) {
		return nil, errors.New("RSA modulus does not have the stated size")
	}
	return key, checkRSA(key)
}

func checkRSA(key *rsa.PublicKey) error {
	switch {
	case key.N.BitLen() < minRSABits || key.N.BitLen() > maxRSABits || key.N.Bit(0) == 0:
		return errors.New("RSA modulus is not an odd number of 2048 to 4096 bits")
	case key.E != 65537:
		return errors.New("RSA exponent is not 65537")
	}
	return nil
}

// schemeOf gives the signing scheme and hash that a public area pins.
func schemeOf(public *tpm2.TPMTPublic) (scheme, hash tpm2.TPMAlgID, err error) {
	noScheme := errors.New("no signing scheme of its type is pinned")
	if public.Type == tpm2.TPMAlgECC {
		detail, err := public.Parameters.ECCDetail()
		if err != nil {
			return 0, 0, err
		}
		if detail.Scheme.Scheme != tpm2.TPMAlgECDSA {
			return 0, 0, noScheme
		}
		s, err := detail.Scheme.Details.ECDSA()
		if err != nil {
			return 0, 0, err
		}
		return tpm2.TPMAlgECDSA, s.HashAlg, nil
	}
	detail, err := public.Parameters.RSADetail()
	if err != nil {
		return 0, 0, err
	}
	switch detail.Scheme.Scheme {
	case tpm2.TPMAlgRSASSA:
		s, err := detail.Scheme.Details.RSASSA()
		if err != nil {
			return 0, 0, err
		}
		return tpm2.TPMAlgRSASSA, s.HashAlg, nil
	case tpm2.TPMAlgRSAPSS:
		s, err := detail.Scheme.Details.RSAPSS()
		if err != nil {
			return 0, 0, err
		}
		return tpm2.TPMAlgRSAPSS, s.HashAlg, nil
	}
	return 0, 0, noScheme
}

// hashOf gives the hashes that a signature may use, and 0 for all others.
func hashOf(a tpm2.TPMAlgID) crypto.Hash {
	switch a {
	case tpm2.TPMAlgSHA256:
		return crypto.SHA256
	case tpm2.TPMAlgSHA384:
		return crypto.SHA384
	}
	return 0
}
