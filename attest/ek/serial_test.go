package ek_test

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"testing"

	"troth/attest/ek"
)

// withSerial signs a certificate again with a serial number of any bytes.
func (a authority) withSerial(t *testing.T, cert *x509.Certificate, serial []byte) []byte {
	t.Helper()
	var body, version, old asn1.RawValue
	if _, err := asn1.Unmarshal(cert.RawTBSCertificate, &body); err != nil {
		t.Fatal(err)
	}
	rest, err := asn1.Unmarshal(body.Bytes, &version)
	if err == nil {
		rest, err = asn1.Unmarshal(rest, &old)
	}
	if err != nil {
		t.Fatal(err)
	}
	signed := tlv(0x30, version.FullBytes, tlv(2, serial), rest)
	digest := sha256.Sum256(signed)
	signature, err := a.key.Sign(rand.Reader, digest[:], nil)
	if err != nil {
		t.Fatal(err)
	}
	algorithm, err := asn1.Marshal(pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2}})
	if err != nil {
		t.Fatal(err)
	}
	return tlv(0x30, signed, algorithm, tlv(3, []byte{0}, signature))
}

// K7: serial numbers with leading zero bytes, as in some of Nuvoton's EK
// certificates, verify over the bytes that were signed; others that are not DER
// are malformed.
func TestAttack_K7_SerialNumbers(t *testing.T) {
	root := newAuthority(t, nil, crlSigner)
	roots := trust(t, map[string][]byte{"acme": root.pem()})
	plain := root.sign(t, ekTemplate(), newKey(t).Public())
	for name, tt := range map[string]struct {
		serial []byte
		want   int64
		code   string
	}{
		"as it should be": {[]byte{2}, 2, ""},
		"one zero":        {[]byte{0, 2}, 2, ""},
		"many zeros":      {append(make([]byte, 15), 2), 2, ""},
		"zeros and high":  {[]byte{0, 0, 0, 0x90}, 0x90, ""},
		"negative":        {[]byte{0x90}, 0, ek.CodeMalformed},
		"ones":            {[]byte{0xff, 0xff, 2}, 0, ek.CodeMalformed},
		"empty":           {nil, 0, ek.CodeMalformed},
	} {
		der := root.withSerial(t, plain, tt.serial)
		cert, err := ek.ParseCertificate(append(bytes.Clone(der), 0xff, 0xff))
		wantCode(t, name, err, tt.code)
		if tt.code != "" {
			continue
		}
		if cert.SerialNumber.Cmp(big.NewInt(tt.want)) != 0 || !bytes.Equal(cert.Raw, der) {
			t.Errorf("%s: serial number %v", name, cert.SerialNumber)
		}
		chain, err := roots.Verify(cert, now)
		wantCode(t, name, err, "")
		_, err = chain.Revocation([]*x509.RevocationList{root.crl(t, nil, tt.want)}, now)
		wantCode(t, name+" revoked", err, ek.CodeRevoked)
	}
	changed := root.withSerial(t, plain, []byte{0, 2})
	changed = bytes.Replace(changed, []byte{2, 2, 0, 2}, []byte{2, 2, 0, 3}, 1)
	cert, err := ek.ParseCertificate(changed)
	if err != nil {
		t.Fatal(err)
	}
	_, err = roots.Verify(cert, now)
	wantCode(t, "another number than signed", err, ek.CodeUnknownManufacturer)
	cert, err = ek.ParseCertificate(bytes.Replace(root.withSerial(t, plain, []byte{0, 2}), []byte{2, 2, 0, 2}, []byte{2, 2, 0, 0}, 1))
	if err == nil {
		_, err = roots.Verify(cert, now)
	}
	if err == nil {
		t.Error("a changed serial number verifies")
	}
	below := newAuthority(t, &root, nil)
	raw := root.withSerial(t, below.cert, []byte{0, 0, 1})
	if err := roots.Add("acme", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw})); err != nil {
		t.Fatal(err)
	}
	_, err = roots.Verify(below.sign(t, ekTemplate(), newKey(t).Public()), now)
	wantCode(t, "an intermediate with zeros", err, "")
}

// K7: a signature over SHA-1 is none.
func TestAttack_K7_SHA1(t *testing.T) {
	root := newAuthority(t, nil, nil)
	template := ekTemplate()
	template.SignatureAlgorithm = x509.ECDSAWithSHA1
	cert := root.sign(t, template, newKey(t).Public())
	_, err := trust(t, map[string][]byte{"acme": root.pem()}).Verify(cert, now)
	wantCode(t, "SHA-1", err, ek.CodeUnknownManufacturer)
}

// K7: extensions that crypto/x509 takes for malformed when critical have a
// defined answer too.
func TestAttack_K7_OddCriticalExtensions(t *testing.T) {
	root := newAuthority(t, nil, nil)
	for name, oid := range map[string]asn1.ObjectIdentifier{
		"authority key identifier": {2, 5, 29, 35}, "authority information": {1, 3, 6, 1, 5, 5, 7, 1, 1},
	} {
		template := ekTemplate()
		template.ExtraExtensions = append(template.ExtraExtensions, pkix.Extension{Id: oid, Critical: true, Value: []byte{0x30, 0}})
		_, err := ek.ParseCertificate(root.signRaw(t, template))
		wantCode(t, name, err, ek.CodeMalformed)
	}
}
