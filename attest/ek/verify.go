package ek

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"time"
)

// Chain is a verified chain of an EK certificate.
type Chain struct {
	Manufacturer string              // the name given to Roots.Add
	RootSHA256   string              // SHA-256 of the root certificate, lower-case hexadecimal
	Certificates []*x509.Certificate // the EK's, intermediates, the root
}

// Verify finds the manufacturer of the TPM whose EK certificate this is. The
// certificate must be valid at now, as must those above it, and be for an EK.
// Errors are *Error with CodeExpired, CodeNotEKCertificate, CodeMalformed,
// CodeChain or CodeUnknownManufacturer. Revocation is another question: see
// Chain.Revocation and CRLs.
func (r *Roots) Verify(cert *x509.Certificate, now time.Time) (Chain, error) {
	return r.VerifyWith(cert, nil, now)
}

// VerifyWith is like Verify with certificates that came from the device (up to
// 16), as those of ParseChain. They may stand between the EK's certificate and
// the manufacturer's, if they are CAs' and all signatures, validity periods,
// path lengths and key usages hold; none of them is ever trusted as a root.
func (r *Roots) VerifyWith(cert *x509.Certificate, supplied []*x509.Certificate, now time.Time) (Chain, error) {
	if err := checkProfile(cert); err != nil {
		return Chain{}, err
	}
	return r.VerifyAny(cert, supplied, now)
}

// VerifyAny is like VerifyWith for a certificate that is not an EK's: what it is
// for, its key usage and extended key usage, is for the caller to judge (package
// attest/idevid does).
func (r *Roots) VerifyAny(cert *x509.Certificate, supplied []*x509.Certificate, now time.Time) (Chain, error) {
	if len(supplied) > maxChain {
		return Chain{}, refuse(CodeMalformed, nil, "certificate came with %d others, more than %d", len(supplied), maxChain)
	}
	if now.Before(cert.NotBefore) || now.After(cert.NotAfter) {
		return Chain{}, refuse(CodeExpired, nil, "certificate is valid from %s to %s",
			cert.NotBefore.UTC().Format(time.RFC3339), cert.NotAfter.UTC().Format(time.RFC3339))
	}
	leaf, err := withoutKnownExtensions(cert)
	if err != nil {
		return Chain{}, err
	}
	// No manufacturer at all is an unknown manufacturer, with no cause to name.
	var causes []error
	for _, m := range r.manufacturers {
		chains, err := m.chains(leaf, supplied, now)
		if err == nil {
			return newChain(m.name, cert, chains[0]), nil
		}
		causes = append(causes, err)
	}
	for _, m := range r.manufacturers {
		if _, err := m.chains(leaf, supplied, leaf.NotBefore); err == nil {
			return Chain{}, refuse(CodeExpired, nil, "a CA certificate above the device's is not valid at this time")
		}
	}
	return Chain{}, whyNot(leaf, supplied, causes)
}

func (m *manufacturer) chains(leaf *x509.Certificate, supplied []*x509.Certificate, at time.Time) ([][]*x509.Certificate, error) {
	intermediates := m.intermediates
	if len(supplied) > 0 {
		intermediates = m.intermediates.Clone()
		for _, c := range supplied {
			intermediates.AddCert(c)
		}
	}
	return leaf.Verify(x509.VerifyOptions{
		Roots: m.roots, Intermediates: intermediates, CurrentTime: at,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}, // the caller has looked
	})
}

// whyNot tells an unknown manufacturer from a chain with an unfit link. x509
// reports such a link only after it has verified the signatures below it.
func whyNot(leaf *x509.Certificate, supplied []*x509.Certificate, causes []error) *Error {
	cause := errors.Join(causes...)
	var invalid x509.CertificateInvalidError
	var critical x509.UnhandledCriticalExtension
	for _, err := range causes {
		switch {
		case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
			return refuse(CodeExpired, err, "a CA certificate above the device's is not valid at this time")
		case errors.As(err, &invalid), errors.As(err, &critical):
			return refuse(CodeChain, err, "a CA certificate above the device's may not stand there")
		}
	}
	for _, below := range append([]*x509.Certificate{leaf}, supplied...) {
		for _, above := range supplied {
			if above != below && signedUnfit(below, above) {
				return refuse(CodeChain, cause, "the device's certificate is from one that may not issue certificates")
			}
		}
	}
	return refuse(CodeUnknownManufacturer, cause, "certificate is of no known manufacturer")
}

// signedUnfit reports whether above signed below though it is no CA's.
func signedUnfit(below, above *x509.Certificate) bool {
	if !bytes.Equal(below.RawIssuer, above.RawSubject) {
		return false
	}
	mayIssue := above.BasicConstraintsValid && above.IsCA && (above.KeyUsage == 0 || above.KeyUsage&x509.KeyUsageCertSign != 0)
	return !mayIssue && above.CheckSignature(below.SignatureAlgorithm, below.RawTBSCertificate, below.Signature) == nil
}

func newChain(name string, cert *x509.Certificate, verified []*x509.Certificate) Chain {
	certificates := append([]*x509.Certificate{cert}, verified[1:]...)
	sum := sha256.Sum256(certificates[len(certificates)-1].Raw)
	return Chain{Manufacturer: name, RootSHA256: hex.EncodeToString(sum[:]), Certificates: certificates}
}
