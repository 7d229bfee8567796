package idevid

import (
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"strings"
	"unicode/utf8"
)

// Facts are what a certificate says about the device. The manufacturer says so if
// Verify accepts the certificate, and nobody otherwise. The texts are the
// certificate's, cut to 64 characters, with anything but printable ASCII replaced
// by "?"; they still are a stranger's words for HTML or a spreadsheet.
type Facts struct {
	// Serial is the device's serial number: that of the subject (IEEE 802.1AR), or
	// else the hardware's serial number in a hardwareModuleName (RFC 4108), as text
	// if it is one, and otherwise hexadecimal.
	Serial string `json:"serial,omitempty"`
	// Model is the platform's model in the subjectAltName (TCG attribute
	// platformModel), or else the subject's common name.
	Model string `json:"model,omitempty"`
}

// maxText bounds a text of Facts, in characters.
const maxText = 64

// ReadFacts reads a certificate's subject and subjectAltName. What is missing or
// malformed stays empty.
func ReadFacts(cert *x509.Certificate) Facts {
	f := Facts{Serial: harmless(cert.Subject.SerialNumber)}
	for _, ext := range cert.Extensions {
		if ext.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 17}) {
			f.readAltName(ext.Value)
		}
	}
	if f.Model == "" {
		f.Model = harmless(cert.Subject.CommonName)
	}
	return f
}

func (f *Facts) readAltName(der []byte) {
	const otherName, directoryName = 0, 4
	var names []asn1.RawValue
	if rest, err := asn1.Unmarshal(der, &names); err != nil || len(rest) != 0 {
		return
	}
	for _, n := range names {
		switch {
		case n.Class != asn1.ClassContextSpecific:
		case n.Tag == otherName && f.Serial == "":
			f.Serial = moduleSerial(n.FullBytes)
		case n.Tag == directoryName && f.Model == "":
			f.Model = platformModel(n.Bytes)
		}
	}
}

// moduleSerial reads the serial number of a hardwareModuleName (RFC 4108, 5).
func moduleSerial(der []byte) string {
	var name struct {
		Type  asn1.ObjectIdentifier
		Value struct {
			Type   asn1.ObjectIdentifier
			Serial []byte
		} `asn1:"explicit,tag:0"`
	}
	rest, err := asn1.UnmarshalWithParams(der, &name, "tag:0")
	if err != nil || len(rest) != 0 || !name.Type.Equal(asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 8, 4}) {
		return ""
	}
	if text := string(name.Value.Serial); utf8.ValidString(text) && text != "" && harmless(text) == text {
		return text
	}
	return harmless(hex.EncodeToString(name.Value.Serial))
}

type attribute struct {
	Type  asn1.ObjectIdentifier
	Value asn1.RawValue
}

type relativeNameSET []attribute

// platformModel reads the TCG's attribute of that name ("Platform Certificate
// Profile", 3.1.2).
func platformModel(der []byte) string {
	var name []relativeNameSET
	if rest, err := asn1.Unmarshal(der, &name); err != nil || len(rest) != 0 {
		return ""
	}
	for _, relative := range name {
		for _, a := range relative {
			isText := a.Value.Class == asn1.ClassUniversal && (a.Value.Tag == asn1.TagUTF8String || a.Value.Tag == asn1.TagPrintableString)
			if a.Type.Equal(asn1.ObjectIdentifier{2, 23, 133, 5, 1, 4}) && isText {
				return harmless(string(a.Value.Bytes))
			}
		}
	}
	return ""
}

func harmless(s string) string {
	var b strings.Builder
	for _, r := range s {
		if b.Len() == maxText {
			break
		}
		if r < ' ' || r > '~' {
			r = '?'
		}
		b.WriteRune(r)
	}
	return strings.TrimSpace(b.String())
}
