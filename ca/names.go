package ca

import (
	"crypto/sha256"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// The context-specific tag of uniformResourceIdentifier in GeneralName
// (RFC 5280, section 4.2.1.6).
const tagURI = casn1.Tag(6 | 0x80)

func oidCommonName() asn1.ObjectIdentifier     { return asn1.ObjectIdentifier{2, 5, 4, 3} }
func oidSubjectAltName() asn1.ObjectIdentifier { return asn1.ObjectIdentifier{2, 5, 29, 17} }
func oidExtensionRequest() asn1.ObjectIdentifier {
	return asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 14}
}

// DeviceURI is the subject of the device id in a trust domain.
func DeviceURI(trustDomain, id string) string {
	return "spiffe://" + trustDomain + "/device/" + id
}

// SplitDeviceURI takes a device's URI apart. It accepts exactly what DeviceURI
// makes of a valid trust domain and a device id: any other spelling would be a
// second name for the same device, or a name for something else.
func SplitDeviceURI(uri string) (trustDomain, id string, err error) {
	parsed, err := spiffeid.FromString(uri)
	if err != nil {
		return "", "", fmt.Errorf("parse device URI: %w", err)
	}
	id, ok := strings.CutPrefix(parsed.Path(), "/device/")
	if !ok {
		return "", "", errors.New("parse device URI: path is not /device/ID")
	}
	if raw, err := hex.DecodeString(id); err != nil || len(raw) != sha256.Size || id != strings.ToLower(id) {
		return "", "", errors.New("parse device URI: device id is not 64 lower-case hexadecimal digits")
	}
	trustDomain = parsed.TrustDomain().Name()
	if DeviceURI(trustDomain, id) != uri {
		return "", "", errors.New("parse device URI: not in canonical form")
	}
	return trustDomain, id, nil
}

// generalNames splits the value of a subjectAltName extension. crypto/x509
// passes over the kinds of name that it has no field for (directory names,
// other names, registered ids); here every name counts.
func generalNames(san []byte) (uris []string, others int, err error) {
	input := cryptobyte.String(san)
	var names cryptobyte.String
	if !input.ReadASN1(&names, casn1.SEQUENCE) || !input.Empty() {
		return nil, 0, errors.New("parse subject alternative names: not a sequence")
	}
	for !names.Empty() {
		var name cryptobyte.String
		var tag casn1.Tag
		if !names.ReadAnyASN1(&name, &tag) {
			return nil, 0, errors.New("parse subject alternative names: truncated")
		}
		if tag == tagURI {
			uris = append(uris, string(name))
		} else {
			others++
		}
	}
	return uris, others, nil
}
