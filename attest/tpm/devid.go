package tpm

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"
)

// DevIDKind tells the keys apart that a device's manufacturer makes in its TPM
// (TCG "TPM 2.0 Keys for Device Identity and Attestation", section 5).
type DevIDKind string

// The kinds.
const (
	IDevID DevIDKind = "idevid" // signs anything
	IAK    DevIDKind = "iak"    // an attestation key: signs only what the TPM made
)

// DevIDSource says where a manufacturer's key and its certificates are.
type DevIDSource struct {
	// Chain holds certificates, DER, one after the other; nil: they are in the NV
	// indices that the TCG reserves, 0x01c90000 to 0x01c900ff for an IDevID and
	// 0x01c90100 to 0x01c901ff for an IAK (7.3.2).
	Chain []byte
	// Handle is where the key is persistent; 0: at the TCG's, 0x81020000 for an
	// IDevID and 0x81020001 for an IAK.
	Handle uint32
}

// DevID is a key that the manufacturer certified.
type DevID struct {
	Kind   DevIDKind
	Public []byte // TPMT_PUBLIC
	Chain  []byte // certificates, as they were found

	handle tpm2.TPMHandle  // where it is persistent; 0: it is made again from input
	input  tpm2.TPMTPublic // a TCG template
}

// ErrNoDevIDKey says that there are certificates, but no key of the TPM that one
// of them is for, or none that can be certified without the manufacturer's policy.
var ErrNoDevIDKey = errors.New("no key of the TPM fits the manufacturer's certificates")

// DevID finds the key that the manufacturer certified, nil if there is no
// certificate. A key that is persistent and has no policy for its administration
// is used where it is. Any other is made again from the TCG's templates (7.3.4),
// for ECC P-256, ECC P-384 and RSA-2048: a template gives the same key as long as
// the TPM has its endorsement seed. The error is ErrNoDevIDKey if none fits.
func (t *TPM) DevID(kind DevIDKind, from DevIDSource) (found *DevID, err error) {
	err = t.sequence(func() error {
		found, err = t.findDevID(kind, from)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("find %s: %w", kind, err)
	}
	return found, nil
}

func (t *TPM) findDevID(kind DevIDKind, from DevIDSource) (*DevID, error) {
	first, handle := tpm2.TPMHandle(0x01c90000), tpm2.TPMHandle(0x81020000)
	if kind == IAK {
		first, handle = 0x01c90100, 0x81020001
	}
	if from.Handle != 0 {
		handle = tpm2.TPMHandle(from.Handle)
	}
	chain := from.Chain
	if chain == nil {
		var err error
		if chain, err = t.readRange(first, first+0xff); err != nil {
			return nil, err
		}
	}
	if len(chain) == 0 {
		return nil, nil
	}
	keys := certifiedKeys(chain)
	d := &DevID{Kind: kind, Chain: chain}
	if public := t.simplyPersistent(handle); public != nil && holds(keys, public) {
		d.Public, d.handle = public, handle
		return d, nil
	}
	for _, template := range devIDTemplates(kind) {
		if !template.mayBe(keys) {
			continue
		}
		o, err := t.createPrimary(template.public)
		if err != nil {
			return nil, fmt.Errorf("create key from template: %w", err)
		}
		t.flush(o)
		if holds(keys, o.public) {
			d.Public, d.input = o.public, template.public
			return d, nil
		}
	}
	return nil, ErrNoDevIDKey
}

// simplyPersistent is the public area of a persistent key that the empty password
// administers, nil if there is none.
func (t *TPM) simplyPersistent(handle tpm2.TPMHandle) []byte {
	rsp, err := tpm2.ReadPublic{ObjectHandle: handle}.Execute(t.transport)
	if err != nil {
		return nil
	}
	pub, err := rsp.OutPublic.Contents()
	if err != nil || pub.ObjectAttributes.AdminWithPolicy {
		return nil
	}
	return rsp.OutPublic.Bytes()
}

// CertifyDevID has ak attest that the manufacturer's key is in this TPM: with
// TPM2_Certify where the key is persistent, and otherwise with
// TPM2_CertifyCreation, which needs no authorization of the key. It returns the
// TPMS_ATTEST and the TPMT_SIGNATURE over it. qualifyingData is the verifier's, 1
// to 64 bytes.
func (t *TPM) CertifyDevID(ak Key, d *DevID, qualifyingData []byte) (certifyInfo, signature []byte, err error) {
	if len(qualifyingData) == 0 {
		return nil, nil, errors.New("certify manufacturer's key: no qualifying data")
	}
	err = t.withKeys(func(loaded []object) error {
		if d.handle != 0 {
			certifyInfo, signature, err = t.certifyPersistent(loaded[0], d.handle, qualifyingData)
		} else {
			certifyInfo, signature, err = t.certifyCreation(loaded[0], d.input, qualifyingData)
		}
		return err
	}, ak)
	if err != nil {
		return nil, nil, fmt.Errorf("certify manufacturer's key: %w", err)
	}
	return certifyInfo, signature, nil
}

func (t *TPM) certifyPersistent(ak object, handle tpm2.TPMHandle, qualifyingData []byte) (certifyInfo, signature []byte, err error) {
	public, err := tpm2.ReadPublic{ObjectHandle: handle}.Execute(t.transport)
	if err != nil {
		return nil, nil, err
	}
	rsp, err := tpm2.Certify{
		ObjectHandle:   object{handle: handle, name: public.Name}.auth(),
		SignHandle:     ak.auth(),
		QualifyingData: tpm2.TPM2BData{Buffer: qualifyingData},
		InScheme:       tpm2.TPMTSigScheme{Scheme: tpm2.TPMAlgNull},
	}.Execute(t.transport)
	if err != nil {
		return nil, nil, err
	}
	return rsp.CertifyInfo.Bytes(), tpm2.Marshal(rsp.Signature), nil
}

func (t *TPM) certifyCreation(ak object, input tpm2.TPMTPublic, qualifyingData []byte) (certifyInfo, signature []byte, err error) {
	created, err := tpm2.CreatePrimary{
		PrimaryHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHEndorsement, Auth: tpm2.PasswordAuth(nil)},
		InPublic:      tpm2.New2B(input),
	}.Execute(t.transport)
	if err != nil {
		return nil, nil, err
	}
	defer t.flush(object{handle: created.ObjectHandle})
	rsp, err := tpm2.CertifyCreation{
		SignHandle:     ak.auth(),
		ObjectHandle:   tpm2.NamedHandle{Handle: created.ObjectHandle, Name: created.Name},
		QualifyingData: tpm2.TPM2BData{Buffer: qualifyingData},
		CreationHash:   created.CreationHash,
		InScheme:       tpm2.TPMTSigScheme{Scheme: tpm2.TPMAlgNull},
		CreationTicket: created.CreationTicket,
	}.Execute(t.transport)
	if err != nil {
		return nil, nil, err
	}
	return rsp.CertifyInfo.Bytes(), tpm2.Marshal(rsp.Signature), nil
}

// certifiedKeys are the keys in the certificates of a chain but the CAs', in PKIX
// form. What cannot be read has none.
func certifiedKeys(chain []byte) []crypto.PublicKey {
	var keys []crypto.PublicKey
	for rest := bytes.TrimLeft(chain, "\x00\xff"); len(rest) > 0; rest = bytes.TrimLeft(rest, "\x00\xff") {
		var outer asn1.RawValue
		after, err := asn1.Unmarshal(rest, &outer)
		if err != nil {
			break
		}
		rest = after
		if cert, err := x509.ParseCertificate(outer.FullBytes); err == nil && !cert.IsCA && cert.PublicKey != nil {
			keys = append(keys, cert.PublicKey)
		}
	}
	return keys
}

// holds reports whether a public area is of one of the keys.
func holds(keys []crypto.PublicKey, tpmtPublic []byte) bool {
	pub, err := tpm2.Unmarshal[tpm2.TPMTPublic](tpmtPublic)
	if err != nil {
		return false
	}
	key, err := tpm2.Pub(*pub)
	if err != nil {
		return false
	}
	comparable, ok := key.(interface{ Equal(crypto.PublicKey) bool })
	if !ok {
		return false
	}
	for _, k := range keys {
		if comparable.Equal(k) {
			return true
		}
	}
	return false
}
