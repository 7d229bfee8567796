package idevid_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	"troth/attest/ek"
	"troth/attest/idevid"
)

var at = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// authority is a CA of a manufacturer.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (a authority) signs(t testing.TB, template *x509.Certificate, key crypto.PublicKey) *x509.Certificate {
	t.Helper()
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	if template.NotAfter.IsZero() {
		template.NotBefore, template.NotAfter = at.Add(-time.Hour), at.Add(time.Hour)
	}
	parent := a.cert
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key, a.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func newCA(t testing.TB, name string, parent *authority) authority {
	t.Helper()
	key := newKey(t)
	signer := authority{key: key}
	if parent != nil {
		signer = *parent
	}
	cert := signer.signs(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}, key.Public())
	return authority{cert, key}
}

func policies(t testing.TB, all ...string) []x509.OID {
	t.Helper()
	var out []x509.OID
	for _, s := range all {
		o, err := x509.ParseOID(s)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, o)
	}
	return out
}

const residency, fixed, restrictedKey = "2.23.133.11.1.1", "2.23.133.11.1.2", "2.23.133.11.1.3"

func template(t testing.TB) *x509.Certificate {
	return &x509.Certificate{
		Subject: pkix.Name{CommonName: "gw-100", SerialNumber: "SN-17"}, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature, Policies: policies(t, residency, fixed),
	}
}

func TestAttack_K5_IdentityOfTheManufacturer(t *testing.T) {
	root := newCA(t, "root", nil)
	issuer := newCA(t, "issuer", &root)
	stranger := newCA(t, "root", nil) // of the same name
	roots := ek.NewRoots()
	if err := roots.Add("acme", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.cert.Raw})); err != nil {
		t.Fatal(err)
	}
	key := newKey(t)
	eku := func(last int) []asn1.ObjectIdentifier { return []asn1.ObjectIdentifier{{2, 23, 133, 8, last}} }
	for name, tt := range map[string]struct {
		change     func(*x509.Certificate)
		restricted bool
		code       string
	}{
		"an IDevID": {nil, false, ""},
		"an IAK": {func(c *x509.Certificate) {
			c.UnknownExtKeyUsage, c.Policies = eku(3), policies(t, residency, restrictedKey)
		}, true, ""},
		"an IAK's, no key usage of its own": {nil, true, ""},
		"signs and enciphers":               {func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageKeyEncipherment }, false, ""},
		"an EK's":                           {func(c *x509.Certificate) { c.UnknownExtKeyUsage = eku(1) }, false, idevid.CodeNotDevID},
		"a platform's":                      {func(c *x509.Certificate) { c.UnknownExtKeyUsage = eku(2) }, false, idevid.CodeNotDevID},
		"an AK's for an IDevID":             {func(c *x509.Certificate) { c.UnknownExtKeyUsage = eku(3) }, false, idevid.CodeNotDevID},
		"restricted by its word alone":      {func(c *x509.Certificate) { c.Policies = policies(t, residency, restrictedKey) }, false, idevid.CodeNotDevID},
		"a CA's":                            {func(c *x509.Certificate) { c.IsCA = true }, false, idevid.CodeNotDevID},
		"for signing CRLs":                  {func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCRLSign }, false, idevid.CodeNotDevID},
		"for encryption":                    {func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment }, false, idevid.CodeNotDevID},
		"without a key usage":               {func(c *x509.Certificate) { c.KeyUsage = 0 }, false, idevid.CodeNotDevID},
		"of any key":                        {func(c *x509.Certificate) { c.Policies = nil }, false, idevid.CodeNotDevID},
		"expired":                           {func(c *x509.Certificate) { c.NotBefore, c.NotAfter = at.Add(-2*time.Hour), at.Add(-time.Hour) }, false, idevid.CodeExpired},
		"of the future":                     {func(c *x509.Certificate) { c.NotBefore, c.NotAfter = at.Add(time.Hour), at.Add(2*time.Hour) }, false, idevid.CodeExpired},
	} {
		t.Run(name, func(t *testing.T) {
			c := template(t)
			if tt.change != nil {
				tt.change(c)
			}
			leaf := issuer.signs(t, c, key.Public())
			for order, chain := range map[string][]byte{
				"leaf first":               append(append([]byte{}, leaf.Raw...), issuer.cert.Raw...),
				"leaf last, padded, twice": append(append(append(append([]byte{}, issuer.cert.Raw...), 0xff, 0xff), leaf.Raw...), leaf.Raw...),
			} {
				got, err := idevid.Verify(roots, key.Public(), tt.restricted, chain, at)
				check(t, order, got, err, tt.code)
			}
		})
	}
	leaf := issuer.signs(t, template(t), key.Public())
	good := append(append([]byte{}, leaf.Raw...), issuer.cert.Raw...)
	selfMade := stranger.signs(t, template(t), key.Public())
	device := newKey(t)
	notCA := authority{issuer.signs(t, template(t), device.Public()), device}
	for name, tt := range map[string]struct {
		key   crypto.PublicKey
		chain []byte
		code  string
	}{
		"of another key":      {newKey(t).Public(), good, idevid.CodeKeyMismatch},
		"nothing":             {key.Public(), nil, idevid.CodeKeyMismatch},
		"no key":              {nil, good, idevid.CodeKeyMismatch},
		"of an unknown maker": {key.Public(), append(append([]byte{}, selfMade.Raw...), stranger.cert.Raw...), idevid.CodeUnknownManufacturer},
		"without the issuer":  {key.Public(), leaf.Raw, idevid.CodeUnknownManufacturer},
		"issued by no CA":     {key.Public(), append(append(notCA.forged(t, key.Public()), notCA.cert.Raw...), issuer.cert.Raw...), idevid.CodeChain},
		"truncated":           {key.Public(), good[:len(good)-9], idevid.CodeMalformed},
		"rubbish":             {key.Public(), []byte("rubbish"), idevid.CodeMalformed},
		"too long":            {key.Public(), append(append([]byte{}, good...), make([]byte, 64<<10)...), idevid.CodeMalformed},
		"too many":            {key.Public(), repeat(leaf.Raw, 17), idevid.CodeMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := idevid.Verify(roots, tt.key, false, tt.chain, at)
			check(t, "", got, err, tt.code)
		})
	}
	t.Run("trusting nobody", func(t *testing.T) {
		got, err := idevid.Verify(ek.NewRoots(), key.Public(), false, good, at)
		check(t, "", got, err, idevid.CodeUnknownManufacturer)
	})
}

func (a authority) forged(t *testing.T, key crypto.PublicKey) []byte {
	return append([]byte{}, a.signs(t, template(t), key).Raw...)
}

func repeat(b []byte, n int) (out []byte) {
	for range n {
		out = append(out, b...)
	}
	return out
}

func check(t *testing.T, what string, got idevid.Identity, err error, code string) {
	t.Helper()
	var e *idevid.Error
	switch {
	case code == "" && err != nil:
		t.Errorf("%s: %v", what, err)
	case code == "" && (got.Chain.Manufacturer != "acme" || got.Serial != "SN-17" || got.Model != "gw-100"):
		t.Errorf("%s: %+v", what, got)
	case code != "" && (!errors.As(err, &e) || e.Code != code):
		t.Errorf("%s: %v, want code %s", what, err, code)
	}
}

func TestFacts(t *testing.T) {
	module := func(serial []byte) asn1.RawValue {
		inner, err := asn1.Marshal(struct {
			Type   asn1.ObjectIdentifier
			Serial []byte
		}{asn1.ObjectIdentifier{2, 23, 133, 1, 2}, serial})
		if err != nil {
			t.Fatal(err)
		}
		id, err := asn1.Marshal(asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 8, 4})
		if err != nil {
			t.Fatal(err)
		}
		value, err := asn1.Marshal(asn1.RawValue{Class: 2, Tag: 0, IsCompound: true, Bytes: inner})
		if err != nil {
			t.Fatal(err)
		}
		return asn1.RawValue{Class: 2, Tag: 0, IsCompound: true, Bytes: append(id, value...)}
	}
	model, err := asn1.Marshal(pkix.RDNSequence{{{Type: asn1.ObjectIdentifier{2, 23, 133, 5, 1, 4}, Value: "gw\n200"}}})
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		subject pkix.Name
		names   []asn1.RawValue
		want    idevid.Facts
	}{
		"subject":          {pkix.Name{SerialNumber: "SN-1", CommonName: "gw"}, []asn1.RawValue{module([]byte("other"))}, idevid.Facts{Serial: "SN-1", Model: "gw"}},
		"module as text":   {pkix.Name{}, []asn1.RawValue{module([]byte("SN-2"))}, idevid.Facts{Serial: "SN-2"}},
		"module as number": {pkix.Name{}, []asn1.RawValue{module([]byte{0, 0xff})}, idevid.Facts{Serial: "00ff"}},
		"empty module":     {pkix.Name{}, []asn1.RawValue{module(nil)}, idevid.Facts{}},
		"platform's model": {pkix.Name{CommonName: "cn"}, []asn1.RawValue{{Class: 2, Tag: 4, IsCompound: true, Bytes: model}}, idevid.Facts{Model: "gw?200"}},
		"long":             {pkix.Name{SerialNumber: strings.Repeat("9", 200)}, nil, idevid.Facts{Serial: strings.Repeat("9", 64)}},
	} {
		t.Run(name, func(t *testing.T) {
			cert := &x509.Certificate{Subject: tt.subject}
			if tt.names != nil {
				der, err := asn1.Marshal(tt.names)
				if err != nil {
					t.Fatal(err)
				}
				cert.Extensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: der}}
			}
			if got := idevid.ReadFacts(cert); got != tt.want {
				t.Errorf("%+v, want %+v", got, tt.want)
			}
		})
	}
}

func FuzzVerify(f *testing.F) {
	root := newCA(f, "root", nil)
	roots := ek.NewRoots()
	if err := roots.Add("acme", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.cert.Raw})); err != nil {
		f.Fatal(err)
	}
	key := newKey(f)
	leaf := root.signs(f, template(f), key.Public())
	f.Add(leaf.Raw)
	f.Fuzz(func(t *testing.T, chain []byte) {
		got, err := idevid.Verify(roots, key.Public(), false, chain, at)
		if err == nil && got.Facts != (idevid.Facts{Serial: "SN-17", Model: "gw-100"}) {
			t.Errorf("the root signed one certificate, and it says %+v", got.Facts)
		}
	})
}

func FuzzFacts(f *testing.F) {
	f.Add([]byte{0x30, 0x00})
	f.Fuzz(func(t *testing.T, names []byte) {
		got := idevid.ReadFacts(&x509.Certificate{Extensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: names}}})
		for _, s := range []string{got.Serial, got.Model} {
			if len(s) > 64 || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) {
				t.Errorf("%q", s)
			}
		}
	})
}
