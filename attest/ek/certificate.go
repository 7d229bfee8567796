package ek

import (
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
)

// maxCertificate bounds a certificate with its padding, in bytes.
const maxCertificate = 64 << 10

// oidRSAESOAEP marks an RSA key that is for OAEP only (RFC 4055, 1.2). Some
// manufacturers wrote it into their EK certificates; crypto/x509 leaves such
// a key out.
var oidRSAESOAEP = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 7}

// ParseCertificate reads an X.509 certificate (DER) as it stands in a TPM's NV
// memory: what follows it there, often padding of 0x00 or 0xff up to the size
// of the index, is ignored. An error is an *Error with CodeMalformed. The key
// of the certificate may be nil; Public and PublicTemplate know more kinds.
func ParseCertificate(der []byte) (*x509.Certificate, error) {
	if len(der) > maxCertificate {
		return nil, refuse(CodeMalformed, nil, "EK certificate of %d bytes is longer than %d", len(der), maxCertificate)
	}
	var outer asn1.RawValue
	if _, err := asn1.Unmarshal(der, &outer); err != nil {
		return nil, refuse(CodeMalformed, err, "EK certificate is not DER")
	}
	if outer.Class != asn1.ClassUniversal || outer.Tag != asn1.TagSequence || !outer.IsCompound {
		return nil, refuse(CodeMalformed, nil, "EK certificate is not an ASN.1 sequence")
	}
	cert, err := x509.ParseCertificate(outer.FullBytes)
	if err != nil {
		return nil, refuse(CodeMalformed, err, "EK certificate cannot be parsed")
	}
	return cert, nil
}

// publicKey is the certificate's key, also where the key is an RSA key for
// OAEP.
func publicKey(cert *x509.Certificate) (crypto.PublicKey, error) {
	if cert.PublicKey != nil {
		return cert.PublicKey, nil
	}
	var spki struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}
	if rest, err := asn1.Unmarshal(cert.RawSubjectPublicKeyInfo, &spki); err != nil || len(rest) != 0 {
		return nil, refuse(CodeMalformed, err, "EK certificate's key cannot be parsed")
	}
	if !spki.Algorithm.Algorithm.Equal(oidRSAESOAEP) {
		return nil, refuse(CodeUnsupportedKey, nil, "EK certificate has a key of unknown algorithm %v", spki.Algorithm.Algorithm)
	}
	var key struct {
		N *big.Int
		E int
	}
	if rest, err := asn1.Unmarshal(spki.Key.RightAlign(), &key); err != nil || len(rest) != 0 {
		return nil, refuse(CodeMalformed, err, "EK certificate's RSA key cannot be parsed")
	}
	return &rsa.PublicKey{N: key.N, E: key.E}, nil
}
