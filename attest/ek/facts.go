package ek

import (
	"crypto/x509"
	"encoding/asn1"
	"encoding/binary"
	"encoding/hex"
	"strings"
	"unicode/utf16"
)

// Facts are what an EK certificate says about its TPM. The manufacturer says so
// if Roots.Verify accepts the certificate, and nobody otherwise. The texts are
// the certificate's, cut to 64 characters, with anything but printable ASCII
// replaced by "?"; they still are a stranger's words for HTML or a spreadsheet.
type Facts struct {
	// Manufacturer is the TCG's vendor id as text ("INTC", "IFX"), empty if the
	// certificate has none or one that is no text, as swtpm's.
	Manufacturer string `json:"manufacturer,omitempty"`
	// ManufacturerID is the attribute as it stands, as "id:494E5443".
	ManufacturerID string `json:"manufacturer_id,omitempty"`
	Model          string `json:"model,omitempty"`
	Version        string `json:"version,omitempty"` // of the TPM's firmware, as "id:00070055"
	// Specification is the TPM specification that the TPM follows, nil if the
	// certificate does not say.
	Specification *Specification `json:"specification,omitempty"`
}

// Specification is a version of the TPM library specification.
type Specification struct {
	Family   string `json:"family"` // "2.0"
	Level    int    `json:"level"`
	Revision int    `json:"revision"` // 138 stands for 1.38
}

// maxText bounds a text of Facts, in characters.
const maxText = 64

// ReadFacts reads the TCG's attributes of an EK certificate (EK Credential
// Profile, 3.2.9 and 3.2.11): tpmManufacturer, tpmModel and tpmVersion in the
// subjectAltName or, as some have it, in the subject; tpmSpecification in the
// subjectDirectoryAttributes. What is missing or malformed stays empty.
func ReadFacts(cert *x509.Certificate) Facts {
	var f Facts
	for _, ext := range cert.Extensions {
		switch {
		case ext.Id.Equal(oidSubjectAltName()):
			f.readAltName(ext.Value)
		case ext.Id.Equal(oidSubjectDirectoryAttributes()):
			f.readDirectoryAttributes(ext.Value)
		}
	}
	f.readName(cert.RawSubject)
	f.Manufacturer = vendor(f.ManufacturerID)
	return f
}

func (f *Facts) readAltName(der []byte) {
	var names []asn1.RawValue
	if rest, err := asn1.Unmarshal(der, &names); err != nil || len(rest) != 0 {
		return
	}
	const directoryName = 4
	for _, n := range names {
		if n.Class == asn1.ClassContextSpecific && n.Tag == directoryName {
			f.readName(n.Bytes)
		}
	}
}

// attribute of a distinguished name. A relative name may hold several, and some
// manufacturers put all of theirs into one.
type attribute struct {
	Type  asn1.ObjectIdentifier
	Value asn1.RawValue
}

type relativeNameSET []attribute

// readName reads a distinguished name. The first value of an attribute counts.
func (f *Facts) readName(der []byte) {
	var name []relativeNameSET
	if rest, err := asn1.Unmarshal(der, &name); err != nil || len(rest) != 0 {
		return
	}
	for _, relative := range name {
		for _, a := range relative {
			var field *string
			switch {
			case a.Type.Equal(asn1.ObjectIdentifier{2, 23, 133, 2, 1}):
				field = &f.ManufacturerID
			case a.Type.Equal(asn1.ObjectIdentifier{2, 23, 133, 2, 2}):
				field = &f.Model
			case a.Type.Equal(asn1.ObjectIdentifier{2, 23, 133, 2, 3}):
				field = &f.Version
			}
			if field != nil && *field == "" {
				*field = text(a.Value)
			}
		}
	}
}

// directoryAttribute is an Attribute of X.501.
type directoryAttribute struct {
	Type   asn1.ObjectIdentifier
	Values []asn1.RawValue `asn1:"set"`
}

func directoryAttributes(der []byte) []directoryAttribute {
	var all []directoryAttribute
	if rest, err := asn1.Unmarshal(der, &all); err != nil || len(rest) != 0 {
		return nil
	}
	return all
}

func (f *Facts) readDirectoryAttributes(der []byte) {
	for _, a := range directoryAttributes(der) {
		if !a.Type.Equal(asn1.ObjectIdentifier{2, 23, 133, 2, 16}) || len(a.Values) != 1 || f.Specification != nil {
			continue
		}
		var s struct {
			Family          asn1.RawValue
			Level, Revision int
		}
		if rest, err := asn1.Unmarshal(a.Values[0].FullBytes, &s); err != nil || len(rest) != 0 {
			continue
		}
		if s.Level >= 0 && s.Revision >= 0 {
			f.Specification = &Specification{Family: text(s.Family), Level: s.Level, Revision: s.Revision}
		}
	}
}

// text is a string of any ASN.1 kind, made harmless.
func text(v asn1.RawValue) string {
	if v.Class != asn1.ClassUniversal || v.IsCompound {
		return ""
	}
	var s string
	switch v.Tag {
	case asn1.TagUTF8String, asn1.TagPrintableString, asn1.TagIA5String, asn1.TagT61String, asn1.TagNumericString, asn1.TagGeneralString, tagVisibleString:
		s = string(v.Bytes)
	case asn1.TagBMPString:
		units := make([]uint16, len(v.Bytes)/2)
		for i := range units {
			units[i] = binary.BigEndian.Uint16(v.Bytes[2*i:])
		}
		s = string(utf16.Decode(units))
	default:
		return ""
	}
	return harmless(s)
}

const tagVisibleString = 26 // encoding/asn1 has no name for it

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

// vendor decodes "id:" and eight hexadecimal digits: up to four characters,
// filled with zero bytes or spaces.
func vendor(id string) string {
	digits, ok := strings.CutPrefix(strings.ToLower(id), "id:")
	if !ok || len(digits) != 8 {
		return ""
	}
	raw, err := hex.DecodeString(digits)
	if err != nil {
		return ""
	}
	name := strings.TrimRight(string(raw), "\x00 ")
	for _, r := range name {
		if r < '!' || r > '~' {
			return ""
		}
	}
	return name
}
