package tpm_test

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	gorsa "crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"

	"troth/attest/tpm"
)

func TestEK(t *testing.T) {
	for _, k := range []kind{rsa, ecc, bare} {
		t.Run(string(k), func(t *testing.T) {
			d := newDevice(t, k)
			begin := time.Now()
			ek, err := d.EK()
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("first EK took %v", time.Since(begin))
			d.wantEmpty(t)
			pub := decode(t, ek.Public)
			template := tpm2.RSAEKTemplate
			if k == ecc {
				template = tpm2.ECCEKTemplate
			}
			template.Unique = pub.Unique
			if !bytes.Equal(ek.Public, tpm2.Marshal(template)) {
				t.Errorf("EK differs from its template: %x", ek.Public)
			}
			if (ek.Certificate == nil) != (k == bare) {
				t.Fatalf("certificate of %d bytes", len(ek.Certificate))
			}
			if ek.Certificate != nil {
				wantCertified(t, pub, ek.Certificate)
			}
			again, err := d.EK()
			if err != nil || !bytes.Equal(again.Public, ek.Public) {
				t.Errorf("second EK differs: %v", err)
			}
		})
	}
}

func wantCertified(t *testing.T, pub *tpm2.TPMTPublic, der []byte) {
	t.Helper()
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	switch key := cert.PublicKey.(type) {
	case *gorsa.PublicKey:
		n, err := pub.Unique.RSA()
		if err != nil || !bytes.Equal(n.Buffer, key.N.Bytes()) {
			t.Errorf("certificate is for another key: %v", err)
		}
	case *ecdsa.PublicKey:
		if key.Curve != elliptic.P256() || !key.Equal(eccPublic(t, tpm2.Marshal(pub))) {
			t.Error("certificate is for another key")
		}
	default:
		t.Errorf("certificate is for a %T", key)
	}
}

// challenge makes a credential with go-tpm's own implementation.
func challenge(t *testing.T, ekPublic, akName, secret []byte) (blob, encrypted []byte) {
	t.Helper()
	key, err := tpm2.ImportEncapsulationKey(decode(t, ekPublic))
	if err != nil {
		t.Fatal(err)
	}
	blob, encrypted, err = tpm2.CreateCredential(rand.Reader, key, akName, secret)
	if err != nil {
		t.Fatal(err)
	}
	return blob, encrypted
}

func TestActivateCredential(t *testing.T) {
	for _, k := range []kind{rsa, ecc, bare} {
		t.Run(string(k), func(t *testing.T) {
			d := newDevice(t, k)
			ek, err := d.EK()
			if err != nil {
				t.Fatal(err)
			}
			ak := d.ak(t)
			name, err := ak.Name()
			if err != nil {
				t.Fatal(err)
			}
			secret := sha256.Sum256([]byte("secret"))
			blob, encrypted := challenge(t, ek.Public, name, secret[:])
			begin := time.Now()
			got, err := d.ActivateCredential(ak, blob, encrypted)
			t.Logf("activation took %v", time.Since(begin))
			if err != nil || !bytes.Equal(got, secret[:]) {
				t.Errorf("got %x, %v", got, err)
			}
			d.wantEmpty(t)

			if got, err := d.ActivateCredential(d.ak(t), blob, encrypted); err == nil {
				t.Errorf("another AK opened the challenge: %x", got)
			}
			damaged := bytes.Clone(blob)
			damaged[len(damaged)-1] ^= 1
			if got, err := d.ActivateCredential(ak, damaged, encrypted); err == nil {
				t.Errorf("damaged challenge opened: %x", got)
			}
			for _, bytes := range [][]byte{nil, {0}, make([]byte, 10), make([]byte, 3000)} {
				if _, err := d.ActivateCredential(ak, bytes, bytes); err == nil {
					t.Errorf("challenge of %d zeros opened", len(bytes))
				}
			}
			d.wantEmpty(t)
		})
	}
}

// K1: an AK of one TPM does not open a challenge for the EK of another, nor
// for an EK that is a key in software.
func TestAttack_K1_ActivationByAnotherTPM(t *testing.T) {
	mine, other := newDevice(t, ecc), newDevice(t, ecc)
	ak := mine.ak(t)
	name, err := ak.Name()
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := other.EK()
	if err != nil {
		t.Fatal(err)
	}
	blob, encrypted := challenge(t, theirs.Public, name, []byte("secret"))
	if _, err := mine.ActivateCredential(ak, blob, encrypted); err == nil {
		t.Error("challenge for another EK opened")
	}
	if _, err := other.ActivateCredential(ak, blob, encrypted); err == nil {
		t.Error("other TPM loaded the AK")
	}
	soft, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	pub := tpm2.ECCEKTemplate
	raw := soft.PublicKey().Bytes()
	pub.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{
		X: tpm2.TPM2BECCParameter{Buffer: raw[1:33]}, Y: tpm2.TPM2BECCParameter{Buffer: raw[33:]},
	})
	blob, encrypted = challenge(t, tpm2.Marshal(pub), name, []byte("secret"))
	if _, err := mine.ActivateCredential(ak, blob, encrypted); err == nil {
		t.Error("challenge for a key in software opened")
	}
}

func TestOpenRefuses(t *testing.T) {
	for _, spec := range []string{"", "tpm0", "unix:", "unix:/nonexistent", "/nonexistent", "tcp:localhost:1"} {
		if c, err := tpm.Open(spec); err == nil {
			c.Close()
			t.Errorf("%q opened", spec)
		} else {
			t.Log(err)
		}
	}
}
