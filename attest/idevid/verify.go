package idevid

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/asn1"
	"slices"
	"time"

	"troth/attest/ek"
)

// Kind tells an IDevID from an IAK.
type Kind string

// The kinds.
const (
	IDevID Kind = "idevid" // a key that signs anything
	IAK    Kind = "iak"    // a restricted key: it signs only what its TPM made
)

// Identity is what a manufacturer says of a device.
type Identity struct {
	Kind  Kind
	Chain ek.Chain // verified; whether it is revoked is for ek.CRLs
	Facts
}

// Verify finds the manufacturer behind a key that a device shows. key is the
// public key of a TPMT_PUBLIC that attest.CheckDevIDKey accepted, and restricted
// says what it said. chain holds certificates as the TPM's NV memory has them, DER
// one after the other in any order, up to 16 in 64 KiB: the one for the key, and
// those of CAs below the root. It must hold, at now, up to a root of one
// manufacturer, and be what section 8 of the TCG's specification asks for. An
// error is an *Error.
func Verify(roots *ek.Roots, key crypto.PublicKey, restricted bool, chain []byte, now time.Time) (Identity, error) {
	certificates, err := ek.ParseChain(chain)
	if err != nil {
		return Identity{}, refuse(CodeMalformed, err, "certificates of the manufacturer's key")
	}
	comparable, ok := key.(interface{ Equal(crypto.PublicKey) bool })
	i := slices.IndexFunc(certificates, func(c *x509.Certificate) bool {
		return ok && c.PublicKey != nil && comparable.Equal(c.PublicKey)
	})
	if i < 0 {
		return Identity{}, refuse(CodeKeyMismatch, nil, "none of the %d certificates is for the manufacturer's key", len(certificates))
	}
	cert := certificates[i]
	// A copy of the certificate itself does not stand above it.
	supplied := slices.DeleteFunc(certificates, func(c *x509.Certificate) bool { return bytes.Equal(c.Raw, cert.Raw) })
	kind := IDevID
	if restricted {
		kind = IAK
	}
	if err := checkProfile(cert, kind); err != nil {
		return Identity{}, err
	}
	verified, err := roots.VerifyAny(cert, supplied, now)
	if err != nil {
		return Identity{}, ofChain(err)
	}
	return Identity{Kind: kind, Chain: verified, Facts: ReadFacts(cert)}, nil
}

// Extended key usages and certificate policies of the TCG ("TCG OID Registry").
func oidEKCertificate() asn1.ObjectIdentifier { return asn1.ObjectIdentifier{2, 23, 133, 8, 1} }

func oidPlatformCertificate() asn1.ObjectIdentifier { return asn1.ObjectIdentifier{2, 23, 133, 8, 2} }

func oidAIKCertificate() asn1.ObjectIdentifier { return asn1.ObjectIdentifier{2, 23, 133, 8, 3} }

func oidVerifiedTPMResidency() asn1.ObjectIdentifier {
	return asn1.ObjectIdentifier{2, 23, 133, 11, 1, 1}
}

func oidVerifiedTPMRestricted() asn1.ObjectIdentifier {
	return asn1.ObjectIdentifier{2, 23, 133, 11, 1, 3}
}

// checkProfile refuses certificates that a manufacturer's CA may have issued for
// something else. Section 8 lets an issuer leave the policies away that say that
// it verified where the key is; without tcg-cap-verifiedTPMResidency nothing tells
// the certificate from any other of the same CA, so here it has to be there.
func checkProfile(cert *x509.Certificate, kind Kind) error {
	uses := func(oid asn1.ObjectIdentifier) bool { return slices.ContainsFunc(cert.UnknownExtKeyUsage, oid.Equal) }
	says := func(oid asn1.ObjectIdentifier) bool { return slices.ContainsFunc(cert.PolicyIdentifiers, oid.Equal) }
	switch {
	case cert.IsCA:
		return refuse(CodeNotDevID, nil, "certificate is a CA's")
	case uses(oidEKCertificate()):
		return refuse(CodeNotDevID, nil, "certificate is an endorsement key's")
	case uses(oidPlatformCertificate()):
		return refuse(CodeNotDevID, nil, "certificate is a platform's")
	case cert.KeyUsage&(x509.KeyUsageCertSign|x509.KeyUsageCRLSign) != 0:
		return refuse(CodeNotDevID, nil, "certificate's key may sign certificates or CRLs")
	case cert.KeyUsage&x509.KeyUsageDigitalSignature == 0:
		return refuse(CodeNotDevID, nil, "certificate's key is not for signatures")
	case !says(oidVerifiedTPMResidency()):
		return refuse(CodeNotDevID, nil, "the issuer does not say that it verified that the key is in a TPM (policy %v)", oidVerifiedTPMResidency())
	case kind == IDevID && (uses(oidAIKCertificate()) || says(oidVerifiedTPMRestricted())):
		return refuse(CodeNotDevID, nil, "certificate is an attestation key's, and the key is none")
	}
	return nil
}
