package ek

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"math/big"

	"github.com/google/go-tpm/tpm2"

	"troth/attest/ek/template"
)

// rsaE is the public exponent, which the templates write as 0.
const rsaE = 65537

// Public rebuilds the TPMT_PUBLIC of an EK from its certificate's key and the
// template that the key is made from: L-1 for RSA-2048, L-2 for ECC P-256, H-6
// for RSA-3072, H-3 for ECC P-384. RSA-2048 and P-256 keys of the high range look
// the same in a certificate: PublicTemplate and CheckMatch serve these. Errors
// are *Error with CodeUnsupportedKey or CodeMalformed.
func Public(cert *x509.Certificate) (tpmtPublic []byte, err error) {
	key, err := publicKey(cert)
	if err != nil {
		return nil, err
	}
	for _, t := range template.All() {
		if fits(key, t) {
			return build(key, t)
		}
	}
	return nil, unsupported(key)
}

// PublicTemplate is like Public for a template of the caller's choice, which
// must fit the key.
func PublicTemplate(cert *x509.Certificate, id Template) (tpmtPublic []byte, err error) {
	t, ok := template.Find(id)
	if !ok {
		return nil, refuse(CodeNotTemplate, nil, "unknown EK template %q", string(id))
	}
	key, err := publicKey(cert)
	if err != nil {
		return nil, err
	}
	return build(key, t)
}

// PublicStored is like Public where the manufacturer left a template (a
// TPMT_PUBLIC) or a nonce in the TPM's NV memory and the device sends them; nil
// stands for what is not there. They may vary the template's unique field and
// nothing else, and neither is in the public area that the TPM makes of them: the
// key stands in its place. So they are checked, and tell which template it was.
// Errors are *Error with CodeNotTemplate, or those of Public.
func PublicStored(cert *x509.Certificate, stored, nonce []byte) (tpmtPublic []byte, err error) {
	key, err := publicKey(cert)
	if err != nil {
		return nil, err
	}
	cause := error(unsupported(key))
	for _, t := range template.All() {
		if !fits(key, t) {
			continue
		}
		if stored != nil {
			_, err = t.FromStored(stored)
		}
		if err == nil && nonce != nil {
			_, err = t.Public(nonce)
		}
		if err == nil {
			return build(key, t)
		}
		cause, err = refuse(CodeNotTemplate, err, "the template or nonce from NV memory is not one for this EK"), nil
	}
	return nil, cause
}

// CheckMatch reports whether a device's EK public is a template with the very
// key of its certificate. It is what ties the two together where a device sends
// both. Errors are *Error with CodeNotTemplate, CodeKeyMismatch, or those of
// Public.
func CheckMatch(cert *x509.Certificate, tpmtPublic []byte) error {
	t, _, err := split(tpmtPublic)
	if err != nil {
		return err
	}
	key, err := publicKey(cert)
	if err != nil {
		return err
	}
	if !fits(key, t) {
		return refuse(CodeKeyMismatch, nil, "EK certificate is for a key of another kind than the EK")
	}
	want, err := build(key, t)
	if err != nil {
		return err
	}
	if !bytes.Equal(want, tpmtPublic) {
		return refuse(CodeKeyMismatch, nil, "EK certificate is for another key than the EK")
	}
	return nil
}

// CheckPublic checks an EK public for which there is no certificate: it must be
// exactly one of the templates with a sound key, and nothing after it. This
// holds a device to the TCG's attributes; that the key is in a TPM at all, only
// a certificate or a registration by hand can tell. An error is an *Error with
// CodeNotTemplate.
func CheckPublic(tpmtPublic []byte) error {
	_, _, err := split(tpmtPublic)
	return err
}

// Twins are the public areas that other templates make with the key of an EK
// public, which CheckPublic must accept: a certificate and a challenge
// (TPM2_MakeCredential) do not tell them apart.
func Twins(tpmtPublic []byte) ([][]byte, error) {
	t, key, err := split(tpmtPublic)
	if err != nil {
		return nil, err
	}
	var twins [][]byte
	for _, other := range template.All() {
		if other.ID == t.ID || !fits(key, other) {
			continue
		}
		twin, err := build(key, other)
		if err != nil {
			return nil, err
		}
		twins = append(twins, twin)
	}
	return twins, nil
}

// TemplateOf names the template of an EK public, if CheckPublic accepts it.
func TemplateOf(tpmtPublic []byte) (Template, error) {
	t, _, err := split(tpmtPublic)
	return t.ID, err
}

// PublicKey returns the key of an EK public, *rsa.PublicKey or
// *ecdsa.PublicKey, if CheckPublic accepts it.
func PublicKey(tpmtPublic []byte) (crypto.PublicKey, error) {
	_, key, err := split(tpmtPublic)
	return key, err
}

// KeyID names the key of an EK public whatever template it follows: twins have the
// same. It is the SHA-256 of the key's PKIX form in lower-case hexadecimal.
func KeyID(tpmtPublic []byte) (string, error) {
	_, key, err := split(tpmtPublic)
	if err != nil {
		return "", err
	}
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return "", refuse(CodeUnsupportedKey, err, "EK cannot be encoded")
	}
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:]), nil
}

// DeviceID is the identity of the device with an EK public: the SHA-256 of the
// TPMT_PUBLIC in lower-case hexadecimal. Callers pass what Public returned or
// CheckPublic accepted.
func DeviceID(tpmtPublic []byte) string {
	sum := sha256.Sum256(tpmtPublic)
	return hex.EncodeToString(sum[:])
}

// fits reports whether a key is of the kind that a template makes.
func fits(key crypto.PublicKey, t template.Template) bool {
	switch key := key.(type) {
	case *rsa.PublicKey:
		return t.Type == tpm2.TPMAlgRSA && key.N != nil && key.N.BitLen() == t.Bits
	case *ecdsa.PublicKey:
		return t.Type == tpm2.TPMAlgECC && key.Curve == curveOf(t)
	}
	return false
}

func curveOf(t template.Template) elliptic.Curve {
	if t.Curve == tpm2.TPMECCNistP384 {
		return elliptic.P384()
	}
	return elliptic.P256()
}

// unsupported says of what kind a key is that has no template.
func unsupported(key crypto.PublicKey) *Error {
	switch key := key.(type) {
	case *rsa.PublicKey:
		bits := 0
		if key.N != nil {
			bits = key.N.BitLen()
		}
		return refuse(CodeUnsupportedKey, nil, "EK of RSA-%d has no template here", bits)
	case *ecdsa.PublicKey:
		return refuse(CodeUnsupportedKey, nil, "EK is on neither P-256 nor P-384")
	}
	return refuse(CodeUnsupportedKey, nil, "EK of type %T has no template", key)
}

// build puts a key into a template.
func build(key crypto.PublicKey, t template.Template) ([]byte, error) {
	if !fits(key, t) {
		return nil, refuse(CodeUnsupportedKey, unsupported(key), "EK template %s is for other keys", t.ID)
	}
	prefix, err := t.Prefix()
	if err != nil {
		return nil, refuse(CodeNotTemplate, err, "EK template %s cannot be made", t.ID)
	}
	switch key := key.(type) {
	case *rsa.PublicKey:
		if key.N.Sign() <= 0 || key.N.Bit(0) == 0 {
			return nil, refuse(CodeUnsupportedKey, nil, "EK is not an odd RSA modulus")
		}
		if key.E != rsaE {
			return nil, refuse(CodeUnsupportedKey, nil, "EK has the RSA exponent %d instead of %d", key.E, rsaE)
		}
		return append(prefix, sized(key.N.FillBytes(make([]byte, t.Bytes())))...), nil
	case *ecdsa.PublicKey:
		point, err := key.Bytes() // 4, x, y
		if err != nil {
			return nil, refuse(CodeUnsupportedKey, err, "EK is not a point on its curve")
		}
		x, y := point[1:1+t.Bytes()], point[1+t.Bytes():]
		return append(append(prefix, sized(x)...), sized(y)...), nil
	}
	return nil, unsupported(key)
}

// split finds the template of an EK public, and its key.
func split(tpmtPublic []byte) (template.Template, crypto.PublicKey, error) {
	none := template.Template{}
	for _, t := range template.All() {
		prefix, err := t.Prefix()
		if err != nil {
			return none, nil, refuse(CodeNotTemplate, err, "EK template %s cannot be made", t.ID)
		}
		unique, ok := bytes.CutPrefix(tpmtPublic, prefix)
		if !ok {
			continue
		}
		key, err := parseUnique(unique, t)
		if err != nil {
			return none, nil, refuse(CodeNotTemplate, err, "EK public has no sound key")
		}
		// There is one encoding of a template with a key, and this must be it.
		if again, err := build(key, t); err != nil || !bytes.Equal(again, tpmtPublic) {
			return none, nil, refuse(CodeNotTemplate, err, "EK public is not a TCG template")
		}
		return t, key, nil
	}
	return none, nil, refuse(CodeNotTemplate, nil, "EK public is not a TCG template")
}

func parseUnique(unique []byte, t template.Template) (crypto.PublicKey, error) {
	size := t.Bytes()
	if t.Type == tpm2.TPMAlgRSA {
		if len(unique) != 2+size {
			return nil, refuse(CodeNotTemplate, nil, "modulus field is of %d bytes", len(unique))
		}
		key := &rsa.PublicKey{N: new(big.Int).SetBytes(unique[2:]), E: rsaE}
		return key, nil
	}
	if len(unique) != 2*(2+size) {
		return nil, refuse(CodeNotTemplate, nil, "point field is of %d bytes", len(unique))
	}
	point := append([]byte{4}, unique[2:2+size]...)
	point = append(point, unique[2+size+2:]...)
	return ecdsa.ParseUncompressedPublicKey(curveOf(t), point)
}
