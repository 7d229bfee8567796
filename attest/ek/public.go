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
	"slices"
)

const (
	rsaBytes  = 256   // modulus of RSA-2048
	rsaE      = 65537 // which the templates write as 0
	p256Bytes = 32    // coordinate on P-256
)

// Public rebuilds the TPMT_PUBLIC of an EK from its certificate's key and the
// low range template for it: L-1 for RSA-2048, L-2 for ECC P-256. Errors are
// *Error with CodeUnsupportedKey or CodeMalformed.
func Public(cert *x509.Certificate) (tpmtPublic []byte, err error) {
	key, err := publicKey(cert)
	if err != nil {
		return nil, err
	}
	if _, ok := key.(*rsa.PublicKey); ok {
		return build(key, L1)
	}
	return build(key, L2)
}

// PublicTemplate is like Public for a template of the caller's choice, which
// must fit the key.
func PublicTemplate(cert *x509.Certificate, t Template) (tpmtPublic []byte, err error) {
	if !slices.Contains(templates(), t) {
		return nil, refuse(CodeNotTemplate, nil, "unknown EK template %q", string(t))
	}
	key, err := publicKey(cert)
	if err != nil {
		return nil, err
	}
	return build(key, t)
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
	if _, ok := key.(*rsa.PublicKey); ok != t.isRSA() {
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

// PublicKey returns the key of an EK public, *rsa.PublicKey or
// *ecdsa.PublicKey, if CheckPublic accepts it.
func PublicKey(tpmtPublic []byte) (crypto.PublicKey, error) {
	_, key, err := split(tpmtPublic)
	return key, err
}

// DeviceID is the identity of the device with an EK public: the SHA-256 of the
// TPMT_PUBLIC in lower-case hexadecimal. Callers pass what Public returned or
// CheckPublic accepted.
func DeviceID(tpmtPublic []byte) string {
	sum := sha256.Sum256(tpmtPublic)
	return hex.EncodeToString(sum[:])
}

// build puts a key into a template.
func build(key crypto.PublicKey, t Template) ([]byte, error) {
	switch key := key.(type) {
	case *rsa.PublicKey:
		if !t.isRSA() {
			return nil, refuse(CodeUnsupportedKey, nil, "EK template %s is not for RSA keys", string(t))
		}
		if err := checkRSA(key); err != nil {
			return nil, err
		}
		return append(t.prefix(), sized(key.N.FillBytes(make([]byte, rsaBytes)))...), nil
	case *ecdsa.PublicKey:
		if t.isRSA() {
			return nil, refuse(CodeUnsupportedKey, nil, "EK template %s is not for ECC keys", string(t))
		}
		if key.Curve != elliptic.P256() {
			return nil, refuse(CodeUnsupportedKey, nil, "EK is not on P-256")
		}
		point, err := key.Bytes() // 4, x, y
		if err != nil {
			return nil, refuse(CodeUnsupportedKey, err, "EK is not a point on P-256")
		}
		x, y := point[1:1+p256Bytes], point[1+p256Bytes:]
		return append(append(t.prefix(), sized(x)...), sized(y)...), nil
	}
	return nil, refuse(CodeUnsupportedKey, nil, "EK of type %T has no template", key)
}

func checkRSA(key *rsa.PublicKey) error {
	if key.N == nil || key.N.Sign() <= 0 || key.N.BitLen() != 8*rsaBytes || key.N.Bit(0) == 0 {
		return refuse(CodeUnsupportedKey, nil, "EK is not a 2048-bit RSA modulus")
	}
	if key.E != rsaE {
		return refuse(CodeUnsupportedKey, nil, "EK has the RSA exponent %d instead of %d", key.E, rsaE)
	}
	return nil
}

// split finds the template of an EK public, and its key.
func split(tpmtPublic []byte) (Template, crypto.PublicKey, error) {
	for _, t := range templates() {
		unique, ok := bytes.CutPrefix(tpmtPublic, t.prefix())
		if !ok {
			continue
		}
		key, err := parseUnique(unique, t)
		if err != nil {
			return "", nil, refuse(CodeNotTemplate, err, "EK public has no sound key")
		}
		// There is one encoding of a template with a key, and this must be it.
		if again, err := build(key, t); err != nil || !bytes.Equal(again, tpmtPublic) {
			return "", nil, refuse(CodeNotTemplate, err, "EK public is not a TCG template")
		}
		return t, key, nil
	}
	return "", nil, refuse(CodeNotTemplate, nil, "EK public is not a TCG template")
}

func parseUnique(unique []byte, t Template) (crypto.PublicKey, error) {
	if t.isRSA() {
		if len(unique) != 2+rsaBytes {
			return nil, refuse(CodeNotTemplate, nil, "modulus field is of %d bytes", len(unique))
		}
		key := &rsa.PublicKey{N: new(big.Int).SetBytes(unique[2:]), E: rsaE}
		return key, nil
	}
	if len(unique) != 2*(2+p256Bytes) {
		return nil, refuse(CodeNotTemplate, nil, "point field is of %d bytes", len(unique))
	}
	point := append([]byte{4}, unique[2:2+p256Bytes]...)
	point = append(point, unique[2+p256Bytes+2:]...)
	return ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
}
