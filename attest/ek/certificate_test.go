package ek_test

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"testing"
	"time"

	"troth/attest/ek"
)

// K7: what stands around a certificate in NV memory is no part of it.
func TestAttack_K7_Padding(t *testing.T) {
	ca := newAuthority(t, nil, nil)
	der := ca.sign(t, ekTemplate(), newKey(t).Public()).Raw
	for name, data := range map[string][]byte{
		"exact":         der,
		"zeros":         append(bytes.Clone(der), make([]byte, 500)...),
		"ones":          append(bytes.Clone(der), bytes.Repeat([]byte{0xff}, 500)...),
		"trailing text": append(bytes.Clone(der), "trailing"...),
	} {
		cert, err := ek.ParseCertificate(data)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !bytes.Equal(cert.Raw, der) {
			t.Errorf("%s: parsed %d bytes of %d", name, len(cert.Raw), len(der))
		}
	}
	indefinite := append([]byte{0x30, 0x80}, der[4:]...)
	for name, data := range map[string][]byte{
		"nothing":           nil,
		"padding":           bytes.Repeat([]byte{0xff}, 1000),
		"zeros":             make([]byte, 1000),
		"truncated":         der[:len(der)-1],
		"empty sequence":    {0x30, 0},
		"integer":           {2, 1, 1},
		"indefinite length": append(indefinite, 0, 0),
		"huge":              make([]byte, 1<<20),
		"text":              []byte("-----BEGIN CERTIFICATE-----"),
	} {
		_, err := ek.ParseCertificate(data)
		wantCode(t, name, err, ek.CodeMalformed)
	}
}

// K7: an RSA key that is declared to be for OAEP only is an RSA key.
func TestAttack_K7_OAEPKey(t *testing.T) {
	ca := newAuthority(t, nil, nil)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	plain := ca.sign(t, ekTemplate(), key.Public())
	want, err := ek.Public(plain)
	if err != nil {
		t.Fatal(err)
	}
	// rsaEncryption becomes id-RSAES-OAEP: the last arc changes from 1 to 7.
	pkcs1 := []byte{0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01}
	oaep := []byte{0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x07}
	cert, err := ek.ParseCertificate(bytes.Replace(plain.Raw, pkcs1, oaep, 1))
	if err != nil {
		t.Fatal(err)
	}
	got, err := ek.Public(cert)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("rebuilt %x, want %x, %v", got, want, err)
	}
	oaep[8] = 0x63
	if cert, err = ek.ParseCertificate(bytes.Replace(plain.Raw, pkcs1, oaep, 1)); err != nil {
		t.Fatal(err)
	}
	_, err = ek.Public(cert)
	wantCode(t, "unknown algorithm", err, ek.CodeUnsupportedKey)
}

func TestVerifyProfile(t *testing.T) {
	root := newAuthority(t, nil, nil)
	issuer := newAuthority(t, &root, nil)
	old := newAuthority(t, &root, func(c *x509.Certificate) { c.NotAfter = now.AddDate(0, -1, 0) })
	roots := ek.NewRoots()
	for _, a := range []authority{root, issuer, old} {
		if err := roots.Add("acme", a.pem()); err != nil {
			t.Fatal(err)
		}
	}
	san := func(value ...byte) []pkix.Extension {
		return []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Critical: true, Value: value}}
	}
	for name, tt := range map[string]struct {
		issuer authority
		change func(*x509.Certificate)
		code   string
	}{
		"good":            {issuer, func(*x509.Certificate) {}, ""},
		"by the root":     {root, func(*x509.Certificate) {}, ""},
		"no alt name":     {issuer, func(c *x509.Certificate) { c.ExtraExtensions = nil; c.Subject.CommonName = "x" }, ""},
		"more key usages": {issuer, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }, ""},
		"no key usage":    {issuer, func(c *x509.Certificate) { c.UnknownExtKeyUsage = nil }, ek.CodeNotEKCertificate},
		"client key usage": {issuer, func(c *x509.Certificate) {
			c.UnknownExtKeyUsage, c.ExtKeyUsage = nil, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
		}, ek.CodeNotEKCertificate},
		"any key usage": {issuer, func(c *x509.Certificate) {
			c.UnknownExtKeyUsage, c.ExtKeyUsage = nil, []x509.ExtKeyUsage{x509.ExtKeyUsageAny}
		}, ek.CodeNotEKCertificate},
		"platform":       {issuer, func(c *x509.Certificate) { c.UnknownExtKeyUsage = []asn1.ObjectIdentifier{{2, 23, 133, 8, 2}} }, ek.CodeNotEKCertificate},
		"a CA's":         {issuer, func(c *x509.Certificate) { c.IsCA, c.KeyUsage = true, x509.KeyUsageCertSign }, ek.CodeNotEKCertificate},
		"expired":        {issuer, func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Second) }, ek.CodeExpired},
		"not yet valid":  {issuer, func(c *x509.Certificate) { c.NotBefore = now.Add(time.Second) }, ek.CodeExpired},
		"CA expired":     {old, func(*x509.Certificate) {}, ek.CodeExpired},
		"alt name empty": {issuer, func(c *x509.Certificate) { c.ExtraExtensions = san(0x30, 0) }, ek.CodeMalformed},
		"alt name wrong": {issuer, func(c *x509.Certificate) { c.ExtraExtensions = san(0x30, 3, 2, 1, 1) }, ek.CodeMalformed},
		"unknown critical": {issuer, func(c *x509.Certificate) {
			c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}})
		}, ek.CodeMalformed},
		"unknown uncritical": {issuer, func(c *x509.Certificate) {
			c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3}, Value: []byte{5, 0}})
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			template := ekTemplate()
			tt.change(template)
			cert, err := ek.ParseCertificate(tt.issuer.signRaw(t, template))
			if err == nil {
				_, err = roots.Verify(cert, now)
			}
			wantCode(t, name, err, tt.code)
		})
	}
}

// signRaw signs a certificate that crypto/x509 may refuse to parse.
func (a authority) signRaw(t *testing.T, template *x509.Certificate) []byte {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, newKey(t).Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// K7: CAs with the same subject names do not stand in for each other, neither
// across manufacturers nor for an issuer that only has the name.
func TestAttack_K7_SameSubjectNames(t *testing.T) {
	mine, theirs := newAuthority(t, nil, nil), newAuthority(t, nil, nil)
	mineBelow, theirsBelow := newAuthority(t, &mine, nil), newAuthority(t, &theirs, nil)
	both := trust(t, map[string][]byte{
		"mine":   append(mine.pem(), mineBelow.pem()...),
		"theirs": append(theirs.pem(), theirsBelow.pem()...),
	})
	chain, err := both.Verify(theirsBelow.sign(t, ekTemplate(), newKey(t).Public()), now)
	if err != nil || chain.Manufacturer != "theirs" {
		t.Errorf("manufacturer %q, %v", chain.Manufacturer, err)
	}
	impostor := newAuthority(t, nil, nil)
	_, err = both.Verify(impostor.sign(t, ekTemplate(), newKey(t).Public()), now)
	wantCode(t, "impostor", err, ek.CodeUnknownManufacturer)
	crossed := trust(t, map[string][]byte{"mine": append(mine.pem(), theirsBelow.pem()...), "theirs": theirs.pem()})
	_, err = crossed.Verify(theirsBelow.sign(t, ekTemplate(), newKey(t).Public()), now)
	wantCode(t, "intermediate of one, root of another", err, ek.CodeUnknownManufacturer)
}

func TestAddRefuses(t *testing.T) {
	ca := newAuthority(t, nil, nil)
	leaf := authority{cert: ca.sign(t, ekTemplate(), newKey(t).Public())}
	for name, tt := range map[string]struct {
		name string
		pem  []byte
	}{
		"no name":         {"", ca.pem()},
		"no certificate":  {"acme", nil},
		"not PEM":         {"acme", []byte("rubbish")},
		"rubbish after":   {"acme", append(ca.pem(), "rubbish"...)},
		"a leaf":          {"acme", leaf.pem()},
		"a CA and a leaf": {"acme", append(ca.pem(), leaf.pem()...)},
		"a key":           {"acme", []byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")},
		"broken":          {"acme", []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")},
	} {
		roots := ek.NewRoots()
		if err := roots.Add(tt.name, tt.pem); err == nil {
			t.Errorf("%s: added", name)
		}
		_, err := roots.Verify(ca.sign(t, ekTemplate(), newKey(t).Public()), now)
		wantCode(t, name+" left nothing behind", err, ek.CodeUnknownManufacturer)
	}
}

func FuzzParseCertificate(f *testing.F) {
	f.Add([]byte{0x30, 0x80, 0, 0})
	f.Add(directoryName)
	roots := ek.NewRoots()
	f.Fuzz(func(t *testing.T, der []byte) {
		cert, err := ek.ParseCertificate(der)
		if err != nil {
			wantCode(t, "parse", err, ek.CodeMalformed)
			return
		}
		if public, err := ek.Public(cert); err == nil && ek.CheckMatch(cert, public) != nil {
			t.Error("certificate does not match its own key")
		}
		if _, err := roots.Verify(cert, now); err == nil {
			t.Error("verified without roots")
		}
	})
}
