package ca

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// maxCSR bounds a CSR in bytes. A P-256 request with one URI is about 300.
const maxCSR = 4096

// Codes of CSRError. They are stable.
const (
	CodeMalformed   = "csr_malformed"    // not one DER PKCS #10 request
	CodeSignature   = "csr_signature"    // not signed by its own key with ECDSA and SHA-256
	CodeKeyMismatch = "csr_key_mismatch" // the key is not the certified key
	CodeKeyType     = "csr_key_type"     // the key is not ECDSA P-256
	CodeNames       = "csr_names"        // names something besides the device's URI
	CodeURI         = "csr_uri"          // the URI is missing, repeated, or another
	CodeExtension   = "csr_extension"    // asks for an extension besides the names, such as CA
	CodeLifetime    = "csr_lifetime"     // the lifetime asked for is negative
)

// CSRError says why CheckRequest refused a request. It matches ErrRefused.
type CSRError struct {
	Code   string // one of the Code constants
	Reason string // a sentence fragment for people, free of key material
}

// Error implements error.
func (e *CSRError) Error() string {
	return fmt.Sprintf("check certificate request: %s (%s)", e.Reason, e.Code)
}

// Is reports that a wrong request is a refused one.
func (e *CSRError) Is(target error) bool { return target == ErrRefused }

func refuse(code, format string, args ...any) error {
	return &CSRError{Code: code, Reason: fmt.Sprintf(format, args...)}
}

// CheckRequest decides whether a request may be put before an issuer
// (SECURITY K6, S8). It is stricter than a CA would be, since the only
// legitimate client is Troth's own agent: the CSR must be signed by its own
// key; that key must be ECDSA P-256 and equal r.PublicKey; its subject must be
// empty or nothing but CN=ID; the subject alternative names must be exactly the
// one URI r.URI, with no other name of any kind; and nothing else may be
// requested. A refusal is a *CSRError.
func CheckRequest(r Request) error {
	_, id, err := SplitDeviceURI(r.URI)
	if err != nil {
		return refuse(CodeURI, "the device's URI is not usable: %v", err)
	}
	if r.Lifetime < 0 {
		return refuse(CodeLifetime, "lifetime %v is negative", r.Lifetime)
	}
	if r.checked != nil {
		if now, err := markOf(r); err == nil && now == *r.checked {
			return nil
		}
	}
	if len(r.CSR) > maxCSR {
		return refuse(CodeMalformed, "%d bytes are more than %d", len(r.CSR), maxCSR)
	}
	csr, err := x509.ParseCertificateRequest(r.CSR)
	if err != nil {
		return refuse(CodeMalformed, "not a PKCS #10 request: %v", err)
	}
	if err := checkKey(csr, r); err != nil {
		return err
	}
	if err := checkAttributes(csr); err != nil {
		return err
	}
	return checkNames(csr, r.URI, id)
}

// Checked is r, after CheckRequest, with a note that it passed: a caller that
// refuses early and the issuer that it then asks need not both verify the CSR. The
// note is of the CSR, the key and the URI, and worth nothing with any others.
func (r Request) Checked() (Request, error) {
	if err := CheckRequest(r); err != nil {
		return Request{}, err
	}
	passed, err := markOf(r)
	if err != nil {
		return Request{}, refuse(CodeKeyType, "key cannot be encoded: %v", err)
	}
	r.checked = &passed
	return r, nil
}

// mark is a SHA-256 digest over all that CheckRequest verifies about a CSR.
type mark [sha256.Size]byte

func markOf(r Request) (mark, error) {
	key, err := x509.MarshalPKIXPublicKey(r.PublicKey)
	if err != nil {
		return mark{}, err
	}
	h := sha256.New()
	for _, part := range [][]byte{r.CSR, key, []byte(r.URI)} {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
		h.Write(part)
	}
	return mark(h.Sum(nil)), nil
}

// checkKey looks at the kind of key before it verifies anything with it, so
// that no foreign key chooses the algorithm or the cost.
func checkKey(csr *x509.CertificateRequest, r Request) error {
	key, ok := csr.PublicKey.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() {
		return refuse(CodeKeyType, "key is not ECDSA P-256")
	}
	if csr.SignatureAlgorithm != x509.ECDSAWithSHA256 {
		return refuse(CodeSignature, "signed with %v, not ECDSA with SHA-256", csr.SignatureAlgorithm)
	}
	certified, ok := r.PublicKey.(*ecdsa.PublicKey)
	if !ok || certified == nil || !key.Equal(certified) {
		return refuse(CodeKeyMismatch, "key is not the certified key")
	}
	// One key has one encoding here: what is recorded about the certified key
	// (its digest in the quote's qualifying data) must hold for the CSR's.
	canonical, err := x509.MarshalPKIXPublicKey(certified)
	if err != nil || !bytes.Equal(canonical, csr.RawSubjectPublicKeyInfo) {
		return refuse(CodeKeyMismatch, "key is not encoded as the certified key")
	}
	if err := csr.CheckSignature(); err != nil {
		return refuse(CodeSignature, "not signed by its own key: %v", err)
	}
	return nil
}

// checkAttributes allows one attribute, an extension request, with one
// extension, the names.
func checkAttributes(csr *x509.CertificateRequest) error {
	ids, err := attributeTypes(csr.RawTBSCertificateRequest)
	if err != nil {
		return err
	}
	for i, id := range ids {
		if !id.Equal(oidExtensionRequest()) {
			return refuse(CodeExtension, "attribute %v is not accepted", id)
		}
		if i > 0 {
			return refuse(CodeExtension, "more than one extension request")
		}
	}
	for i, extension := range csr.Extensions {
		if !extension.Id.Equal(oidSubjectAltName()) {
			return refuse(CodeExtension, "extension %v is not accepted", extension.Id)
		}
		if i > 0 {
			return refuse(CodeExtension, "subject alternative names are requested twice")
		}
	}
	return nil
}

// attributeTypes lists the attributes of a CertificationRequestInfo (RFC 2986,
// section 4.1). crypto/x509 keeps only those it understands.
func attributeTypes(tbs []byte) ([]asn1.ObjectIdentifier, error) {
	input := cryptobyte.String(tbs)
	var info, attributes cryptobyte.String
	present := false
	if !input.ReadASN1(&info, casn1.SEQUENCE) ||
		!info.SkipASN1(casn1.INTEGER) || // version
		!info.SkipASN1(casn1.SEQUENCE) || // subject
		!info.SkipASN1(casn1.SEQUENCE) || // subjectPublicKeyInfo
		!info.ReadOptionalASN1(&attributes, &present, casn1.Tag(0).ContextSpecific().Constructed()) ||
		!info.Empty() {
		return nil, refuse(CodeMalformed, "attributes cannot be read")
	}
	var ids []asn1.ObjectIdentifier
	for !attributes.Empty() {
		var attribute cryptobyte.String
		var id asn1.ObjectIdentifier
		if !attributes.ReadASN1(&attribute, casn1.SEQUENCE) || !attribute.ReadASN1ObjectIdentifier(&id) {
			return nil, refuse(CodeMalformed, "attributes cannot be read")
		}
		ids = append(ids, id)
	}
	return ids, nil
}

func checkNames(csr *x509.CertificateRequest, uri, id string) error {
	if err := checkSubject(csr.RawSubject, id); err != nil {
		return refuse(CodeNames, "%v", err)
	}
	if len(csr.Extensions) == 0 {
		return refuse(CodeURI, "no subject alternative name is requested")
	}
	uris, others, err := generalNames(csr.Extensions[0].Value)
	if err != nil {
		return refuse(CodeMalformed, "%v", err)
	}
	if others > 0 {
		return refuse(CodeNames, "a name besides the device's URI is requested")
	}
	if len(uris) != 1 || uris[0] != uri {
		return refuse(CodeURI, "the URI requested is not the device's one")
	}
	return nil
}

// checkSubject accepts an empty Name, and the Name whose only part is CN=id. An
// empty one is the proper form, since the URI is the subject; CN=id helps where
// a tool shows nothing but the Name.
func checkSubject(raw []byte, id string) error {
	var name pkix.RDNSequence
	rest, err := asn1.Unmarshal(raw, &name)
	if err != nil || len(rest) != 0 {
		return errors.New("subject cannot be read")
	}
	if len(name) == 0 {
		return nil
	}
	if len(name) != 1 || len(name[0]) != 1 || !name[0][0].Type.Equal(oidCommonName()) || name[0][0].Value != id {
		return errors.New("subject is neither empty nor only CN=ID")
	}
	return nil
}
