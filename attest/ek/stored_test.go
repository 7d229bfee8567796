package ek_test

import (
	"bytes"
	"crypto/elliptic"
	"crypto/x509"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"troth/attest/ek"
	"troth/attest/ek/template"
)

// stored is a template as a manufacturer would leave it in NV memory.
func stored(t testing.TB, id ek.Template, nonce []byte) []byte {
	t.Helper()
	found, ok := template.Find(id)
	if !ok {
		t.Fatal(id)
	}
	pub, err := found.Public(nonce)
	if err != nil {
		t.Fatal(err)
	}
	return tpm2.Marshal(pub)
}

// K5: a template and a nonce from the device's NV memory vary the unique field
// and nothing else.
func TestAttack_K5_StoredTemplate(t *testing.T) {
	r := &x509.Certificate{PublicKey: rsaKey(t, 2048)}
	e := &x509.Certificate{PublicKey: eccKey(t, elliptic.P256())}
	wide := &x509.Certificate{PublicKey: eccKey(t, elliptic.P384())}
	nonce := bytes.Repeat([]byte{0x5a}, 20)
	attributes := stored(t, ek.L2, nonce)
	attributes[7] ^= 1 << 6 // userWithAuth
	policy := stored(t, ek.L1, nil)
	policy[12] ^= 1
	long := stored(t, ek.L1, nil)
	long = append(append(long[:len(long)-258], 1, 1), make([]byte, 257)...)
	for name, tt := range map[string]struct {
		cert          *x509.Certificate
		stored, nonce []byte
		want          ek.Template
		code          string
	}{
		"nothing":                  {r, nil, nil, ek.L1, ""},
		"the template itself":      {r, stored(t, ek.L1, nil), nil, ek.L1, ""},
		"with a nonce in it":       {e, stored(t, ek.L2, nonce), nil, ek.L2, ""},
		"nonce beside":             {e, stored(t, ek.L2, nil), nonce, ek.L2, ""},
		"nonce only":               {r, nil, bytes.Repeat([]byte{1}, 256), ek.L1, ""},
		"high range":               {r, stored(t, ek.H1, nil), nil, ek.H1, ""},
		"high range, ECC":          {e, stored(t, ek.H2, nil), nil, ek.H2, ""},
		"P-384":                    {wide, stored(t, ek.H3, nil), nil, ek.H3, ""},
		"nonce in the high range":  {wide, nil, nonce, "", ek.CodeNotTemplate},
		"nonce too long":           {e, nil, make([]byte, 33), "", ek.CodeNotTemplate},
		"nonce far too long":       {r, nil, make([]byte, 70000), "", ek.CodeNotTemplate},
		"template of another kind": {r, stored(t, ek.L2, nil), nil, "", ek.CodeNotTemplate},
		"of another size":          {wide, stored(t, ek.L2, nil), nil, "", ek.CodeNotTemplate},
		"other attributes":         {e, attributes, nil, "", ek.CodeNotTemplate},
		"other policy":             {r, policy, nil, "", ek.CodeNotTemplate},
		"unique too long":          {r, long, nil, "", ek.CodeNotTemplate},
		"trailing byte":            {r, append(stored(t, ek.L1, nil), 0), nil, "", ek.CodeNotTemplate},
		"truncated":                {r, stored(t, ek.L1, nil)[:40], nil, "", ek.CodeNotTemplate},
		"empty":                    {r, []byte{}, nil, "", ek.CodeNotTemplate},
		"huge":                     {r, make([]byte, 1<<20), nil, "", ek.CodeNotTemplate},
	} {
		got, err := ek.PublicStored(tt.cert, tt.stored, tt.nonce)
		wantCode(t, name, err, tt.code)
		if tt.code == "" && !bytes.Equal(got, public(t, tt.cert.PublicKey, tt.want)) {
			t.Errorf("%s: rebuilt %x", name, got)
		}
	}
}

func FuzzStoredTemplate(f *testing.F) {
	for _, id := range []ek.Template{ek.L1, ek.L2, ek.H1, ek.H2} {
		f.Add(stored(f, id, nil), []byte(nil))
	}
	f.Add(stored(f, ek.L2, []byte{1, 2, 3}), []byte{4})
	certs := []*x509.Certificate{{PublicKey: rsaKey(f, 2048)}, {PublicKey: eccKey(f, elliptic.P256())}}
	f.Fuzz(func(t *testing.T, stored, nonce []byte) {
		for _, cert := range certs {
			got, err := ek.PublicStored(cert, stored, nonce)
			if err != nil {
				wantCode(t, "stored", err, ek.CodeNotTemplate)
				continue
			}
			if err := ek.CheckMatch(cert, got); err != nil {
				t.Error(err)
			}
		}
	})
}
