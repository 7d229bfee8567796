package ek

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"slices"
	"time"
)

// OIDs of the EK Credential Profile (3.2.16) and of X.509.
var (
	oidEKCertificate  = asn1.ObjectIdentifier{2, 23, 133, 8, 1} // tcg-kp-EKCertificate
	oidSubjectAltName = asn1.ObjectIdentifier{2, 5, 29, 17}
)

// Chain is a verified chain of an EK certificate.
type Chain struct {
	Manufacturer string              // the name given to Roots.Add
	RootSHA256   string              // SHA-256 of the root certificate, lower-case hexadecimal
	Certificates []*x509.Certificate // the EK's, intermediates, the root
}

// Verify finds the manufacturer of the TPM whose EK certificate this is. The
// certificate must be valid at now, as must those above it, and be for an EK.
// Errors are *Error with CodeExpired, CodeNotEKCertificate, CodeMalformed or
// CodeUnknownManufacturer. Revocation is another question: see Chain.Revocation.
func (r *Roots) Verify(cert *x509.Certificate, now time.Time) (Chain, error) {
	if err := checkProfile(cert); err != nil {
		return Chain{}, err
	}
	if now.Before(cert.NotBefore) || now.After(cert.NotAfter) {
		return Chain{}, refuse(CodeExpired, nil, "EK certificate is valid from %s to %s",
			cert.NotBefore.UTC().Format(time.RFC3339), cert.NotAfter.UTC().Format(time.RFC3339))
	}
	leaf, err := withoutAltName(cert)
	if err != nil {
		return Chain{}, err
	}
	// No manufacturer at all is an unknown manufacturer, with no cause to name.
	var causes []error
	for _, m := range r.manufacturers {
		chains, err := leaf.Verify(x509.VerifyOptions{
			Roots: m.roots, Intermediates: m.intermediates, CurrentTime: now,
			KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}, // checkProfile has looked
		})
		if err == nil {
			return newChain(m.name, cert, chains[0]), nil
		}
		causes = append(causes, err)
	}
	for _, m := range r.manufacturers {
		if m.issued(leaf) {
			return Chain{}, refuse(CodeExpired, nil, "a CA certificate above the EK certificate is not valid at this time")
		}
	}
	return Chain{}, refuse(CodeUnknownManufacturer, errors.Join(causes...), "EK certificate is of no known manufacturer")
}

// issued reports whether there is a chain if one asks at the time when the
// certificate was issued.
func (m *manufacturer) issued(leaf *x509.Certificate) bool {
	_, err := leaf.Verify(x509.VerifyOptions{
		Roots: m.roots, Intermediates: m.intermediates, CurrentTime: leaf.NotBefore,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	return err == nil
}

func newChain(name string, cert *x509.Certificate, verified []*x509.Certificate) Chain {
	certificates := append([]*x509.Certificate{cert}, verified[1:]...)
	sum := sha256.Sum256(certificates[len(certificates)-1].Raw)
	return Chain{Manufacturer: name, RootSHA256: hex.EncodeToString(sum[:]), Certificates: certificates}
}

// checkProfile refuses certificates that a manufacturer's CA may have issued
// for something else than an EK.
func checkProfile(cert *x509.Certificate) error {
	isEK := func(oid asn1.ObjectIdentifier) bool { return oid.Equal(oidEKCertificate) }
	if !slices.ContainsFunc(cert.UnknownExtKeyUsage, isEK) {
		return refuse(CodeNotEKCertificate, nil, "certificate lacks the extended key usage %v of EK certificates", oidEKCertificate)
	}
	if cert.IsCA {
		return refuse(CodeNotEKCertificate, nil, "certificate is a CA's")
	}
	return nil
}

// withoutAltName returns a copy of cert in which a critical subjectAltName does
// not count as unhandled. EK certificates name the TPM's model there in a
// directory name (EK Credential Profile, 3.2.9), which crypto/x509 does not
// know; nothing here depends on it, but it must be a sound sequence of names.
func withoutAltName(cert *x509.Certificate) (*x509.Certificate, error) {
	leaf := *cert
	leaf.UnhandledCriticalExtensions = nil
	for _, oid := range cert.UnhandledCriticalExtensions {
		if !oid.Equal(oidSubjectAltName) {
			return nil, refuse(CodeMalformed, nil, "EK certificate has the critical extension %v, whose meaning is unknown", oid)
		}
	}
	for _, ext := range cert.Extensions {
		if ext.Id.Equal(oidSubjectAltName) && !isGeneralNames(ext.Value) {
			return nil, refuse(CodeMalformed, nil, "EK certificate has a malformed subjectAltName")
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
