package attest_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"troth/attest"
)

func hasCode(t *testing.T, err error, code string) {
	t.Helper()
	var e *attest.Error
	if !errors.As(err, &e) || e.Code() != code {
		t.Errorf("error %v, want code %s", err, code)
		return
	}
	provoke(code)
}

// TestAttack_K1_NameCoversWholePublic: a name over less than the whole public
// area would let a key with other attributes pass for the one that was activated.
func TestAttack_K1_NameCoversWholePublic(t *testing.T) {
	key := newECC(t, elliptic.P256())
	public := eccPublic(&key.PublicKey, tpm2.TPMECCNistP256, tpm2.TPMAlgSHA256)
	name, err := attest.CheckAK(tpm2.Marshal(public))
	if err != nil {
		t.Fatal(err)
	}
	want, err := tpm2.ObjectName(&public)
	if err != nil || !bytes.Equal(name, want.Buffer) {
		t.Errorf("name %x, go-tpm says %x, %v", name, want.Buffer, err)
	}
	public.ObjectAttributes.NoDA = true
	public.AuthPolicy.Buffer = make([]byte, 32)
	other, err := attest.CheckAK(tpm2.Marshal(public))
	if err != nil || bytes.Equal(name, other) {
		t.Errorf("name does not change with attributes and policy: %v", err)
	}
	_, err = attest.CheckAK(append(tpm2.Marshal(public), 0))
	hasCode(t, err, attest.CodeAKMalformed)
	public.NameAlg = tpm2.TPMAlgSHA1
	_, err = attest.CheckAK(tpm2.Marshal(public))
	hasCode(t, err, attest.CodeAKType)
}

func TestAttack_K4_AttributesAndScheme(t *testing.T) {
	d := booted(t)
	for name, tt := range map[string]struct {
		change func(*tpm2.TPMTPublic)
		code   string
	}{
		"not restricted":         {func(p *tpm2.TPMTPublic) { p.ObjectAttributes.Restricted = false }, attest.CodeAKAttributes},
		"not for signing":        {func(p *tpm2.TPMTPublic) { p.ObjectAttributes.SignEncrypt = false }, attest.CodeAKAttributes},
		"decrypts":               {func(p *tpm2.TPMTPublic) { p.ObjectAttributes.Decrypt = true }, attest.CodeAKAttributes},
		"not fixedTPM":           {func(p *tpm2.TPMTPublic) { p.ObjectAttributes.FixedTPM = false }, attest.CodeAKAttributes},
		"not fixedParent":        {func(p *tpm2.TPMTPublic) { p.ObjectAttributes.FixedParent = false }, attest.CodeAKAttributes},
		"imported":               {func(p *tpm2.TPMTPublic) { p.ObjectAttributes.SensitiveDataOrigin = false }, attest.CodeAKAttributes},
		"without userWithAuth":   {func(p *tpm2.TPMTPublic) { p.ObjectAttributes.UserWithAuth = false }, attest.CodeAKAttributes},
		"no scheme":              {func(p *tpm2.TPMTPublic) { eccDetail(p).Scheme = tpm2.TPMTECCScheme{} }, attest.CodeAKScheme},
		"SHA-1":                  {func(p *tpm2.TPMTPublic) { pinECDSA(p, tpm2.TPMAlgSHA1) }, attest.CodeAKScheme},
		"SHA-512, never pinned":  {func(p *tpm2.TPMTPublic) { pinECDSA(p, tpm2.TPMAlgSHA512) }, attest.CodeAKScheme},
		"a hash that is no hash": {func(p *tpm2.TPMTPublic) { pinECDSA(p, tpm2.TPMAlgNull) }, attest.CodeAKScheme},
		"BN curve":               {func(p *tpm2.TPMTPublic) { eccDetail(p).CurveID = tpm2.TPMECCBNP256 }, attest.CodeAKType},
	} {
		t.Run(name, func(t *testing.T) {
			public := eccPublic(&d.ak.PublicKey, tpm2.TPMECCNistP256, tpm2.TPMAlgSHA256)
			tt.change(&public)
			raw := tpm2.Marshal(public)
			_, err := attest.CheckAK(raw)
			hasCode(t, err, tt.code)
			e := d.evidence(t)
			e.AK = raw
			refused(t, attest.Appraise(e, d.want()), tt.code)
		})
	}
}

func eccDetail(p *tpm2.TPMTPublic) *tpm2.TPMSECCParms {
	d, err := p.Parameters.ECCDetail()
	if err != nil {
		panic(err)
	}
	return d
}

func pinECDSA(p *tpm2.TPMTPublic, hash tpm2.TPMAlgID) {
	eccDetail(p).Scheme = tpm2.TPMTECCScheme{Scheme: tpm2.TPMAlgECDSA,
		Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgECDSA, &tpm2.TPMSSigSchemeECDSA{HashAlg: hash})}
}

func TestAttack_K4_RSAExponentAndSize(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*tpm2.TPMSRSAParms){
		"exponent 3":     func(p *tpm2.TPMSRSAParms) { p.Exponent = 3 },
		"stated larger":  func(p *tpm2.TPMSRSAParms) { p.KeyBits = 3072 },
		"stated smaller": func(p *tpm2.TPMSRSAParms) { p.KeyBits = 1024 },
	} {
		t.Run(name, func(t *testing.T) {
			public := rsaPublic(&key.PublicKey, tpm2.TPMAlgRSASSA, tpm2.TPMAlgSHA256)
			detail, err := public.Parameters.RSADetail()
			if err != nil {
				t.Fatal(err)
			}
			change(detail)
			_, err = attest.CheckAK(tpm2.Marshal(public))
			hasCode(t, err, attest.CodeAKType)
		})
	}
}

// certified is a TLS key and its certification.
type certified struct {
	ak, tls              *ecdsa.PrivateKey
	public               tpm2.TPMTPublic
	info                 tpm2.TPMSCertifyInfo
	attested             tpm2.TPMSAttest
	akPublic, qualifying []byte
}

func newCertified(t *testing.T) *certified {
	t.Helper()
	c := &certified{ak: newECC(t, elliptic.P256()), tls: newECC(t, elliptic.P256()), qualifying: []byte("certify this")}
	c.akPublic = tpm2.Marshal(eccPublic(&c.ak.PublicKey, tpm2.TPMECCNistP256, tpm2.TPMAlgSHA256))
	c.public = eccPublic(&c.tls.PublicKey, tpm2.TPMECCNistP256, tpm2.TPMAlgSHA256)
	c.public.ObjectAttributes.Restricted = false
	c.attested = tpm2.TPMSAttest{Magic: tpm2.TPMGeneratedValue, Type: tpm2.TPMSTAttestCertify,
		ExtraData: tpm2.TPM2BData{Buffer: c.qualifying}}
	return c
}

// check names the key as it now is, signs, and checks.
func (c *certified) check(t *testing.T) error {
	t.Helper()
	if c.info.Name.Buffer == nil {
		name, err := tpm2.ObjectName(&c.public)
		if err != nil {
			t.Fatal(err)
		}
		c.info.Name = *name
	}
	if c.info.QualifiedName.Buffer == nil {
		c.info.QualifiedName.Buffer = append([]byte{0, 0x0b}, hashed("sha256", []byte("parent"), c.info.Name.Buffer)...)
	}
	if c.attested.Type == tpm2.TPMSTAttestCertify {
		c.attested.Attested = tpm2.NewTPMUAttest(tpm2.TPMSTAttestCertify, &c.info)
	}
	raw := tpm2.Marshal(c.attested)
	key, err := attest.CheckCertify(c.akPublic, tpm2.Marshal(c.public), raw, sign(t, c.ak, raw), []byte("certify this"))
	if err == nil && !c.tls.PublicKey.Equal(key) {
		t.Error("CheckCertify returned another key")
	}
	return err
}

func TestAttack_K6_CertifiedKey(t *testing.T) {
	if err := newCertified(t).check(t); err != nil {
		t.Fatalf("proper certification refused: %v", err)
	}
	open := newCertified(t)
	eccDetail(&open.public).Scheme = tpm2.TPMTECCScheme{}
	if err := open.check(t); err != nil {
		t.Fatalf("key with an open scheme refused: %v", err)
	}
	p384 := newECC(t, elliptic.P384())
	for name, tt := range map[string]struct {
		change func(*certified)
		code   string
	}{
		"another AK":            {func(c *certified) { c.ak = newECC(t, elliptic.P256()) }, attest.CodeSignatureInvalid},
		"unrestricted AK":       {func(c *certified) { c.akPublic = tpm2.Marshal(c.public) }, attest.CodeAKAttributes},
		"other qualifying data": {func(c *certified) { c.attested.ExtraData.Buffer = []byte("certify that") }, attest.CodeNonceMismatch},
		"a quote":               {func(c *certified) { asQuote(&c.attested) }, attest.CodeCertifyType},
		"not generated":         {func(c *certified) { c.attested.Magic = 1 }, attest.CodeCertifyMagic},
		"name of another key": {func(c *certified) {
			c.info.Name.Buffer = append([]byte{0, 0x0b}, make([]byte, 32)...)
		}, attest.CodeCertifyName},
		"qualified name missing": {func(c *certified) { c.info.QualifiedName.Buffer = []byte{} }, attest.CodeCertifyName},
		"exportable":             {func(c *certified) { c.public.ObjectAttributes.FixedTPM = false }, attest.CodeTLSKeyAttributes},
		"duplicable":             {func(c *certified) { c.public.ObjectAttributes.FixedParent = false }, attest.CodeTLSKeyAttributes},
		"imported":               {func(c *certified) { c.public.ObjectAttributes.SensitiveDataOrigin = false }, attest.CodeTLSKeyAttributes},
		"restricted":             {func(c *certified) { c.public.ObjectAttributes.Restricted = true }, attest.CodeTLSKeyAttributes},
		"decrypts":               {func(c *certified) { c.public.ObjectAttributes.Decrypt = true }, attest.CodeTLSKeyAttributes},
		"SHA-384 pinned":         {func(c *certified) { pinECDSA(&c.public, tpm2.TPMAlgSHA384) }, attest.CodeTLSKeyType},
		"P-384": {func(c *certified) {
			c.public = eccPublic(&p384.PublicKey, tpm2.TPMECCNistP384, tpm2.TPMAlgSHA384)
			c.public.ObjectAttributes.Restricted = false
		}, attest.CodeTLSKeyType},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCertified(t)
			tt.change(c)
			hasCode(t, c.check(t), tt.code)
		})
	}
	_, err := attest.CheckCertify(nil, nil, nil, nil, nil)
	hasCode(t, err, attest.CodeNonceMissing)
}

func asQuote(a *tpm2.TPMSAttest) {
	a.Type = tpm2.TPMSTAttestQuote
	a.Attested = tpm2.NewTPMUAttest(tpm2.TPMSTAttestQuote, &tpm2.TPMSQuoteInfo{})
}

func TestMakeCredentialRefuses(t *testing.T) {
	key := newECC(t, elliptic.P256())
	name, err := attest.CheckAK(tpm2.Marshal(eccPublic(&key.PublicKey, tpm2.TPMECCNistP256, tpm2.TPMAlgSHA256)))
	if err != nil {
		t.Fatal(err)
	}
	secret := []byte("0123456789abcdef0123456789abcdef")
	ek := tpm2.ECCEKTemplate
	ek.Unique = eccPublic(&key.PublicKey, tpm2.TPMECCNistP256, tpm2.TPMAlgSHA256).Unique
	good := tpm2.Marshal(ek)
	if _, _, err := attest.MakeCredential(rand.Reader, good, name, secret); err != nil {
		t.Fatal(err)
	}
	signing := ek
	signing.ObjectAttributes.SignEncrypt = true
	for label, tt := range map[string]struct {
		ek, name, secret []byte
		code             string
	}{
		"malformed EK":  {good[:40], name, secret, attest.CodeEKMalformed},
		"an AK as EK":   {tpm2.Marshal(eccPublic(&key.PublicKey, tpm2.TPMECCNistP256, tpm2.TPMAlgSHA256)), name, secret, attest.CodeEKUnusable},
		"a signing EK":  {tpm2.Marshal(signing), name, secret, attest.CodeEKUnusable},
		"short secret":  {good, name, secret[:8], attest.CodeCredentialInput},
		"long secret":   {good, name, append(secret, 1), attest.CodeCredentialInput},
		"handle's name": {good, []byte{0x40, 0, 0, 1}, secret, attest.CodeCredentialInput},
		"no name":       {good, nil, secret, attest.CodeCredentialInput},
	} {
		t.Run(label, func(t *testing.T) {
			_, _, err := attest.MakeCredential(rand.Reader, tt.ek, tt.name, tt.secret)
			hasCode(t, err, tt.code)
			if err != nil && bytes.Contains([]byte(err.Error()), tt.secret[:8]) {
				t.Error("the error shows the secret")
			}
		})
	}
}
