package ek_test

import (
	"bytes"
	"testing"

	"troth/attest/ek"
)

// K8: one EK is one identity, whatever stands around its certificate and however
// often it was certified, so a second device that shows it is noticed. Another
// template of the same TPM is another key and another identity.
func TestAttack_K8_OneEKOneDevice(t *testing.T) {
	key := newKey(t).Public()
	ids := make(map[string]bool)
	for range 2 {
		cert := newAuthority(t, nil, nil).sign(t, ekTemplate(), key)
		for _, padding := range [][]byte{nil, make([]byte, 100), bytes.Repeat([]byte{0xff}, 100)} {
			parsed, err := ek.ParseCertificate(append(bytes.Clone(cert.Raw), padding...))
			if err != nil {
				t.Fatal(err)
			}
			public, err := ek.PublicStored(parsed, stored(t, ek.L2, padding[:min(len(padding), 32)]), nil)
			if err != nil {
				t.Fatal(err)
			}
			ids[ek.DeviceID(public)] = true
		}
	}
	if len(ids) != 1 {
		t.Errorf("%d identities of one EK", len(ids))
	}
	if high := ek.DeviceID(public(t, key, ek.H2)); ids[high] {
		t.Error("two templates have one identity")
	}
}
