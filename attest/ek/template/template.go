package template

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/google/go-tpm/tpm2"
)

// ID names a template as the specification does.
type ID string

// The templates for RSA-2048, RSA-3072, ECC P-256 and ECC P-384. High range keys
// may be used with their (empty) password besides their policy; low range keys
// with their policy only.
const (
	L1 ID = "L-1" // RSA-2048, low range (B.3.3)
	L2 ID = "L-2" // ECC P-256, low range (B.3.4)
	H1 ID = "H-1" // RSA-2048, high range (B.4.4)
	H2 ID = "H-2" // ECC P-256, high range (B.4.5)
	H3 ID = "H-3" // ECC P-384, high range (B.4.6)
	H6 ID = "H-6" // RSA-3072, high range (B.4.9)
)

// Template is a template and where its things are in a TPM.
type Template struct {
	ID      ID
	Type    tpm2.TPMIAlgPublic // RSA or ECC
	Curve   tpm2.TPMECCCurve   // of ECC
	Bits    int                // of the modulus or of a coordinate; a multiple of 8
	NameAlg tpm2.TPMIAlgHash   // also of the policy
	AESBits int                // of the symmetric key that protects children
	High    bool               // whether in the high range
	// NV indices (2.2.1.4, 2.2.1.5). Nonce is 0 in the high range, which has
	// none.
	Certificate, Nonce, Stored tpm2.TPMHandle
}

// All lists the templates in the order in which a device should prefer them:
// the low range, which everybody knows, then those whose certificate's key
// leaves no doubt about the template, then the two that it leaves in doubt.
func All() []Template {
	return []Template{
		{L1, tpm2.TPMAlgRSA, 0, 2048, tpm2.TPMAlgSHA256, 128, false, 0x01c00002, 0x01c00003, 0x01c00004},
		{L2, tpm2.TPMAlgECC, tpm2.TPMECCNistP256, 256, tpm2.TPMAlgSHA256, 128, false, 0x01c0000a, 0x01c0000b, 0x01c0000c},
		{H3, tpm2.TPMAlgECC, tpm2.TPMECCNistP384, 384, tpm2.TPMAlgSHA384, 256, true, 0x01c00016, 0, 0x01c00017},
		{H6, tpm2.TPMAlgRSA, 0, 3072, tpm2.TPMAlgSHA384, 256, true, 0x01c0001c, 0, 0x01c0001d},
		{H1, tpm2.TPMAlgRSA, 0, 2048, tpm2.TPMAlgSHA256, 128, true, 0x01c00012, 0, 0x01c00013},
		{H2, tpm2.TPMAlgECC, tpm2.TPMECCNistP256, 256, tpm2.TPMAlgSHA256, 128, true, 0x01c00014, 0, 0x01c00015},
	}
}

// Find returns the template with an ID.
func Find(id ID) (Template, bool) {
	all := All()
	i := slices.IndexFunc(all, func(t Template) bool { return t.ID == id })
	if i < 0 {
		return Template{}, false
	}
	return all[i], true
}

// Bytes is the size of the modulus or of a coordinate.
func (t Template) Bytes() int { return t.Bits / 8 }

// Public is the public area to make the EK from. nonce is what the manufacturer
// left in the NV index for it, nil if nothing: it stands at the beginning of the
// modulus or of x, with zeros up to the size of the key (2.2.1.4). The high
// range knows no nonce.
func (t Template) Public(nonce []byte) (tpm2.TPMTPublic, error) {
	if len(nonce) > 0 && t.High {
		return tpm2.TPMTPublic{}, fmt.Errorf("EK template %s takes no nonce", t.ID)
	}
	if len(nonce) > t.Bytes() {
		return tpm2.TPMTPublic{}, fmt.Errorf("nonce of %d bytes is longer than the %d of EK template %s", len(nonce), t.Bytes(), t.ID)
	}
	if t.High {
		return t.public(nil, nil)
	}
	first := make([]byte, t.Bytes())
	copy(first, nonce)
	return t.public(first, make([]byte, t.Bytes()))
}

// public is the template with a unique field; y only counts for ECC.
func (t Template) public(x, y []byte) (tpm2.TPMTPublic, error) {
	policyOf := PolicyA
	if t.High {
		policyOf = PolicyB
	}
	policy, err := policyOf(t.NameAlg)
	if err != nil {
		return tpm2.TPMTPublic{}, err
	}
	pub := tpm2.TPMTPublic{
		Type:    t.Type,
		NameAlg: t.NameAlg,
		ObjectAttributes: tpm2.TPMAObject{
			FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true,
			UserWithAuth: t.High, AdminWithPolicy: true, Restricted: true, Decrypt: true,
		},
		AuthPolicy: tpm2.TPM2BDigest{Buffer: policy},
	}
	aes := tpm2.TPMTSymDefObject{
		Algorithm: tpm2.TPMAlgAES,
		KeyBits:   tpm2.NewTPMUSymKeyBits(tpm2.TPMAlgAES, tpm2.TPMKeyBits(t.AESBits)),
		Mode:      tpm2.NewTPMUSymMode(tpm2.TPMAlgAES, tpm2.TPMAlgCFB),
	}
	if t.Type == tpm2.TPMAlgRSA {
		pub.Parameters = tpm2.NewTPMUPublicParms(t.Type, &tpm2.TPMSRSAParms{Symmetric: aes, KeyBits: tpm2.TPMKeyBits(t.Bits)})
		pub.Unique = tpm2.NewTPMUPublicID(t.Type, &tpm2.TPM2BPublicKeyRSA{Buffer: x})
		return pub, nil
	}
	pub.Parameters = tpm2.NewTPMUPublicParms(t.Type, &tpm2.TPMSECCParms{Symmetric: aes, CurveID: t.Curve})
	pub.Unique = tpm2.NewTPMUPublicID(t.Type, &tpm2.TPMSECCPoint{
		X: tpm2.TPM2BECCParameter{Buffer: x}, Y: tpm2.TPM2BECCParameter{Buffer: y},
	})
	return pub, nil
}

// Prefix is the TPMT_PUBLIC of every key of the template up to its unique field,
// which is the key. It is the caller's to write to.
func (t Template) Prefix() ([]byte, error) {
	if known, ok := prefixes()[t]; ok {
		return bytes.Clone(known), nil
	}
	return t.prefix()
}

// prefixes are those of All, made once: a verifier compares every EK with each.
var prefixes = sync.OnceValue(func() map[Template][]byte {
	made := map[Template][]byte{}
	for _, t := range All() {
		if p, err := t.prefix(); err == nil {
			made[t] = p
		}
	}
	return made
})

func (t Template) prefix() ([]byte, error) {
	pub, err := t.public(nil, nil)
	if err != nil {
		return nil, err
	}
	all := tpm2.Marshal(pub)
	sizes := 2
	if t.Type == tpm2.TPMAlgECC {
		sizes = 4
	}
	return all[:len(all)-sizes], nil
}

// FromStored is the public area to make the EK from where the manufacturer left
// a template in NV memory (TPMT_PUBLIC). It may differ from the template in its
// unique field only: with other attributes or another policy, a key could be
// used by anybody, and no verifier would rebuild it. A unique field longer than
// the key is refused, and so is anything that follows it.
func (t Template) FromStored(stored []byte) (tpm2.TPMTPublic, error) {
	const most = 1024
	if len(stored) > most {
		return tpm2.TPMTPublic{}, fmt.Errorf("stored EK template has %d bytes, more than %d", len(stored), most)
	}
	pub, err := tpm2.Unmarshal[tpm2.TPMTPublic](stored)
	if err != nil {
		return tpm2.TPMTPublic{}, fmt.Errorf("decode stored EK template: %w", err)
	}
	if pub.Type != t.Type {
		return tpm2.TPMTPublic{}, fmt.Errorf("stored EK template is not %s", t.ID)
	}
	x, y, err := uniqueOf(pub)
	if err != nil {
		return tpm2.TPMTPublic{}, fmt.Errorf("decode stored EK template: %w", err)
	}
	if len(x) > t.Bytes() || len(y) > t.Bytes() {
		return tpm2.TPMTPublic{}, errors.New("unique field of stored EK template is longer than the key")
	}
	want, err := t.public(x, y)
	if err != nil {
		return tpm2.TPMTPublic{}, err
	}
	if !slices.Equal(tpm2.Marshal(want), stored) {
		return tpm2.TPMTPublic{}, fmt.Errorf("stored EK template differs from %s in more than its unique field", t.ID)
	}
	return want, nil
}

func uniqueOf(pub *tpm2.TPMTPublic) (x, y []byte, err error) {
	if pub.Type == tpm2.TPMAlgRSA {
		n, err := pub.Unique.RSA()
		if err != nil {
			return nil, nil, err
		}
		return n.Buffer, nil, nil
	}
	point, err := pub.Unique.ECC()
	if err != nil {
		return nil, nil, err
	}
	return point.X.Buffer, point.Y.Buffer, nil
}
