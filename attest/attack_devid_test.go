package attest_test

import (
	"bytes"
	"crypto/elliptic"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"troth/attest"
)

// checkDevID is like check for a manufacturer's key.
func (c *certified) checkDevID(t *testing.T) error {
	t.Helper()
	name, err := tpm2.ObjectName(&c.public)
	if err != nil {
		t.Fatal(err)
	}
	switch c.attested.Type {
	case tpm2.TPMSTAttestCertify:
		if c.info.Name.Buffer == nil {
			c.info.Name = *name
		}
		c.info.QualifiedName.Buffer = append([]byte{0, 0x0b}, hashed("sha256", []byte("parent"), name.Buffer)...)
		c.attested.Attested = tpm2.NewTPMUAttest(tpm2.TPMSTAttestCertify, &c.info)
	case tpm2.TPMSTAttestCreation:
		created := tpm2.TPMSCreationInfo{ObjectName: *name, CreationHash: tpm2.TPM2BDigest{Buffer: make([]byte, 32)}}
		if c.info.Name.Buffer != nil {
			created.ObjectName = c.info.Name
		}
		c.attested.Attested = tpm2.NewTPMUAttest(tpm2.TPMSTAttestCreation, &created)
	}
	raw := tpm2.Marshal(c.attested)
	return attest.CheckDevIDCertify(c.akPublic, tpm2.Marshal(c.public), raw, sign(t, c.ak, raw), []byte("certify this"))
}

// A manufacturer's key counts where an attestation key certified it, or its
// creation, over this nonce.
func TestAttack_K6_ManufacturersKey(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*certified)
		code   string // empty: accepted
	}{
		"as it is":            {func(*certified) {}, ""},
		"restricted":          {func(c *certified) { c.public.ObjectAttributes.Restricted = true }, ""},
		"with a policy":       {func(c *certified) { c.public.ObjectAttributes.AdminWithPolicy = true }, ""},
		"replayed":            {func(c *certified) { c.attested.ExtraData.Buffer = []byte("certify that") }, attest.CodeNonceMismatch},
		"another key's":       {func(c *certified) { c.info.Name.Buffer = append([]byte{0, 0x0b}, make([]byte, 32)...) }, attest.CodeCertifyName},
		"from no TPM":         {func(c *certified) { c.attested.Magic = 1 }, attest.CodeCertifyMagic},
		"exportable":          {func(c *certified) { c.public.ObjectAttributes.FixedTPM = false }, attest.CodeDevIDKeyAttributes},
		"duplicable":          {func(c *certified) { c.public.ObjectAttributes.FixedParent = false }, attest.CodeDevIDKeyAttributes},
		"imported":            {func(c *certified) { c.public.ObjectAttributes.SensitiveDataOrigin = false }, attest.CodeDevIDKeyAttributes},
		"no signing key":      {func(c *certified) { c.public.ObjectAttributes.SignEncrypt = false }, attest.CodeDevIDKeyAttributes},
		"a decryption key":    {func(c *certified) { c.public.ObjectAttributes.Decrypt = true }, attest.CodeDevIDKeyAttributes},
		"of an unknown curve": {func(c *certified) { eccDetail(&c.public).CurveID = tpm2.TPMECCNistP521 }, attest.CodeDevIDKeyType},
	} {
		for how, typ := range map[string]tpm2.TPMST{"certified": tpm2.TPMSTAttestCertify, "created": tpm2.TPMSTAttestCreation} {
			t.Run(name+" "+how, func(t *testing.T) {
				c := newCertified(t)
				c.attested.Type = typ
				tt.change(c)
				err := c.checkDevID(t)
				if tt.code == "" {
					if err != nil {
						t.Error(err)
					}
					return
				}
				hasCode(t, err, tt.code)
			})
		}
	}
	t.Run("by another attestation key", func(t *testing.T) {
		c := newCertified(t)
		c.attested.Type = tpm2.TPMSTAttestCreation
		other := newECC(t, elliptic.P256())
		c.akPublic = tpm2.Marshal(eccPublic(&other.PublicKey, tpm2.TPMECCNistP256, tpm2.TPMAlgSHA256))
		hasCode(t, c.checkDevID(t), attest.CodeSignatureInvalid)
	})
	t.Run("a quote", func(t *testing.T) {
		c := newCertified(t)
		asQuote(&c.attested)
		hasCode(t, c.checkDevID(t), attest.CodeCertifyType)
	})
	// A creation says nothing of the TLS key's present: only TPM2_Certify does.
	t.Run("a creation for a TLS key", func(t *testing.T) {
		c := newCertified(t)
		c.attested.Type = tpm2.TPMSTAttestCreation
		c.attested.Attested = tpm2.NewTPMUAttest(tpm2.TPMSTAttestCreation, &tpm2.TPMSCreationInfo{})
		hasCode(t, c.check(t), attest.CodeCertifyType)
	})
	c := newCertified(t)
	public := tpm2.Marshal(c.public)
	for name, bad := range map[string][]byte{
		"nothing": nil, "cut": public[:len(public)-1], "and a byte": append(bytes.Clone(public), 0), "too long": make([]byte, 5<<10),
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := attest.CheckDevIDKey(bad)
			hasCode(t, err, attest.CodeDevIDKeyMalformed)
		})
	}
	if key, restricted, err := attest.CheckDevIDKey(public); err != nil || restricted || !c.tls.PublicKey.Equal(key) {
		t.Errorf("CheckDevIDKey: %v, restricted %t", err, restricted)
	}
}

func FuzzDevIDCertify(f *testing.F) {
	info := tpm2.Marshal(tpm2.TPMSAttest{
		Magic: tpm2.TPMGeneratedValue, Type: tpm2.TPMSTAttestCreation,
		Attested: tpm2.NewTPMUAttest(tpm2.TPMSTAttestCreation, &tpm2.TPMSCreationInfo{}),
	})
	f.Add(info, tpm2.Marshal(tpm2.ECCSRKTemplate))
	f.Fuzz(func(t *testing.T, info, public []byte) {
		c := newCertified(t)
		// No key's name was certified but by chance: nothing made here is accepted.
		if attest.CheckDevIDCertify(c.akPublic, public, info, sign(t, c.ak, info), []byte("certify this")) == nil {
			t.Error("accepted")
		}
	})
}
