package tpm_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"troth/attest/tpm"
)

// K4: the keys have exactly the attributes that a verifier must require.
func TestAttack_K4_KeyAttributes(t *testing.T) {
	d := newDevice(t, bare)
	for name, k := range map[string]tpm.Key{"ak": d.ak(t), "tls": d.tlsKey(t)} {
		pub := decode(t, k.Public)
		want := tpm2.TPMAObject{
			FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true, UserWithAuth: true,
			NoDA: true, SignEncrypt: true, Restricted: name == "ak",
		}
		if pub.ObjectAttributes != want {
			t.Errorf("%s: attributes %+v", name, pub.ObjectAttributes)
		}
		params, err := pub.Parameters.ECCDetail()
		if err != nil || params.CurveID != tpm2.TPMECCNistP256 || params.Scheme.Scheme != tpm2.TPMAlgECDSA {
			t.Errorf("%s: parameters %+v, %v", name, params, err)
		}
		got, err := k.Name()
		if err != nil {
			t.Fatal(err)
		}
		want2, err := tpm2.ObjectName(pub)
		if err != nil || !bytes.Equal(got, want2.Buffer) {
			t.Errorf("%s: name %x, want %x, %v", name, got, want2.Buffer, err)
		}
	}
	if _, err := (tpm.Key{Public: []byte{1, 2}}).Name(); err == nil {
		t.Error("name of rubbish")
	}
	d.wantEmpty(t)
}

func TestKeysSurvivePowerCycle(t *testing.T) {
	d := newDevice(t, bare)
	stored, err := json.Marshal([]tpm.Key{d.ak(t), d.tlsKey(t)})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.swtpm.PowerCycle(context.Background()); err != nil {
		t.Fatal(err)
	}
	var keys []tpm.Key
	if err := json.Unmarshal(stored, &keys); err != nil {
		t.Fatal(err)
	}
	info, sig, err := d.Certify(keys[0], keys[1], []byte("after the reboot"))
	if err != nil {
		t.Fatal(err)
	}
	wantSigned(t, keys[0], info, sig)
}

func TestForeignKey(t *testing.T) {
	d, other := newDevice(t, bare), newDevice(t, bare)
	ak, tls := d.ak(t), d.tlsKey(t)
	pcrs := map[string][]int{"sha256": {0}}
	damaged := func(f func(*tpm.Key)) tpm.Key {
		k := tpm.Key{Public: bytes.Clone(ak.Public), Private: bytes.Clone(ak.Private)}
		f(&k)
		return k
	}
	if _, err := other.Quote(ak, []byte("n"), pcrs); !errors.Is(err, tpm.ErrForeignKey) {
		t.Errorf("quote by another TPM: %v", err)
	} else {
		t.Log(err)
	}
	if _, err := other.Signer(tls); !errors.Is(err, tpm.ErrForeignKey) {
		t.Errorf("signer of another TPM: %v", err)
	}
	for name, k := range map[string]tpm.Key{
		"private flipped":   damaged(func(k *tpm.Key) { k.Private[len(k.Private)/2] ^= 1 }),
		"private truncated": damaged(func(k *tpm.Key) { k.Private = k.Private[:len(k.Private)-3] }),
		"private missing":   damaged(func(k *tpm.Key) { k.Private = nil }),
		"public flipped":    damaged(func(k *tpm.Key) { k.Public[len(k.Public)-1] ^= 1 }),
		"unrestricted":      damaged(func(k *tpm.Key) { k.Public[5] &^= 1 }),
		"of another key":    {Public: tls.Public, Private: ak.Private},
	} {
		if _, err := d.Quote(k, []byte("n"), pcrs); !errors.Is(err, tpm.ErrForeignKey) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, k := range map[string]tpm.Key{"public missing": {Private: ak.Private}, "zero": {}} {
		if _, err := d.Quote(k, []byte("n"), pcrs); err == nil {
			t.Errorf("%s: quoted", name)
		}
	}
	d.wantEmpty(t)
	other.wantEmpty(t)
}

// A program that was killed leaves its objects in a TPM that has no resource
// manager; the next one still works.
func TestLeftoversAreFlushed(t *testing.T) {
	d := newDevice(t, bare)
	ak := d.ak(t)
	for {
		_, err := tpm2.CreatePrimary{
			PrimaryHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: tpm2.PasswordAuth(nil)},
			InPublic:      tpm2.New2B(tpm2.ECCSRKTemplate),
		}.Execute(d.raw)
		if errors.Is(err, tpm2.TPMRCObjectMemory) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := d.Quote(ak, []byte("n"), map[string][]int{"sha256": {0}}); err != nil {
		t.Error(err)
	}
	d.wantEmpty(t)
}

// K6: the certification names the very key, its qualifying data is the
// verifier's, and the AK signed it.
func TestAttack_K6_Certify(t *testing.T) {
	d := newDevice(t, bare)
	ak, tls := d.ak(t), d.tlsKey(t)
	info, sig, err := d.Certify(ak, tls, []byte("from the verifier"))
	if err != nil {
		t.Fatal(err)
	}
	wantSigned(t, ak, info, sig)
	attest, err := tpm2.Unmarshal[tpm2.TPMSAttest](info)
	if err != nil {
		t.Fatal(err)
	}
	certified, err := attest.Attested.Certify()
	if err != nil {
		t.Fatal(err)
	}
	name, err := tls.Name()
	if err != nil {
		t.Fatal(err)
	}
	if attest.Magic != tpm2.TPMGeneratedValue || string(attest.ExtraData.Buffer) != "from the verifier" || !bytes.Equal(certified.Name.Buffer, name) {
		t.Errorf("attest %+v certifies %x, want %x", attest, certified.Name.Buffer, name)
	}
	if _, _, err := d.Certify(ak, tls, nil); err == nil {
		t.Error("certified without qualifying data")
	}
	if _, _, err := d.Certify(tls, ak, make([]byte, 500)); err == nil {
		t.Error("certified with too much qualifying data")
	}
	d.wantEmpty(t)
}
