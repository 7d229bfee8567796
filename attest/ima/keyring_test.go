package ima_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"errors"
	"math/big"
	"testing"
	"time"

	"troth/attest/ima"
)

func certificate(t *testing.T, key crypto.Signer, subjectKeyID []byte) *x509.Certificate {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "files"}, SubjectKeyId: subjectKeyID,
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<32, 0)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// signed is an ima-sig entry as evmctl signs files.
func signed(t *testing.T, key crypto.Signer, keyID []byte, hashID byte, h crypto.Hash, algorithm string) ima.Entry {
	t.Helper()
	digest := digestOf(h, "content")
	signature, err := key.Sign(rand.Reader, digest, h)
	if err != nil {
		t.Fatal(err)
	}
	value := append([]byte{3, 2, hashID}, keyID...)
	value = append(binary.BigEndian.AppendUint16(value, uint16(len(signature))), signature...)
	m := measurement{template: "ima-sig", algorithm: algorithm, digest: digest, name: "/usr/bin/signed", signature: value}
	l, err := ima.Parse(m.ascii(crypto.SHA1))
	if err != nil {
		t.Fatal(err)
	}
	return l.Entries[0]
}

func TestKeyringVerifies(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	keys := ima.NewKeyring()
	for _, key := range []crypto.Signer{rsaKey, ecKey} {
		if err := keys.Add(certificate(t, key, []byte("0123456789abcdefWXYZ"))); err != nil {
			t.Fatal(err)
		}
	}
	computed := sha1.Sum(x509.MarshalPKCS1PublicKey(&rsaKey.PublicKey))
	for name, e := range map[string]ima.Entry{
		"RSA by its certificate's id": signed(t, rsaKey, []byte("WXYZ"), 4, crypto.SHA256, "sha256"),
		"RSA by its computed id":      signed(t, rsaKey, computed[16:], 6, crypto.SHA512, "sha512"),
		"ECDSA":                       signed(t, ecKey, []byte("WXYZ"), 5, crypto.SHA384, "sha384"),
	} {
		t.Run(name, func(t *testing.T) {
			if err := keys.Verify(&e); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestAttack_L5_FileSignatures: signatures that must not verify.
func TestAttack_L5_FileSignatures(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	keys := ima.NewKeyring()
	if err := keys.Add(certificate(t, key, []byte("0123456789abcdefWXYZ"))); err != nil {
		t.Fatal(err)
	}
	good := func(t *testing.T) ima.Entry { return signed(t, key, []byte("WXYZ"), 4, crypto.SHA256, "sha256") }
	for name, tt := range map[string]struct {
		entry func(*testing.T) ima.Entry
		want  error
	}{
		"another key":     {func(t *testing.T) ima.Entry { return signed(t, other, []byte("WXYZ"), 4, crypto.SHA256, "sha256") }, ima.ErrSignature},
		"unknown key":     {func(t *testing.T) ima.Entry { return signed(t, key, []byte("WXYA"), 4, crypto.SHA256, "sha256") }, ima.ErrUnknownKey},
		"SHA-1":           {func(t *testing.T) ima.Entry { return signed(t, key, []byte("WXYZ"), 2, crypto.SHA1, "sha1") }, ima.ErrSignature},
		"another digest":  {func(t *testing.T) ima.Entry { e := good(t); e.Digest = digestOf(crypto.SHA256, "evil"); return e }, ima.ErrSignature},
		"another hash":    {func(t *testing.T) ima.Entry { e := good(t); e.Algorithm = "sha3-256"; return e }, ima.ErrSignature},
		"a violation":     {func(t *testing.T) ima.Entry { e := good(t); e.Violation = true; return e }, ima.ErrSignature},
		"cut":             {func(t *testing.T) ima.Entry { e := good(t); e.Signature = e.Signature[:len(e.Signature)-1]; return e }, ima.ErrSignature},
		"cut in its head": {func(t *testing.T) ima.Entry { e := good(t); e.Signature = e.Signature[:5]; return e }, ima.ErrSignature},
		"a version":       {func(t *testing.T) ima.Entry { e := good(t); e.Signature[1] = 3; return e }, ima.ErrSignature},
		"a plain hash":    {func(t *testing.T) ima.Entry { e := good(t); e.Signature[0] = 4; return e }, ima.ErrNotSigned},
		"nothing":         {func(t *testing.T) ima.Entry { e := good(t); e.Signature = nil; return e }, ima.ErrNotSigned},
		"a buffer":        {func(t *testing.T) ima.Entry { e := good(t); e.Template = "ima-buf"; return e }, ima.ErrNotSigned},
	} {
		t.Run(name, func(t *testing.T) {
			e := tt.entry(t)
			if err := keys.Verify(&e); !errors.Is(err, tt.want) {
				t.Errorf("%v, want %v", err, tt.want)
			}
		})
	}
	e := good(t)
	if err := ima.NewKeyring().Verify(&e); !errors.Is(err, ima.ErrUnknownKey) {
		t.Errorf("empty keyring: %v", err)
	}
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	if err := keys.Add(certificate(t, small, nil)); err == nil {
		t.Error("RSA-1024 accepted")
	}
}
