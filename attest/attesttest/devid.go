package attesttest

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"os"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"troth/attest/tpm"
)

// FactoryDevID is an IDevID or IAK that a device leaves the factory with (TCG
// "TPM 2.0 Keys for Device Identity and Attestation", 7.3): a primary key of the
// endorsement hierarchy, persistent, with its certificate and the issuing CA's in
// NV memory.
type FactoryDevID struct {
	Kind      tpm.DevIDKind
	Algorithm tpm.AKKind // empty: ECCP256
	Serial    string     // of the device
	Model     string
	// Simple makes the key without the policy of the TCG's template, so that its
	// empty password administers it too.
	Simple bool
	// Change, if there is one, changes the certificate before it is signed.
	Change func(*x509.Certificate)
}

// Places that the TCG reserves (7.3.2).
const (
	idevidHandle, idevidIndex = tpm2.TPMHandle(0x81020000), tpm2.TPMHandle(0x01c90000)
	iakHandle, iakIndex       = tpm2.TPMHandle(0x81020001), tpm2.TPMHandle(0x01c90100)
)

// InstallDevID gives a running TPM an identity of this manufacturer, which must be
// one of NewRevokingManufacturer. It returns the key's TPMT_PUBLIC and the chain as
// NV memory then has it.
func (m *Manufacturer) InstallDevID(t transport.TPM, d FactoryDevID) (public, chain []byte, err error) {
	public, chain, err = m.installDevID(t, d)
	if err != nil {
		return nil, nil, fmt.Errorf("install %s: %w", d.Kind, err)
	}
	return public, chain, nil
}

func (m *Manufacturer) installDevID(t transport.TPM, d FactoryDevID) (public, chain []byte, err error) {
	if d.Algorithm == "" {
		d.Algorithm = tpm.ECCP256
	}
	template, err := tpm.DevIDTemplate(d.Kind, d.Algorithm)
	if err != nil {
		return nil, nil, err
	}
	if d.Simple {
		template.AuthPolicy, template.ObjectAttributes.AdminWithPolicy = tpm2.TPM2BDigest{}, false
	}
	created, err := tpm2.CreatePrimary{
		PrimaryHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHEndorsement, Auth: tpm2.PasswordAuth(nil)},
		InPublic:      tpm2.New2B(template),
	}.Execute(t)
	if err != nil {
		return nil, nil, err
	}
	handle, index := idevidHandle, idevidIndex
	if d.Kind == tpm.IAK {
		handle, index = iakHandle, iakIndex
	}
	// The handles of the range belong to the owner (TPM 2.0 Library part 3, 28.5).
	_, err = tpm2.EvictControl{
		Auth:             tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: tpm2.PasswordAuth(nil)},
		ObjectHandle:     &tpm2.NamedHandle{Handle: created.ObjectHandle, Name: created.Name},
		PersistentHandle: handle,
	}.Execute(t)
	_, flushErr := tpm2.FlushContext{FlushHandle: created.ObjectHandle}.Execute(t)
	if err := errors.Join(err, flushErr); err != nil {
		return nil, nil, err
	}
	public = created.OutPublic.Bytes()
	leaf, err := m.CertifyDevID(public, d)
	if err != nil {
		return nil, nil, err
	}
	issuer, err := os.ReadFile(m.file(issuerCert))
	if err != nil {
		return nil, nil, err
	}
	block, _ := pem.Decode(issuer)
	if block == nil {
		return nil, nil, errors.New("issuer's certificate is not PEM")
	}
	chain = append(bytes.Clone(leaf), block.Bytes...)
	return public, chain, writePlatformNV(t, index, chain)
}

// CertifyDevID makes the certificate for a manufacturer's key (section 8 of the
// TCG's specification): the serial number in the subject, the hardware's in a
// hardwareModuleName (RFC 4108), and the policies that say where the key is.
func (m *Manufacturer) CertifyDevID(tpmtPublic []byte, d FactoryDevID) ([]byte, error) {
	pub, err := tpm2.Unmarshal[tpm2.TPMTPublic](tpmtPublic)
	if err != nil {
		return nil, err
	}
	key, err := tpm2.Pub(*pub)
	if err != nil {
		return nil, err
	}
	name, err := hardwareModuleName(d.Serial)
	if err != nil {
		return nil, err
	}
	policies := []asn1.ObjectIdentifier{{2, 23, 133, 11, 1, 1}, {2, 23, 133, 11, 1, 2}}
	cert := &x509.Certificate{
		Subject:               pkix.Name{CommonName: d.Model, SerialNumber: d.Serial},
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature,
		CRLDistributionPoints: []string{m.crls + "/issuer.crl"},
		ExtraExtensions:       []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Critical: true, Value: name}},
	}
	if d.Kind == tpm.IAK {
		policies[1] = asn1.ObjectIdentifier{2, 23, 133, 11, 1, 3}
		cert.UnknownExtKeyUsage = []asn1.ObjectIdentifier{{2, 23, 133, 8, 3}}
	}
	if cert.Policies, err = policyOIDs(policies); err != nil {
		return nil, err
	}
	parent, signer, err := m.authority(issuerCert, issuerKey)
	if err != nil {
		return nil, err
	}
	return signChanged(cert, parent, key, signer, d.Change)
}

func policyOIDs(all []asn1.ObjectIdentifier) ([]x509.OID, error) {
	out := make([]x509.OID, 0, len(all))
	for _, oid := range all {
		o, err := x509.ParseOID(oid.String())
		if err != nil {
			return nil, err
		}
		out = append(out, o)
	}
	return out, nil
}

// hardwareModuleName is a subjectAltName with one otherName (RFC 4108, 5), whose
// hardware type is that of a TPM 2.0.
func hardwareModuleName(serial string) ([]byte, error) {
	module, err := asn1.Marshal(struct {
		Type   asn1.ObjectIdentifier
		Serial []byte
	}{asn1.ObjectIdentifier{2, 23, 133, 1, 2}, []byte(serial)})
	if err != nil {
		return nil, err
	}
	id, err := asn1.Marshal(asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 8, 4})
	if err != nil {
		return nil, err
	}
	value, err := asn1.Marshal(asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: module})
	if err != nil {
		return nil, err
	}
	return asn1.Marshal([]asn1.RawValue{{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: append(id, value...)}})
}
