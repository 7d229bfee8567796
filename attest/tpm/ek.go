package tpm

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/google/go-tpm/tpm2"

	"troth/attest/ek/template"
)

// EK is the endorsement key that identifies a TPM.
type EK struct {
	// Public is the TPMT_PUBLIC: a TCG template with this TPM's key.
	Public []byte
	// Template is that template.
	Template template.ID
	// Certificate is what the TPM's NV memory holds as the manufacturer's
	// certificate (DER, as written: some manufacturers pad it), nil if none.
	Certificate []byte
	// Chain is what the NV indices 0x01c00100 to 0x01c001ff hold, one after the
	// other in their order: the certificates above the EK's, nil if none. A
	// certificate may reach from one index into the next.
	Chain []byte
	// StoredTemplate (TPMT_PUBLIC) and Nonce are what NV memory holds to vary the
	// template with, nil if nothing.
	StoredTemplate, Nonce []byte
}

func (e EK) clone() EK {
	e.Public, e.Certificate, e.Chain = bytes.Clone(e.Public), bytes.Clone(e.Certificate), bytes.Clone(e.Chain)
	e.StoredTemplate, e.Nonce = bytes.Clone(e.StoredTemplate), bytes.Clone(e.Nonce)
	return e
}

// endorsementKey is an EK and how to load it again.
type endorsementKey struct {
	EK
	kind  template.Template
	input tpm2.TPMTPublic // what the TPM makes it from
}

// EK returns the endorsement key: of L-1, L-2, H-3, H-6, H-1, H-2 the first that
// has a certificate, and if none has, the first that the TPM can make; or the one
// of WithEK. The answer is remembered.
func (t *TPM) EK() (EK, error) {
	var e *endorsementKey
	err := t.sequence(func() (err error) {
		e, err = t.findEK()
		return err
	})
	if err != nil {
		return EK{}, fmt.Errorf("find EK: %w", err)
	}
	return e.clone(), nil
}

// EKs returns all endorsement keys that have a certificate, in the order of EK.
func (t *TPM) EKs() ([]EK, error) {
	var all []EK
	err := t.sequence(func() error {
		all = nil
		certified, _, err := t.byCertificate()
		if err != nil {
			return err
		}
		for _, kind := range certified {
			e, err := t.makeEK(kind)
			if err != nil {
				return err
			}
			all = append(all, e.clone())
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("find EKs: %w", err)
	}
	return all, nil
}

func (t *TPM) findEK() (*endorsementKey, error) {
	if t.ek != nil {
		return t.ek, nil
	}
	kinds, err := t.candidates()
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, kind := range kinds {
		e, err := t.makeEK(kind)
		if err == nil {
			t.ek = e
			return e, nil
		}
		errs = append(errs, err)
		// What passes is no reason to become another device.
		if passing(err) {
			break
		}
	}
	return nil, errors.Join(errs...)
}

// passing reports whether an error says something of the TPM's state now, and
// nothing of which EKs it can make.
func passing(err error) bool {
	err = explain(err)
	return errors.Is(err, ErrBusy) || errors.Is(err, ErrLockout) || errors.Is(err, ErrUnavailable)
}

// candidates are the templates to try, those with a certificate first.
func (t *TPM) candidates() ([]template.Template, error) {
	if t.onlyEK != "" {
		kind, ok := template.Find(t.onlyEK)
		if !ok {
			return nil, fmt.Errorf("unknown EK template %q", string(t.onlyEK))
		}
		return []template.Template{kind}, nil
	}
	with, without, err := t.byCertificate()
	return slices.Concat(with, without), err
}

// byCertificate tells the templates with a certificate from those without. In the
// high range, where an index may be the owner's own, one that cannot be read is
// none; in the low range that is an error, because a device that passed over its
// certificate would be refused for having none.
func (t *TPM) byCertificate() (with, without []template.Template, err error) {
	for _, kind := range template.All() {
		certificate, err := t.readNV(kind.Certificate)
		if err != nil && !(kind.High && denied(err)) {
			return nil, nil, err
		}
		if certificate != nil {
			with = append(with, kind)
		} else {
			without = append(without, kind)
		}
	}
	return with, without, nil
}

// makeEK reads all that belongs to an EK and has the TPM make it once.
func (t *TPM) makeEK(kind template.Template) (*endorsementKey, error) {
	e, err := t.readEK(kind)
	if err != nil {
		return nil, err
	}
	if e.Certificate != nil {
		if e.Chain, err = t.readChain(); err != nil {
			return nil, err
		}
	}
	o, err := t.loadEK(e)
	if err != nil {
		return nil, err
	}
	t.flush(o)
	e.Public = o.public
	return e, nil
}

// readEK reads from NV memory what an EK is made from, and its certificate. A
// stored template counts as a whole, with the unique field that it has, and a
// nonce beside it goes into that field (EK Credential Profile, 2.2.1.4).
func (t *TPM) readEK(kind template.Template) (*endorsementKey, error) {
	e := &endorsementKey{EK: EK{Template: kind.ID}, kind: kind}
	var err error
	if e.Certificate, err = t.readNV(kind.Certificate); err != nil {
		return nil, err
	}
	if e.StoredTemplate, err = t.readNV(kind.Stored); err != nil {
		return nil, err
	}
	if kind.Nonce != 0 {
		if e.Nonce, err = t.readNV(kind.Nonce); err != nil {
			return nil, err
		}
	}
	if e.StoredTemplate != nil {
		if e.input, err = kind.FromStored(e.StoredTemplate); err != nil {
			return nil, err
		}
	}
	if e.StoredTemplate == nil || e.Nonce != nil {
		if e.input, err = kind.Public(e.Nonce); err != nil {
			return nil, err
		}
	}
	return e, nil
}

// loadEK returns the key from where the platform keeps it, if what is there
// is of the right template, and makes it anew otherwise. Where the template was
// varied, its public area does not show how, and the key is always made.
func (t *TPM) loadEK(e *endorsementKey) (object, error) {
	if e.StoredTemplate == nil && e.Nonce == nil {
		handle := persistent(e.kind)
		if rsp, err := (tpm2.ReadPublic{ObjectHandle: handle}).Execute(t.transport); err == nil {
			if pub, err := rsp.OutPublic.Contents(); err == nil && sameTemplate(*pub, e.input) {
				return object{handle: handle, name: rsp.Name, public: rsp.OutPublic.Bytes(), persistent: true}, nil
			}
		}
	}
	o, err := t.createPrimary(e.input)
	if err != nil {
		return object{}, fmt.Errorf("create EK %s: %w", e.kind.ID, err)
	}
	return o, nil
}

// sameTemplate reports whether pub differs from the template in its key only.
func sameTemplate(pub, template tpm2.TPMTPublic) bool {
	pub.Unique = template.Unique
	return bytes.Equal(tpm2.Marshal(pub), tpm2.Marshal(template))
}
