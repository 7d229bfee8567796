package tpm

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"
)

// EK is the endorsement key that identifies a TPM.
type EK struct {
	// Public is the TPMT_PUBLIC: the TCG template L-1 (RSA-2048) or L-2 (ECC
	// P-256) with this TPM's key.
	Public []byte
	// Certificate is what the TPM's NV memory holds as the manufacturer's
	// certificate (DER, as written: some manufacturers pad it), nil if none.
	Certificate []byte
}

// endorsementKey is an EK and how to load it again.
type endorsementKey struct {
	EK
	template   tpm2.TPMTPublic
	persistent tpm2.TPMHandle
}

// EK returns the endorsement key: of the RSA-2048 and the ECC P-256 one the
// first that has a certificate, and if none has, the first that the TPM can
// make. The answer is remembered.
func (t *TPM) EK() (EK, error) {
	var e *endorsementKey
	err := t.sequence(func() (err error) {
		e, err = t.findEK()
		return err
	})
	if err != nil {
		return EK{}, fmt.Errorf("find EK: %w", err)
	}
	return EK{Public: bytes.Clone(e.Public), Certificate: bytes.Clone(e.Certificate)}, nil
}

func (t *TPM) findEK() (*endorsementKey, error) {
	if t.ek != nil {
		return t.ek, nil
	}
	keys := []struct {
		nv tpm2.TPMHandle
		endorsementKey
	}{
		{nvRSACertificate, endorsementKey{template: tpm2.RSAEKTemplate, persistent: persistentRSA}},
		{nvECCCertificate, endorsementKey{template: tpm2.ECCEKTemplate, persistent: persistentECC}},
	}
	for i := range keys {
		var err error
		if keys[i].Certificate, err = t.readNV(keys[i].nv); err != nil {
			return nil, err
		}
	}
	if keys[0].Certificate == nil && keys[1].Certificate != nil {
		keys[0], keys[1] = keys[1], keys[0]
	}
	var errs []error
	for i := range keys {
		o, err := t.loadEK(&keys[i].endorsementKey)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		t.flush(o)
		keys[i].Public = o.public
		t.ek = &keys[i].endorsementKey
		return t.ek, nil
	}
	return nil, errors.Join(errs...)
}

// loadEK returns the key from where the platform keeps it, if what is there
// is of the right template, and makes it anew otherwise.
func (t *TPM) loadEK(e *endorsementKey) (object, error) {
	if rsp, err := (tpm2.ReadPublic{ObjectHandle: e.persistent}).Execute(t.transport); err == nil {
		if pub, err := rsp.OutPublic.Contents(); err == nil && sameTemplate(*pub, e.template) {
			return object{handle: e.persistent, name: rsp.Name, public: rsp.OutPublic.Bytes(), persistent: true}, nil
		}
	}
	o, err := t.createPrimary(e.template)
	if err != nil {
		return object{}, fmt.Errorf("create EK: %w", err)
	}
	return o, nil
}

// sameTemplate reports whether pub differs from the template in its key only.
func sameTemplate(pub, template tpm2.TPMTPublic) bool {
	pub.Unique = template.Unique
	return bytes.Equal(tpm2.Marshal(pub), tpm2.Marshal(template))
}
