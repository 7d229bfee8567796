package tpm_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"troth/attest/tpm"
)

// K4: no attribute, scheme or policy of a key can be changed once it is made: the
// TPM does not load it.
func TestAttack_K4_AlteredPublicArea(t *testing.T) {
	d := newDevice(t, ecc)
	ak := d.ak(t)
	quote := func(k tpm.Key) error {
		_, err := d.Quote(k, []byte("nonce"), map[string][]int{"sha256": {0}})
		return err
	}
	if err := quote(ak); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*tpm2.TPMTPublic){
		"not restricted":  func(p *tpm2.TPMTPublic) { p.ObjectAttributes.Restricted = false },
		"not fixed":       func(p *tpm2.TPMTPublic) { p.ObjectAttributes.FixedTPM, p.ObjectAttributes.FixedParent = false, false },
		"made outside":    func(p *tpm2.TPMTPublic) { p.ObjectAttributes.SensitiveDataOrigin = false },
		"also decrypting": func(p *tpm2.TPMTPublic) { p.ObjectAttributes.Decrypt = true },
		"with a policy":   func(p *tpm2.TPMTPublic) { p.AuthPolicy.Buffer = make([]byte, 32) },
		"another point": func(p *tpm2.TPMTPublic) {
			p.Unique = decode(t, d.ak(t).Public).Unique
		},
	} {
		pub := decode(t, ak.Public)
		change(pub)
		if err := quote(tpm.Key{Public: tpm2.Marshal(pub), Private: ak.Private}); err == nil {
			t.Errorf("%s: quoted", name)
		} else {
			t.Logf("%s: %v", name, err)
		}
	}
	if err := quote(tpm.Key{Public: ak.Public, Private: d.ak(t).Private}); !errors.Is(err, tpm.ErrForeignKey) {
		t.Errorf("private part of another key: %v", err)
	}
	d.wantEmpty(t)
}

// K1: a challenge for an AK's name does not open for a key that differs from it
// in its kind only, and one for one EK of a TPM does not open under another.
func TestAttack_K1_ChallengeForAnotherKey(t *testing.T) {
	d := newDevice(t, rsa) // with L-1 and H-3
	all, err := d.EKs()
	if err != nil || len(all) != 2 {
		t.Fatalf("%d EKs, %v", len(all), err)
	}
	ak := d.ak(t)
	other, err := tpm.New(d.raw, tpm.WithAK(tpm.ECCP384)).CreateAK()
	if err != nil {
		t.Fatal(err)
	}
	name, err := ak.Name()
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range all {
		blob, encrypted := challenge(t, e.Public, name, bytes.Repeat([]byte{1}, 32))
		for j, used := range all {
			of := tpm.New(d.raw, tpm.WithEK(used.Template))
			if _, err := of.ActivateCredential(ak, blob, encrypted); (err == nil) != (i == j) {
				t.Errorf("challenge for %s under %s: %v", e.Template, used.Template, err)
			}
			if _, err := of.ActivateCredential(other, blob, encrypted); err == nil {
				t.Errorf("challenge for %s opened for another AK", e.Template)
			}
		}
	}
	d.wantEmpty(t)
}
