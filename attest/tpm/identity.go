package tpm

import (
	"bytes"
	"errors"
	"fmt"

	"troth/attest/ek/template"
)

// CheckIdentity tells whether this is still the TPM that has the EK (a
// TPMT_PUBLIC, as EK returned it) and whose keys these are. The error is
// ErrReplaced if the EK is another one, ErrCleared if it is the same but a key
// cannot be loaded, and otherwise what kept the TPM from answering. Nothing that
// EK remembers is used: the TPM is asked. If the EK is this one, EK returns it from
// then on, whatever other EKs have got a certificate since.
func (t *TPM) CheckIdentity(ekPublic []byte, keys ...Key) error {
	kind, err := templateOf(ekPublic)
	if err != nil {
		return fmt.Errorf("check identity: %w", err)
	}
	err = t.sequence(func() error {
		t.ek = nil
		e, err := t.makeEK(kind)
		if err != nil {
			return err
		}
		if !bytes.Equal(e.Public, ekPublic) {
			return ErrReplaced
		}
		t.ek = e
		return nil
	})
	if err != nil {
		return fmt.Errorf("check identity: %w", err)
	}
	for _, key := range keys {
		err := t.withKeys(func([]object) error { return nil }, key)
		if errors.Is(err, ErrForeignKey) {
			return fmt.Errorf("check identity: %w: %w", ErrCleared, err)
		}
		if err != nil {
			return fmt.Errorf("check identity: %w", err)
		}
	}
	return nil
}

func templateOf(ekPublic []byte) (template.Template, error) {
	for _, kind := range template.All() {
		prefix, err := kind.Prefix()
		if err != nil {
			return template.Template{}, err
		}
		if bytes.HasPrefix(ekPublic, prefix) {
			return kind, nil
		}
	}
	return template.Template{}, errors.New("EK is of no known template")
}
