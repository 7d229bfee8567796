package ek_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"math/big"
	"testing"

	"troth/attest/ek"
)

func public(t testing.TB, key any, template ek.Template) []byte {
	t.Helper()
	p, err := ek.PublicTemplate(&x509.Certificate{PublicKey: key}, template)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func rsaKey(t testing.TB, bits int) *rsa.PublicKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return &key.PublicKey
}

func eccKey(t testing.TB, curve elliptic.Curve) *ecdsa.PublicKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &key.PublicKey
}

// K5: no bit of a template may differ: another attribute would make a key that
// software could hold, another policy one that anybody could use.
func TestAttack_K5_EveryBitOfTheTemplate(t *testing.T) {
	for template, key := range map[ek.Template]any{
		ek.L1: rsaKey(t, 2048), ek.H1: rsaKey(t, 2048), ek.L2: eccKey(t, elliptic.P256()), ek.H2: eccKey(t, elliptic.P256()),
		ek.H3: eccKey(t, elliptic.P384()), ek.H6: rsaKey(t, 3072),
	} {
		good := public(t, key, template)
		wantCode(t, string(template), ek.CheckPublic(good), "")
		unique := map[ek.Template]int{ek.L1: 256, ek.H1: 256, ek.L2: 2 + 64, ek.H2: 2 + 64, ek.H3: 2 + 96, ek.H6: 384}[template]
		if got, err := ek.TemplateOf(good); err != nil || got != template {
			t.Errorf("%s is taken for %q: %v", template, got, err)
		}
		for bit := range 8 * (len(good) - unique) {
			changed := bytes.Clone(good)
			changed[bit/8] ^= 1 << (bit % 8)
			wantCode(t, string(template), ek.CheckPublic(changed), ek.CodeNotTemplate)
		}
		for n := range good {
			wantCode(t, "truncated", ek.CheckPublic(good[:n]), ek.CodeNotTemplate)
		}
		wantCode(t, "extended", ek.CheckPublic(append(bytes.Clone(good), 0)), ek.CodeNotTemplate)
	}
}

func TestCheckPublicRefusesUnsoundKeys(t *testing.T) {
	r, e := public(t, rsaKey(t, 2048), ek.L1), public(t, eccKey(t, elliptic.P256()), ek.L2)
	change := func(b []byte, f func([]byte)) []byte {
		b = bytes.Clone(b)
		f(b)
		return b
	}
	for name, data := range map[string][]byte{
		"even modulus":     change(r, func(b []byte) { b[len(b)-1] &^= 1 }),
		"short modulus":    change(r, func(b []byte) { b[len(b)-256] &^= 0x80 }),
		"zero modulus":     change(r, func(b []byte) { clear(b[len(b)-256:]) }),
		"off the curve":    change(e, func(b []byte) { b[len(b)-1] ^= 1 }),
		"zero point":       change(e, func(b []byte) { clear(b[len(b)-32:]); clear(b[len(b)-66 : len(b)-34]) }),
		"coordinate ≥ p":   change(e, func(b []byte) { copy(b[len(b)-32:], bytes.Repeat([]byte{0xff}, 32)) }),
		"size of the x":    change(e, func(b []byte) { b[len(b)-67]++ }),
		"size of the y":    change(e, func(b []byte) { b[len(b)-33]-- }),
		"nothing":          nil,
		"a size in front":  append([]byte{0, byte(len(e))}, e...),
		"one after other":  append(bytes.Clone(e), e...),
		"template, no key": e[:len(e)-68],
	} {
		wantCode(t, name, ek.CheckPublic(data), ek.CodeNotTemplate)
		if _, err := ek.PublicKey(data); err == nil {
			t.Errorf("%s: has a key", name)
		}
	}
}

func TestPublicRefusesOtherKeys(t *testing.T) {
	ed, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	good := rsaKey(t, 2048)
	for name, key := range map[string]any{
		"RSA-1024 modulus": &rsa.PublicKey{N: new(big.Int).Rsh(good.N, 1024), E: good.E},
		"RSA-1024":         &rsa.PublicKey{N: new(big.Int).SetBit(new(big.Int).Rsh(good.N, 1024), 0, 1), E: good.E},
		"RSA-4096":         &rsa.PublicKey{N: new(big.Int).SetBit(new(big.Int).Lsh(good.N, 2048), 0, 1), E: good.E},
		"exponent 3":       &rsa.PublicKey{N: good.N, E: 3},
		"no modulus":       &rsa.PublicKey{E: 65537},
		"P-521":            eccKey(t, elliptic.P521()),
		"Ed25519":          ed,
	} {
		_, err := ek.Public(&x509.Certificate{PublicKey: key})
		wantCode(t, name, err, ek.CodeUnsupportedKey)
	}
	_, err = ek.PublicTemplate(&x509.Certificate{PublicKey: good}, ek.L2)
	wantCode(t, "RSA key, ECC template", err, ek.CodeUnsupportedKey)
	_, err = ek.PublicTemplate(&x509.Certificate{PublicKey: eccKey(t, elliptic.P256())}, ek.H1)
	wantCode(t, "ECC key, RSA template", err, ek.CodeUnsupportedKey)
	_, err = ek.PublicTemplate(&x509.Certificate{PublicKey: good}, ek.H6)
	wantCode(t, "RSA-2048 key, RSA-3072 template", err, ek.CodeUnsupportedKey)
	_, err = ek.PublicTemplate(&x509.Certificate{PublicKey: eccKey(t, elliptic.P384())}, ek.H2)
	wantCode(t, "P-384 key, P-256 template", err, ek.CodeUnsupportedKey)
	_, err = ek.PublicTemplate(&x509.Certificate{PublicKey: good}, "L-9")
	wantCode(t, "unknown template", err, ek.CodeNotTemplate)
}

// K1: the certificate must be for the very EK that the device shows
// (CVE-2021-3406).
func TestAttack_K1_CertificateOfAnotherEK(t *testing.T) {
	ca := newAuthority(t, nil, nil)
	mine, theirs := eccKey(t, elliptic.P256()), eccKey(t, elliptic.P256())
	cert := ca.sign(t, ekTemplate(), theirs)
	wantCode(t, "own", ek.CheckMatch(cert, public(t, theirs, ek.L2)), "")
	wantCode(t, "own in the high range", ek.CheckMatch(cert, public(t, theirs, ek.H2)), "")
	wantCode(t, "another", ek.CheckMatch(cert, public(t, mine, ek.L2)), ek.CodeKeyMismatch)
	wantCode(t, "another kind", ek.CheckMatch(cert, public(t, rsaKey(t, 2048), ek.L1)), ek.CodeKeyMismatch)
	changed := public(t, theirs, ek.L2)
	changed[7] ^= 1 << 6 // userWithAuth
	wantCode(t, "own key, other attributes", ek.CheckMatch(cert, changed), ek.CodeNotTemplate)
	wantCode(t, "nothing", ek.CheckMatch(cert, nil), ek.CodeNotTemplate)
}

func FuzzCheckPublic(f *testing.F) {
	for _, template := range []ek.Template{ek.L1, ek.H1} {
		f.Add(public(f, rsaKey(f, 2048), template))
	}
	for _, template := range []ek.Template{ek.L2, ek.H2} {
		f.Add(public(f, eccKey(f, elliptic.P256()), template))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := ek.CheckPublic(data); err != nil {
			wantCode(t, "check", err, ek.CodeNotTemplate)
			return
		}
		key, err := ek.PublicKey(data)
		if err != nil {
			t.Fatal(err)
		}
		if err := ek.CheckMatch(&x509.Certificate{PublicKey: key}, data); err != nil {
			t.Error(err)
		}
	})
}
