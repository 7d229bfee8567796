package ek

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"slices"
)

// The extended key usage of EK certificates (EK Credential Profile, 3.2.16):
// tcg-kp-EKCertificate.
func oidEKCertificate() asn1.ObjectIdentifier { return asn1.ObjectIdentifier{2, 23, 133, 8, 1} }

// Extensions of X.509 in which the profile keeps the TPM's attributes (3.2.9,
// 3.2.11).
func oidSubjectAltName() asn1.ObjectIdentifier { return asn1.ObjectIdentifier{2, 5, 29, 17} }

func oidSubjectDirectoryAttributes() asn1.ObjectIdentifier { return asn1.ObjectIdentifier{2, 5, 29, 9} }

// checkProfile refuses certificates that a manufacturer's CA may have issued
// for something else than an EK.
func checkProfile(cert *x509.Certificate) error {
	if !slices.ContainsFunc(cert.UnknownExtKeyUsage, oidEKCertificate().Equal) {
		return refuse(CodeNotEKCertificate, nil, "certificate lacks the extended key usage %v of EK certificates", oidEKCertificate())
	}
	if cert.IsCA {
		return refuse(CodeNotEKCertificate, nil, "certificate is a CA's")
	}
	return checkKeyUsage(cert)
}

// checkKeyUsage holds the key usage, if there is one, to an EK's (3.2.7): an RSA
// key enciphers keys, an ECC key agrees on them. Early versions of the profile
// had ECC keys encipher too, and such certificates are still about.
func checkKeyUsage(cert *x509.Certificate) error {
	allowed := x509.KeyUsageKeyEncipherment | x509.KeyUsageKeyAgreement
	if key, err := publicKey(cert); err == nil {
		if _, ok := key.(*rsa.PublicKey); ok {
			allowed = x509.KeyUsageKeyEncipherment
		}
	}
	switch {
	case cert.KeyUsage == 0:
		return nil
	case cert.KeyUsage&(x509.KeyUsageCertSign|x509.KeyUsageCRLSign) != 0:
		return refuse(CodeNotEKCertificate, nil, "certificate's key may sign certificates or CRLs")
	case cert.KeyUsage&allowed == 0:
		return refuse(CodeNotEKCertificate, nil, "certificate's key is not for the encryption of keys")
	}
	return nil
}

// withoutKnownExtensions returns a copy of cert in which two critical extensions
// that crypto/x509 does not know do not count as unhandled: EK certificates name
// the TPM's model in a directory name of the subjectAltName, and its
// specification in the subjectDirectoryAttributes. Nothing here depends on what
// they say, but they must be sound.
func withoutKnownExtensions(cert *x509.Certificate) (*x509.Certificate, error) {
	leaf := *cert
	leaf.UnhandledCriticalExtensions = nil
	for _, oid := range cert.UnhandledCriticalExtensions {
		if !oid.Equal(oidSubjectAltName()) && !oid.Equal(oidSubjectDirectoryAttributes()) {
			return nil, refuse(CodeMalformed, nil, "certificate has the critical extension %v, whose meaning is unknown", oid)
		}
	}
	for _, ext := range cert.Extensions {
		if ext.Id.Equal(oidSubjectAltName()) && !isGeneralNames(ext.Value) {
			return nil, refuse(CodeMalformed, nil, "certificate has a malformed subjectAltName")
		}
		if ext.Id.Equal(oidSubjectDirectoryAttributes()) && ext.Critical && len(directoryAttributes(ext.Value)) == 0 {
			return nil, refuse(CodeMalformed, nil, "certificate has malformed subjectDirectoryAttributes")
		}
	}
	return &leaf, nil
}

// isGeneralNames reports whether der is a non-empty GeneralNames (RFC 5280,
// 4.2.1.6): context-specific tags 0 to 8.
func isGeneralNames(der []byte) bool {
	var names []asn1.RawValue
	if rest, err := asn1.Unmarshal(der, &names); err != nil || len(rest) != 0 || len(names) == 0 {
		return false
	}
	return !slices.ContainsFunc(names, func(n asn1.RawValue) bool {
		return n.Class != asn1.ClassContextSpecific || n.Tag < 0 || n.Tag > 8
	})
}
