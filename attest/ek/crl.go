package ek

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"slices"
	"time"
)

// maxCRL bounds a CRL, in bytes. Those of TPM manufacturers have some kilobytes.
const maxCRL = 8 << 20

// Extensions of CRLs (RFC 5280, 5.2.4 and 5.2.5).
func oidDeltaCRLIndicator() asn1.ObjectIdentifier { return asn1.ObjectIdentifier{2, 5, 29, 27} }

func oidIssuingDistributionPoint() asn1.ObjectIdentifier {
	return asn1.ObjectIdentifier{2, 5, 29, 28}
}

// ParseCRL reads a certificate revocation list of up to 8 MiB, in DER or as one
// PEM block. A delta CRL is refused: it says what changed since another list, so
// what it does not list may be revoked all the same. An error is an *Error with
// CodeMalformed.
func ParseCRL(data []byte) (*x509.RevocationList, error) {
	if len(data) > maxCRL {
		return nil, refuse(CodeMalformed, nil, "CRL of %d bytes is longer than %d", len(data), maxCRL)
	}
	if block, _ := pem.Decode(data); block != nil {
		if block.Type != "X509 CRL" {
			return nil, refuse(CodeMalformed, nil, "PEM block is a %q instead of a CRL", harmless(block.Type))
		}
		data = block.Bytes
	}
	crl, err := x509.ParseRevocationList(data)
	if err != nil {
		return nil, refuse(CodeMalformed, err, "CRL cannot be parsed")
	}
	if slices.ContainsFunc(crl.Extensions, func(e pkix.Extension) bool { return e.Id.Equal(oidDeltaCRLIndicator()) }) {
		return nil, refuse(CodeMalformed, nil, "CRL is a delta CRL, which is no complete list")
	}
	return crl, nil
}

// Revocation looks the certificates of a verified chain up in CRLs. A CRL counts
// if the certificate's issuer in the chain signed it; others are ignored. A
// listed certificate is an *Error with CodeRevoked, however old the list is.
// Otherwise complete tells whether every certificate below the root is covered
// by a CRL that is current at now and whose scope (RFC 5280, 5.2.5) includes it.
// What to do when it is not, is for policy: see CRLs.Check.
func (c Chain) Revocation(crls []*x509.RevocationList, now time.Time) (complete bool, err error) {
	complete = len(c.Certificates) > 0
	for i := range len(c.Certificates) - 1 {
		what, err := lookUp(c.Certificates[i], c.Certificates[i+1], crls, now)
		if err != nil {
			return false, err
		}
		complete = complete && what == covered
	}
	return complete, nil
}

// coverage is what CRLs say of a certificate that none of them lists.
type coverage int

const (
	uncovered coverage = iota // nothing
	stale                     // nothing any more: the list has ended, or is of the future
	covered                   // that it is not revoked
)

func lookUp(cert, issuer *x509.Certificate, crls []*x509.RevocationList, now time.Time) (coverage, error) {
	best := uncovered
	for _, crl := range crls {
		if !signedBy(crl, issuer) || !bytes.Equal(crl.RawIssuer, cert.RawIssuer) {
			continue
		}
		for _, entry := range crl.RevokedCertificateEntries {
			if entry.SerialNumber.Cmp(cert.SerialNumber) == 0 {
				return uncovered, refuse(CodeRevoked, nil, "certificate with serial number %x was revoked by its issuer on %s",
					cert.SerialNumber, entry.RevocationTime.UTC().Format(time.RFC3339))
			}
		}
		if !inScope(crl, cert) {
			continue
		}
		what := stale
		if !now.Before(crl.ThisUpdate) && now.Before(crl.NextUpdate) {
			what = covered
		}
		best = max(best, what)
	}
	return best, nil
}

// signedBy reports whether issuer signed a CRL, and may do so.
func signedBy(crl *x509.RevocationList, issuer *x509.Certificate) bool {
	return bytes.Equal(crl.RawIssuer, issuer.RawSubject) && crl.CheckSignatureFrom(issuer) == nil
}

// issuingDistributionPoint of RFC 5280, 5.2.5.
type issuingDistributionPoint struct {
	Name struct {
		Full     []asn1.RawValue  `asn1:"optional,tag:0"`
		Relative pkix.RDNSequence `asn1:"optional,tag:1"`
	} `asn1:"optional,tag:0"`
	OnlyUser        bool           `asn1:"optional,tag:1"`
	OnlyCA          bool           `asn1:"optional,tag:2"`
	OnlySomeReasons asn1.BitString `asn1:"optional,tag:3"`
	Indirect        bool           `asn1:"optional,tag:4"`
	OnlyAttributes  bool           `asn1:"optional,tag:5"`
}

// inScope reports whether a CRL that does not list cert says by this that it is
// not revoked. A critical extension of unknown meaning says no.
func inScope(crl *x509.RevocationList, cert *x509.Certificate) bool {
	for _, e := range crl.Extensions {
		switch {
		case e.Id.Equal(oidIssuingDistributionPoint()):
			var p issuingDistributionPoint
			if rest, err := asn1.Unmarshal(e.Value, &p); err != nil || len(rest) != 0 || len(e.Value) <= 2 {
				return false
			}
			if p.Indirect || p.OnlyAttributes || p.OnlySomeReasons.BitLength > 0 || len(p.Name.Relative) > 0 ||
				(p.OnlyUser && cert.IsCA) || (p.OnlyCA && !cert.IsCA) {
				return false
			}
			if len(p.Name.Full) > 0 && !slices.ContainsFunc(p.Name.Full, pointsOf(cert)) {
				return false
			}
		case e.Critical:
			return false
		}
	}
	return true
}

// pointsOf tells whether a name is one of cert's distribution points.
func pointsOf(cert *x509.Certificate) func(asn1.RawValue) bool {
	const uniformResourceIdentifier = 6
	return func(name asn1.RawValue) bool {
		return name.Class == asn1.ClassContextSpecific && name.Tag == uniformResourceIdentifier &&
			slices.Contains(cert.CRLDistributionPoints, string(name.Bytes))
	}
}
