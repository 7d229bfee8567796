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
	public, fail := readAKPublic(tpmtPublic)
	if fail != nil {
		return nil, fail
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
func publicName(public *publicArea, raw []byte) ([]byte, error) {
	switch public.nameAlg {
	case tpm2.TPMAlgSHA256, tpm2.TPMAlgSHA384, tpm2.TPMAlgSHA512:
	default:
		return nil, errors.New("name algorithm is not SHA-256, SHA-384 or SHA-512")
	}
	h, err := public.nameAlg.Hash()
	if err != nil {
		return nil, err
	}
	d := h.New()
	d.Write(raw)
	return d.Sum([]byte{byte(public.nameAlg >> 8), byte(public.nameAlg)}), nil //nolint:gosec // the two bytes of a 16-bit number
}

// readAK reads an attestation key in any accepted form.
func readAK(data []byte) (attestationKey, *Error) {
	if len(data) > maxPublic {
		return attestationKey{}, failure(CodeTooLarge, "attestation key has %d bytes, more than %d", len(data), maxPublic)
	}
	if bytes.HasPrefix(bytes.TrimSpace(data), []byte("-----BEGIN")) {
		return readPEM(data)
	}
	public, fail := readAKPublic(unsized(data))
	if fail != nil {
		return attestationKey{}, fail
	}
	return checkAKPublic(public)
}

func readAKPublic(data []byte) (*publicArea, *Error) {
	public, err := decodePublic(data)
	switch {
	case errors.Is(err, errKeyType):
		return nil, failure(CodeAKType, "attestation key: %v", err)
	case err != nil:
		return nil, failure(CodeAKMalformed, "attestation key: %v", err)
	}
	return public, nil
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

func checkAKPublic(public *publicArea) (attestationKey, *Error) {
	k := attestationKey{certain: true}
	switch {
	case !public.has(restricted|signs) || public.any(decrypts):
		return k, failure(CodeAKAttributes, "attestation key is not a restricted signing key")
	case !public.has(fixedTPM | fixedParent | sensitiveDataOrigin):
		return k, failure(CodeAKAttributes, "attestation key is not bound to its TPM (fixedTPM, fixedParent, sensitiveDataOrigin)")
	case !public.has(userWithAuth):
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
func publicKey(public *publicArea) (crypto.PublicKey, error) {
	if public.typ == tpm2.TPMAlgECC {
		return eccKey(public)
	}
	return rsaKey(public)
}

func eccKey(public *publicArea) (crypto.PublicKey, error) {
	var curve elliptic.Curve
	switch public.curve {
	case tpm2.TPMECCNistP256:
		curve = elliptic.P256()
	case tpm2.TPMECCNistP384:
		curve = elliptic.P384()
	default:
		return nil, errors.New("curve is not P-256 or P-384")
	}
	size := (curve.Params().BitSize + 7) / 8
	x, y := public.x, public.y
	if len(x) > size || len(y) > size {
		return nil, errors.New("coordinates are longer than the curve's")
	}
	uncompressed := make([]byte, 1+2*size)
	uncompressed[0] = 4
	copy(uncompressed[1+size-len(x):], x)
	copy(uncompressed[1+2*size-len(y):], y)
	return ecdsa.ParseUncompressedPublicKey(curve, uncompressed)
}

func rsaKey(public *publicArea) (crypto.PublicKey, error) {
	key := &rsa.PublicKey{N: new(big.Int).SetBytes(public.modulus), E: 65537}
	// Zero stands for the default exponent (Part 2, TPMS_RSA_PARMS).
	if public.exponent != 0 && public.exponent != 65537 {
		return nil, errors.New("RSA exponent is not 65537")
	}
	if key.N.BitLen() != int(public.keyBits) {
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
func schemeOf(public *publicArea) (scheme, hash tpm2.TPMAlgID, err error) {
	switch {
	case public.typ == tpm2.TPMAlgECC && public.scheme == tpm2.TPMAlgECDSA,
		public.typ == tpm2.TPMAlgRSA && (public.scheme == tpm2.TPMAlgRSASSA || public.scheme == tpm2.TPMAlgRSAPSS):
		return public.scheme, public.hash, nil
	}
	return 0, 0, errors.New("no signing scheme of its type is pinned")
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
