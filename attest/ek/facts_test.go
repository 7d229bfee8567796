package ek_test

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"strings"
	"testing"

	"troth/attest/ek"
)

// tlv is an ASN.1 value of up to 64 KiB.
func tlv(tag byte, parts ...[]byte) []byte {
	body := bytes.Join(parts, nil)
	switch n := len(body); {
	case n < 0x80:
		return append([]byte{tag, byte(n)}, body...)
	default:
		return append([]byte{tag, 0x82, byte(n >> 8), byte(n)}, body...)
	}
}

// tcgAttribute is the attribute 2.23.133.2.arc with a value of some string type.
func tcgAttribute(arc, tag byte, value string) []byte {
	return tlv(0x30, tlv(6, []byte{0x67, 0x81, 0x05, 0x02, arc}), tlv(tag, []byte(value)))
}

// names is a GeneralNames with a directory name of relative names.
func names(relative ...[]byte) []byte { return tlv(0x30, tlv(0xa4, tlv(0x30, relative...))) }

func specification(level, revision []byte) []byte {
	return tlv(0x30, tlv(0x30, tlv(6, []byte{0x67, 0x81, 0x05, 0x02, 16}),
		tlv(0x31, tlv(0x30, tlv(0x0c, []byte("2.0")), tlv(2, level), tlv(2, revision)))))
}

func TestFacts(t *testing.T) {
	id, model, version := tcgAttribute(1, 0x0c, "id:494E5443"), tcgAttribute(2, 0x13, "Alder Lake"), tcgAttribute(3, 0x16, "id:00070055")
	full := ek.Facts{Manufacturer: "INTC", ManufacturerID: "id:494E5443", Model: "Alder Lake", Version: "id:00070055"}
	withSpecification := full
	withSpecification.Specification = &ek.Specification{Family: "2.0", Level: 0, Revision: 138}
	for name, tt := range map[string]struct {
		altName, subject, attributes []byte
		want                         ek.Facts
	}{
		"three relative names": {altName: names(tlv(0x31, id), tlv(0x31, model), tlv(0x31, version)), want: full},
		"one relative name":    {altName: names(tlv(0x31, id, model, version)), want: full},
		"in the subject":       {subject: tlv(0x30, tlv(0x31, id), tlv(0x31, model), tlv(0x31, version)), want: full},
		"second name":          {altName: tlv(0x30, tlv(0x82, []byte("a.example")), names(tlv(0x31, id, model, version))[2:]), want: full},
		"specification":        {altName: names(tlv(0x31, id, model, version)), attributes: specification([]byte{0}, []byte{0, 138}), want: withSpecification},
		"negative revision":    {attributes: specification([]byte{0}, []byte{0xff})},
		"huge revision":        {attributes: specification([]byte{0}, bytes.Repeat([]byte{1}, 99))},
		"IFX with a zero":      {altName: names(tlv(0x31, tcgAttribute(1, 0x0c, "id:49465800"))), want: ek.Facts{Manufacturer: "IFX", ManufacturerID: "id:49465800"}},
		"lower case":           {altName: names(tlv(0x31, tcgAttribute(1, 0x0c, "id:414d4400"))), want: ek.Facts{Manufacturer: "AMD", ManufacturerID: "id:414d4400"}},
		"no id":                {altName: names(tlv(0x31, tcgAttribute(1, 0x0c, "INTC"))), want: ek.Facts{ManufacturerID: "INTC"}},
		"id of no text":        {altName: names(tlv(0x31, tcgAttribute(1, 0x0c, "id:00001014"))), want: ek.Facts{ManufacturerID: "id:00001014"}},
		"BMPString":            {altName: names(tlv(0x31, tcgAttribute(2, 0x1e, "\x00S\x00L\x00B\xd8"))), want: ek.Facts{Model: "SLB"}},
		"the first counts":     {altName: names(tlv(0x31, model), tlv(0x31, tcgAttribute(2, 0x0c, "other"))), want: ek.Facts{Model: "Alder Lake"}},
		"hostile": {altName: names(tlv(0x31, tcgAttribute(2, 0x0c, "\x1b[31mred\n\r\x00\u202e\u00e9\xff <b>"))),
			want: ek.Facts{Model: "?[31mred????" + "?? <b>"}},
		"long":       {altName: names(tlv(0x31, tcgAttribute(2, 0x0c, strings.Repeat("é", 5000)))), want: ek.Facts{Model: strings.Repeat("?", 64)}},
		"an integer": {altName: names(tlv(0x31, tcgAttribute(2, 2, "\x01")))},
		"rubbish":    {altName: tlv(0x30, tlv(0xa4, []byte{1, 2, 3})), attributes: []byte{0x30, 1}},
		"nothing":    {},
	} {
		cert := &x509.Certificate{RawSubject: tt.subject}
		for arc, value := range map[int][]byte{17: tt.altName, 9: tt.attributes} {
			if value != nil {
				cert.Extensions = append(cert.Extensions, pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, arc}, Value: value})
			}
		}
		got := ek.ReadFacts(cert)
		if s, w := got.Specification, tt.want.Specification; (s == nil) != (w == nil) || (s != nil && *s != *w) {
			t.Errorf("%s: specification %+v", name, s)
		}
		got.Specification, tt.want.Specification = nil, nil
		if got != tt.want {
			t.Errorf("%s: %+v, want %+v", name, got, tt.want)
		}
	}
}

// K7: key usages and critical extensions as they are met, and no others.
func TestAttack_K7_Profile(t *testing.T) {
	root := newAuthority(t, nil, nil)
	roots := trust(t, map[string][]byte{"acme": root.pem()})
	rsa2048, p256 := rsaKey(t, 2048), eccKey(t, newKey(t).Curve)
	attributes := func(critical bool, value []byte) []pkix.Extension {
		return []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 9}, Critical: critical, Value: value}}
	}
	good := specification([]byte{0}, []byte{0, 138})
	for name, tt := range map[string]struct {
		key        any
		usage      x509.KeyUsage
		extensions []pkix.Extension
		code       string
	}{
		"RSA enciphers":              {rsa2048, x509.KeyUsageKeyEncipherment, nil, ""},
		"RSA without key usage":      {rsa2048, 0, nil, ""},
		"RSA agrees":                 {rsa2048, x509.KeyUsageKeyAgreement, nil, ek.CodeNotEKCertificate},
		"RSA signs":                  {rsa2048, x509.KeyUsageDigitalSignature, nil, ek.CodeNotEKCertificate},
		"RSA signs and enciphers":    {rsa2048, x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment, nil, ""},
		"RSA signs certificates":     {rsa2048, x509.KeyUsageKeyEncipherment | x509.KeyUsageCertSign, nil, ek.CodeNotEKCertificate},
		"RSA signs CRLs":             {rsa2048, x509.KeyUsageKeyEncipherment | x509.KeyUsageCRLSign, nil, ek.CodeNotEKCertificate},
		"ECC agrees":                 {p256, x509.KeyUsageKeyAgreement, nil, ""},
		"ECC enciphers, as of old":   {p256, x509.KeyUsageKeyEncipherment, nil, ""},
		"ECC signs":                  {p256, x509.KeyUsageDigitalSignature, nil, ek.CodeNotEKCertificate},
		"critical attributes":        {p256, x509.KeyUsageKeyAgreement, attributes(true, good), ""},
		"critical, malformed":        {p256, x509.KeyUsageKeyAgreement, attributes(true, []byte{0x30, 1}), ek.CodeMalformed},
		"critical, empty":            {p256, x509.KeyUsageKeyAgreement, attributes(true, []byte{0x30, 0}), ek.CodeMalformed},
		"malformed but not critical": {p256, x509.KeyUsageKeyAgreement, attributes(false, []byte{0x30, 1}), ""},
	} {
		template := ekTemplate()
		template.KeyUsage, template.ExtraExtensions = tt.usage, append(template.ExtraExtensions, tt.extensions...)
		_, err := roots.Verify(root.sign(t, template, tt.key), now)
		wantCode(t, name, err, tt.code)
	}
}

func FuzzFacts(f *testing.F) {
	f.Add(names(tlv(0x31, tcgAttribute(1, 0x0c, "id:494E5443"))), specification([]byte{0}, []byte{0, 138}))
	f.Add(directoryName, []byte{0x30, 0})
	f.Fuzz(func(t *testing.T, altName, attributes []byte) {
		facts := ek.ReadFacts(&x509.Certificate{Extensions: []pkix.Extension{
			{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: altName}, {Id: asn1.ObjectIdentifier{2, 5, 29, 9}, Value: attributes},
		}})
		for _, text := range []string{facts.Manufacturer, facts.ManufacturerID, facts.Model, facts.Version} {
			if len(text) > 64 || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) {
				t.Errorf("text %q", text)
			}
		}
	})
}
