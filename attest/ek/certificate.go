package ek

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/binary"
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
// of the index, is ignored, and so is the header that some put in front. An error is an *Error with CodeMalformed. The key
// of the certificate may be nil; Public and PublicTemplate know more kinds.
func ParseCertificate(der []byte) (*x509.Certificate, error) {
	if len(der) > maxCertificate {
		return nil, refuse(CodeMalformed, nil, "EK certificate of %d bytes is longer than %d", len(der), maxCertificate)
	}
	cert, _, err := firstCertificate(unwrap(der))
	return cert, err
}

// maxChain bounds the certificates that a device sends along.
const maxChain = 16

// ParseChain reads the certificates that a manufacturer left in a TPM's NV
// indices 0x01c00100 to 0x01c001ff, in the order of the indices: DER certificates
// one after the other, with padding between and after them, up to 16 in 64 KiB.
// An error is an *Error with CodeMalformed.
func ParseChain(data []byte) ([]*x509.Certificate, error) {
	if len(data) > maxCertificate {
		return nil, refuse(CodeMalformed, nil, "certificate chain of %d bytes is longer than %d", len(data), maxCertificate)
	}
	var chain []*x509.Certificate
	for rest := padding(data); len(rest) > 0; rest = padding(rest) {
		if len(chain) == maxChain {
			return nil, refuse(CodeMalformed, nil, "certificate chain has more than %d certificates", maxChain)
		}
		cert, next, err := firstCertificate(rest)
		if err != nil {
			return nil, err
		}
		chain, rest = append(chain, cert), next
	}
	return chain, nil
}

// padding returns data without the padding at its beginning.
func padding(data []byte) []byte { return bytes.TrimLeft(data, "\x00\xff") }

// unwrap removes the header of a "full certificate" of the PC Client
// specification for TPM 1.2 (7.3.2), which some kept: a tag, a type, a size.
func unwrap(data []byte) []byte {
	const header = 5
	if len(data) < header || !bytes.HasPrefix(data, []byte{0x10, 0x01, 0x00}) {
		return data
	}
	if size := int(binary.BigEndian.Uint16(data[3:])); size <= len(data)-header {
		return data[header : header+size]
	}
	return data
}

// firstCertificate parses the certificate at the beginning of data.
func firstCertificate(data []byte) (cert *x509.Certificate, rest []byte, err error) {
	var outer asn1.RawValue
	if rest, err = asn1.Unmarshal(data, &outer); err != nil {
		return nil, nil, refuse(CodeMalformed, err, "certificate is not DER")
	}
	if outer.Class != asn1.ClassUniversal || outer.Tag != asn1.TagSequence || !outer.IsCompound {
		return nil, nil, refuse(CodeMalformed, nil, "certificate is not an ASN.1 sequence")
	}
	cert, err = parseX509(outer.FullBytes)
	if err != nil {
		return nil, nil, refuse(CodeMalformed, err, "certificate cannot be parsed")
	}
	return cert, rest, nil
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
