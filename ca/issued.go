package ca

import (
	"crypto/ecdsa"
	"crypto/x509"
	"errors"
	"fmt"
	"time"
)

// clockSkew is how far the issuer's clock may be from ours.
const clockSkew = time.Minute

// minSerialBits is the entropy that a serial number must have room for
// (CA/Browser Forum Baseline Requirements, section 7.1). Serial numbers also
// end up in the names of records, so a small counter would collide.
const minSerialBits = 64 - 16 // 64 random bits begin with 16 zeros once in 65536

// CheckIssued decides whether a certificate is what r asked for, whoever signed
// it: the certified key, the device's URI as the only name, a client's and
// nothing but a client's usage, a validity within what was asked, and a chain
// to one of roots. The error of a certificate that is not matches ErrMisissued.
func CheckIssued(r Request, c Certificate, roots []*x509.Certificate, now time.Time) error {
	if err := checkIssued(r, c, roots, now); err != nil {
		return fmt.Errorf("%w: %w", ErrMisissued, err)
	}
	return nil
}

func checkIssued(r Request, c Certificate, roots []*x509.Certificate, now time.Time) error {
	leaf, err := x509.ParseCertificate(c.DER)
	if err != nil {
		return fmt.Errorf("parse certificate: %w", err)
	}
	key, ok := r.PublicKey.(*ecdsa.PublicKey)
	if !ok || key == nil || !key.Equal(leaf.PublicKey) {
		return errors.New("key is not the certified key")
	}
	if leaf.SerialNumber.Sign() <= 0 || leaf.SerialNumber.BitLen() < minSerialBits {
		return errors.New("serial number is not a long random number")
	}
	if err := checkIssuedNames(leaf, r.URI); err != nil {
		return err
	}
	if err := checkUsage(leaf); err != nil {
		return err
	}
	if err := checkValidity(leaf, r.Lifetime, now); err != nil {
		return err
	}
	return verifyChain(leaf, c.Chain, roots, now)
}

func checkIssuedNames(leaf *x509.Certificate, uri string) error {
	_, id, err := SplitDeviceURI(uri)
	if err != nil {
		return err
	}
	if err := checkSubject(leaf.RawSubject, id); err != nil {
		return err
	}
	seen := false
	for _, extension := range leaf.Extensions {
		if !extension.Id.Equal(oidSubjectAltName()) {
			continue
		}
		uris, others, err := generalNames(extension.Value)
		if err != nil {
			return err
		}
		if others != 0 || len(uris) != 1 || uris[0] != uri {
			return errors.New("subject alternative names are not just the device's URI")
		}
		seen = true
	}
	if !seen {
		return errors.New("no subject alternative name")
	}
	return nil
}

func checkUsage(leaf *x509.Certificate) error {
	if leaf.IsCA {
		return errors.New("it is a CA certificate")
	}
	if leaf.KeyUsage != x509.KeyUsageDigitalSignature {
		return errors.New("key usage is not just digitalSignature")
	}
	if len(leaf.UnknownExtKeyUsage) != 0 || len(leaf.ExtKeyUsage) != 1 || leaf.ExtKeyUsage[0] != x509.ExtKeyUsageClientAuth {
		return errors.New("extended key usage is not just clientAuth")
	}
	return nil
}

func checkValidity(leaf *x509.Certificate, lifetime time.Duration, now time.Time) error {
	if lifetime == 0 {
		lifetime = DefaultLifetime
	}
	switch {
	case leaf.NotBefore.After(now.Add(clockSkew)):
		return fmt.Errorf("not valid before %v", leaf.NotBefore)
	case leaf.NotBefore.Before(now.Add(-MaxBackdate - clockSkew)):
		return fmt.Errorf("backdated to %v", leaf.NotBefore)
	case !leaf.NotAfter.After(now):
		return fmt.Errorf("already ended at %v", leaf.NotAfter)
	case leaf.NotAfter.After(now.Add(lifetime + clockSkew)):
		return fmt.Errorf("valid until %v, longer than %v", leaf.NotAfter, lifetime)
	}
	return nil
}

func verifyChain(leaf *x509.Certificate, chain [][]byte, roots []*x509.Certificate, now time.Time) error {
	trusted, intermediates := x509.NewCertPool(), x509.NewCertPool()
	for _, root := range roots {
		trusted.AddCert(root)
	}
	for _, der := range chain {
		link, err := x509.ParseCertificate(der)
		if err != nil {
			return fmt.Errorf("parse issuer's certificate: %w", err)
		}
		intermediates.AddCert(link)
	}
	// A certificate that begins within the skew is verified at its beginning.
	if leaf.NotBefore.After(now) {
		now = leaf.NotBefore
	}
	_, err := leaf.Verify(x509.VerifyOptions{
		Roots:         trusted,
		Intermediates: intermediates,
		CurrentTime:   now,
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return fmt.Errorf("verify chain: %w", err)
	}
	return nil
}
