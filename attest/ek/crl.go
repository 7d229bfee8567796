package ek

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"slices"
	"time"
)

// ParseCRL reads a certificate revocation list, in DER or as one PEM block. An
// error is an *Error with CodeMalformed.
func ParseCRL(data []byte) (*x509.RevocationList, error) {
	if block, _ := pem.Decode(data); block != nil {
		if block.Type != "X509 CRL" {
			return nil, refuse(CodeMalformed, nil, "PEM block is a %q instead of a CRL", block.Type)
		}
		data = block.Bytes
	}
	crl, err := x509.ParseRevocationList(data)
	if err != nil {
		return nil, refuse(CodeMalformed, err, "CRL cannot be parsed")
	}
	return crl, nil
}

// Revocation looks the certificates of a verified chain up in CRLs. A CRL counts
// if the certificate's issuer in the chain signed it; others are ignored. A
// listed certificate is an *Error with CodeRevoked, however old the list is.
// Otherwise complete tells whether every certificate below the root is covered
// by a CRL that is current at now and without critical extensions (which would
// narrow its scope). What to do when it is not, is for policy.
func (c Chain) Revocation(crls []*x509.RevocationList, now time.Time) (complete bool, err error) {
	complete = len(c.Certificates) > 0
	for i := range len(c.Certificates) - 1 {
		cert, issuer := c.Certificates[i], c.Certificates[i+1]
		covered := false
		for _, crl := range crls {
			if !bytes.Equal(crl.RawIssuer, cert.RawIssuer) || crl.CheckSignatureFrom(issuer) != nil {
				continue
			}
			for _, entry := range crl.RevokedCertificateEntries {
				if entry.SerialNumber.Cmp(cert.SerialNumber) == 0 {
					return false, refuse(CodeRevoked, nil, "certificate with serial number %x was revoked by its issuer on %s",
						cert.SerialNumber, entry.RevocationTime.UTC().Format(time.RFC3339))
				}
			}
			critical := slices.ContainsFunc(crl.Extensions, func(e pkix.Extension) bool { return e.Critical })
			current := !now.Before(crl.ThisUpdate) && now.Before(crl.NextUpdate)
			covered = covered || (current && !critical)
		}
		complete = complete && covered
	}
	return complete, nil
}
