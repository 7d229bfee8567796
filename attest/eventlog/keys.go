package eventlog

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
)

// Key is an entry of a signature database (UEFI 2.10 section 32.4.1).
type Key struct {
	// Kind is "x509", "sha1", "sha256", "sha384", "sha512", or the GUID of another
	// type.
	Kind  string `json:"kind"`
	Owner string `json:"owner"` // GUID
	// Fingerprint is as in SecureBoot: the hash entry itself, or the SHA-256 of the
	// entry.
	Fingerprint string `json:"fingerprint"`
	// Subject is common name, organisation and country of an X.509 certificate that
	// parses; hostile text.
	Subject string `json:"subject,omitempty"`
}

const guidX509 = "a5c059a1-94e4-4aa7-87b5-ab155c2bf072"

// Keys reads a signature database, as PK, KEK, db and dbx hold one.
func Keys(db []byte) ([]Key, error) {
	out := []Key{}
	err := eachSignature(db, func(kind string, owner, data []byte) {
		k := Key{Kind: kindOfSignature(kind), Owner: formatGUID(owner), Fingerprint: fingerprint(kind, data)}
		if kind == guidX509 {
			if cert, err := x509.ParseCertificate(data); err == nil {
				k.Subject = subject(cert)
			}
		}
		out = append(out, k)
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func kindOfSignature(guid string) string {
	switch guid {
	case guidX509:
		return "x509"
	case guidSHA1:
		return "sha1"
	case guidSHA256:
		return "sha256"
	case guidSHA384:
		return "sha384"
	case guidSHA512:
		return "sha512"
	}
	return guid
}

// Variable reads the variable of an event that measures one.
func (e Event) Variable() (Variable, error) {
	switch e.Type {
	case EFIVariableDriverConfig, EFIVariableBoot, EFIVariableBoot2, EFIVariableAuthority, EFISPDMDevicePolicy, EFISPDMDeviceAuthority:
		v, _, err := parseVariable(e.Data)
		return v, err
	}
	return Variable{}, errors.New("the event measures no variable")
}

// subject leaves out what only makes a name longer, such as an e-mail address.
func subject(cert *x509.Certificate) string {
	short := pkix.Name{CommonName: cert.Subject.CommonName, Organization: cert.Subject.Organization, Country: cert.Subject.Country}
	return first(short.String(), cert.Subject.String())
}

func first(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
