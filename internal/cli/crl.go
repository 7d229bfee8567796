package cli

import (
	"crypto/x509"
	"encoding/asn1"
	"time"
)

// crlAnswer is what a certificate revocation list (RFC 5280, section 5) said of
// a chain.
type crlAnswer struct {
	Issuer     string     `json:"issuer"`
	ThisUpdate time.Time  `json:"this_update"`
	NextUpdate *time.Time `json:"next_update,omitempty"`
	Revoked    []string   `json:"revoked"` // serials of the chain, hexadecimal
}

// checkCRL looks for the chain's certificates in a list. A list that is not
// signed by an issuer in the chain, is out of date, or has a critical extension
// that is not understood here (a partial or indirect list), decides nothing.
func checkCRL(list *x509.RevocationList, chain []*x509.Certificate, now time.Time) (*crlAnswer, *failure) {
	got := &crlAnswer{Issuer: list.Issuer.String(), ThisUpdate: list.ThisUpdate.UTC(), Revoked: []string{}}
	if !list.NextUpdate.IsZero() {
		next := list.NextUpdate.UTC()
		got.NextUpdate = &next
	}
	below := -1 // the certificate whose issuer signed the list
	for i := range len(chain) - 1 {
		if list.CheckSignatureFrom(chain[i+1]) == nil {
			below = i
			break
		}
	}
	if below < 0 {
		return got, failf(exitUndecided, codeCRLUnknown, "the revocation list is signed by no issuer in the chain")
	}
	for _, entry := range list.RevokedCertificateEntries {
		if entry.SerialNumber.Cmp(chain[below].SerialNumber) == 0 {
			got.Revoked = append(got.Revoked, entry.SerialNumber.Text(16))
			return got, failf(exitNo, codeRevoked, "the certificate with serial %s was revoked on %s",
				entry.SerialNumber.Text(16), entry.RevocationTime.UTC().Format(time.DateOnly))
		}
	}
	if partial(list) {
		return got, failf(exitUndecided, codeCRLUnknown, "the revocation list is partial or indirect: it does not say that the certificate stands")
	}
	if now.Before(list.ThisUpdate) || list.NextUpdate.IsZero() || now.After(list.NextUpdate) {
		return got, failf(exitUndecided, codeCRLUnknown, "the revocation list is not in force now: get a fresh one")
	}
	return got, nil
}

// partial reports whether a list has a critical extension: a delta CRL indicator
// or an issuing distribution point (RFC 5280, sections 5.2.4 and 5.2.5) limits
// what it speaks of.
func partial(list *x509.RevocationList) bool {
	authorityKeyID := asn1.ObjectIdentifier{2, 5, 29, 35}
	for _, e := range list.Extensions {
		if e.Critical && !e.Id.Equal(authorityKeyID) {
			return true
		}
	}
	return false
}
