package attesttest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"time"

	"github.com/google/go-tpm/tpm2"
)

// NewRevokingManufacturer creates a manufacturer in dir that publishes revocation
// lists below a URL: issuer.crl, which its EK certificates name, and root.crl,
// which its intermediate CA's certificate names. The CAs of swtpm_localca may not
// sign lists, so these are made here, and so are the EK certificates of its
// NewTPMWith. What the lists say is for CRL to make and for the caller to serve.
func NewRevokingManufacturer(dir, name, url string) (*Manufacturer, error) {
	m := &Manufacturer{dir: dir, crls: url}
	if err := m.makeCAs(name); err != nil {
		return nil, fmt.Errorf("create manufacturer: %w", err)
	}
	return m, nil
}

// Files of swtpm_localca.
const (
	rootCert, rootKey     = "swtpm-localca-rootca-cert.pem", "swtpm-localca-rootca-privkey.pem"
	issuerCert, issuerKey = "issuercert.pem", "signkey.pem"
)

func (m *Manufacturer) makeCAs(name string) error {
	if err := m.writeConfig(name); err != nil {
		return err
	}
	usage := x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	root := &x509.Certificate{
		Subject: pkix.Name{CommonName: "swtpm-localca-rootca"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: usage,
	}
	issuer := &x509.Certificate{
		Subject: pkix.Name{CommonName: "swtpm-localca"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: usage,
		CRLDistributionPoints: []string{m.crls + "/root.crl"},
	}
	for _, ca := range []struct {
		template  *x509.Certificate
		cert, key string
	}{{root, rootCert, rootKey}, {issuer, issuerCert, issuerKey}} {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return err
		}
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			return err
		}
		if err := m.writePEM(ca.key, "PRIVATE KEY", der); err != nil {
			return err
		}
		var cert []byte
		if ca.template == root {
			cert, err = signFor(root, root, key.Public(), key)
		} else {
			cert, err = m.signAs(rootCert, rootKey, ca.template, key.Public())
		}
		if err != nil {
			return err
		}
		if err := m.writePEM(ca.cert, "CERTIFICATE", cert); err != nil {
			return err
		}
	}
	return nil
}

func (m *Manufacturer) writePEM(file, kind string, der []byte) error {
	return os.WriteFile(m.file(file), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}

// authority reads a CA of the manufacturer.
func (m *Manufacturer) authority(certFile, keyFile string) (*x509.Certificate, crypto.Signer, error) {
	var ders [2][]byte
	for i, name := range []string{certFile, keyFile} {
		text, err := os.ReadFile(m.file(name))
		if err != nil {
			return nil, nil, err
		}
		block, _ := pem.Decode(text)
		if block == nil {
			return nil, nil, fmt.Errorf("%s is not PEM", name)
		}
		ders[i] = block.Bytes
	}
	cert, err := x509.ParseCertificate(ders[0])
	if err != nil {
		return nil, nil, err
	}
	key, err := x509.ParsePKCS8PrivateKey(ders[1])
	if err != nil {
		return nil, nil, err
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, nil, errors.New("CA's key cannot sign")
	}
	return cert, signer, nil
}

func (m *Manufacturer) signAs(certFile, keyFile string, template *x509.Certificate, key crypto.PublicKey) ([]byte, error) {
	parent, signer, err := m.authority(certFile, keyFile)
	if err != nil {
		return nil, err
	}
	return signFor(template, parent, key, signer)
}

// signFor fills in what all certificates have: they begin an hour ago and never
// end (RFC 5280, 4.1.2.5), as swtpm's.
func signFor(template, parent *x509.Certificate, key crypto.PublicKey, signer crypto.Signer) ([]byte, error) {
	return signChanged(template, parent, key, signer, nil)
}

func signChanged(template, parent *x509.Certificate, key crypto.PublicKey, signer crypto.Signer, change func(*x509.Certificate)) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	template.SerialNumber = serial
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
	if change != nil {
		change(template)
	}
	return x509.CreateCertificate(rand.Reader, template, parent, key, signer)
}

// certifyEK makes the certificate of an EK (EK Credential Profile, section 3).
func (m *Manufacturer) certifyEK(public tpm2.TPM2BPublic) ([]byte, error) {
	pub, err := public.Contents()
	if err != nil {
		return nil, err
	}
	key, err := tpm2.Pub(*pub)
	if err != nil {
		return nil, err
	}
	name, err := tpmName()
	if err != nil {
		return nil, err
	}
	usage := x509.KeyUsageKeyAgreement
	if _, ok := key.(*rsa.PublicKey); ok {
		usage = x509.KeyUsageKeyEncipherment
	}
	return m.signAs(issuerCert, issuerKey, &x509.Certificate{
		BasicConstraintsValid: true, KeyUsage: usage,
		UnknownExtKeyUsage:    []asn1.ObjectIdentifier{{2, 23, 133, 8, 1}},
		CRLDistributionPoints: []string{m.crls + "/issuer.crl"},
		ExtraExtensions:       []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Critical: true, Value: name}},
	}, key)
}

// tpmName is a subjectAltName with the TPM's attributes (EK Credential Profile,
// 3.2.9), those of swtpm.
func tpmName() ([]byte, error) {
	var name pkix.RDNSequence
	for i, value := range []string{"id:00001014", "swtpm", "id:20191023"} {
		name = append(name, []pkix.AttributeTypeAndValue{{Type: asn1.ObjectIdentifier{2, 23, 133, 2, i + 1}, Value: value}})
	}
	der, err := asn1.Marshal(name)
	if err != nil {
		return nil, err
	}
	const directoryName = 4
	return asn1.Marshal([]asn1.RawValue{{Class: asn1.ClassContextSpecific, Tag: directoryName, IsCompound: true, Bytes: der}})
}

// CRL is what a list says. The zero value revokes nothing, from an hour ago until
// in a day.
type CRL struct {
	Revoked                []*x509.Certificate
	ThisUpdate, NextUpdate time.Time
}

// CRLs makes the list of the issuing CA, for EK certificates, and an empty one of
// the root, for the issuing CA's.
func (m *Manufacturer) CRLs(c CRL) (issuer, root []byte, err error) {
	if c.ThisUpdate.IsZero() {
		c.ThisUpdate, c.NextUpdate = time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
	}
	template := &x509.RevocationList{Number: big.NewInt(c.ThisUpdate.UnixNano()), ThisUpdate: c.ThisUpdate, NextUpdate: c.NextUpdate}
	if root, err = m.list(rootCert, rootKey, template); err != nil {
		return nil, nil, fmt.Errorf("make CRL: %w", err)
	}
	for _, cert := range c.Revoked {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: cert.SerialNumber, RevocationTime: c.ThisUpdate})
	}
	if issuer, err = m.list(issuerCert, issuerKey, template); err != nil {
		return nil, nil, fmt.Errorf("make CRL: %w", err)
	}
	return issuer, root, nil
}

func (m *Manufacturer) list(certFile, keyFile string, template *x509.RevocationList) ([]byte, error) {
	cert, signer, err := m.authority(certFile, keyFile)
	if err != nil {
		return nil, err
	}
	return x509.CreateRevocationList(rand.Reader, template, cert, signer)
}
