package e2e

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"

	"troth/attest"
	"troth/attest/attesttest"
	"troth/attest/tpm"
	"troth/internal/agent"
	"troth/internal/api"
)

// gateways makes devices with identities, and the service trusts it.
func gateways(t *testing.T, s *service, name, url string) *attesttest.Manufacturer {
	t.Helper()
	m := must(attesttest.NewRevokingManufacturer(t.TempDir(), name, url))(t)
	s.post(t, api.PathManufacturers, api.ManufacturerRequest{Name: name, PEM: string(must(m.RootsPEM())(t))}, nil)
	return m
}

// withDevID is a device whose EK has no certificate.
func withDevID(m *attesttest.Manufacturer, d attesttest.FactoryDevID) manufacture {
	return func(ctx context.Context, dir string) (*attesttest.SWTPM, error) {
		return m.NewTPMWith(ctx, dir, attesttest.Factory{DevIDs: []attesttest.FactoryDevID{d}})
	}
}

// shows is a request with the manufacturer's identity in it.
func shows(public, chain []byte) func(*api.EnrollRequest) {
	return func(r *api.EnrollRequest) { r.IDevIDPublic, r.IDevIDChain = public, chain }
}

// certifyDevID is what an honest device says of its manufacturer's key.
func (a *attacker) certifyDevID(d *tpm.DevID, c api.EnrollChallenge) (info, signature []byte) {
	a.t.Helper()
	binding := attest.Binding{Purpose: "certify-idevid", Nonce: c.Nonce, DeviceID: c.DeviceID}
	info, signature, err := a.tpm.CertifyDevID(a.ak, d, binding.QualifyingData())
	if err != nil {
		a.t.Fatal(err)
	}
	return info, signature
}

// A real agent enrols by what its manufacturer certified, found in the TPM or
// given by configuration; without it, it is a stranger.
func TestAgentsWithManufacturersIdentity(t *testing.T) {
	t.Parallel()
	s := newService(t, "enrollment: {revocation: {policy: ignore}}\n")
	m := gateways(t, s, "gateways", "http://crl.invalid")
	for name, d := range map[string]attesttest.FactoryDevID{
		"IDevID": {Kind: tpm.IDevID}, "IAK": {Kind: tpm.IAK}, "IDevID without a policy": {Kind: tpm.IDevID, Simple: true},
	} {
		t.Run(name, func(t *testing.T) {
			d.Serial, d.Model = "SN-"+string(d.Kind), "gw-9000"
			a := newAttackerWith(t, s, withDevID(m, d))
			_, err := a.begin()
			wantCode(t, err, "ek_no_certificate")
			a.runs(t.TempDir(), 1, nil)
			got := s.device(t, a.id)
			want := api.IDevID{Kind: string(d.Kind), Manufacturer: "gateways", Serial: d.Serial, Model: d.Model}
			if got.IDevID == nil || *got.IDevID != want || got.Manufacturer != "" {
				t.Errorf("the device is %+v, by %+v; want %+v", got, got.IDevID, want)
			}
		})
	}
	t.Run("from a file", func(t *testing.T) {
		a := newAttackerWith(t, s, withDevID(m, attesttest.FactoryDevID{Kind: tpm.IDevID, Simple: true}))
		found := must(a.tpm.DevID(tpm.IDevID, tpm.DevIDSource{}))(t)
		leaf := must(m.CertifyDevID(found.Public, attesttest.FactoryDevID{Kind: tpm.IDevID, Serial: "from-a-file"}))(t)
		file := filepath.Join(t.TempDir(), "chain.pem")
		text := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf}), must(m.RootsPEM())(t)...)
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		a.runs(t.TempDir(), 1, func(c *agent.Config) { c.IDevIDChain, c.IDevIDHandle = file, 0x81020000 })
		if got := s.device(t, a.id); got.IDevID == nil || got.IDevID.Serial != "from-a-file" {
			t.Errorf("the identity is %+v", got.IDevID)
		}
	})
	// What cannot be shown is no reason not to enrol by the EK.
	t.Run("beside an EK certificate", func(t *testing.T) {
		a := newAttacker(t, s)
		file := filepath.Join(t.TempDir(), "chain.pem")
		if err := os.WriteFile(file, []byte("rubbish"), 0o600); err != nil {
			t.Fatal(err)
		}
		j := a.runs(t.TempDir(), 1, func(c *agent.Config) { c.IDevIDChain = file })
		if !j.has("cannot be shown") || s.device(t, a.id).Manufacturer != "acme" {
			t.Errorf("the agent says: %s", j.text())
		}
	})
}

// Nothing but the manufacturer's certificate for this key vouches for a device.
func TestAttack_K5_ForgedManufacturersIdentity(t *testing.T) {
	t.Parallel()
	s := newService(t, "")
	m := gateways(t, s, "gateways", "http://crl.invalid")
	nobody := must(attesttest.NewRevokingManufacturer(t.TempDir(), "gateways", "http://crl.invalid"))(t)
	a := newAttackerWith(t, s, withDevID(m, attesttest.FactoryDevID{Kind: tpm.IDevID}))
	d := must(a.tpm.DevID(tpm.IDevID, tpm.DevIDSource{}))(t)
	other := newAttacker(t, s)
	leaf := func(by *attesttest.Manufacturer, public []byte, change func(*x509.Certificate)) []byte {
		t.Helper()
		return must(by.CertifyDevID(public, attesttest.FactoryDevID{Kind: tpm.IDevID, Change: change}))(t)
	}
	usedAs := func(last int) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.UnknownExtKeyUsage = []asn1.ObjectIdentifier{{2, 23, 133, 8, last}} }
	}
	software := softwareKey(t)
	free := must(tpm2.Unmarshal[tpm2.TPMTPublic](software))(t)
	free.ObjectAttributes.FixedTPM = false
	for name, tt := range map[string]struct {
		public, chain []byte
		code          string
	}{
		"a certificate of another key":     {d.Public, leaf(m, a.tls.Public, nil), "idevid_key_mismatch"},
		"another key":                      {a.tls.Public, d.Chain, "idevid_key_mismatch"},
		"a key in software":                {software, d.Chain, "idevid_key_mismatch"},
		"a key that may leave":             {tpm2.Marshal(*free), d.Chain, "idevid_key_attributes"},
		"an endorsement key":               {other.ek.Public, other.ek.Certificate, "idevid_key_attributes"},
		"an EK certificate":                {d.Public, other.ek.Certificate, "idevid_key_mismatch"},
		"an EK certificate for the key":    {d.Public, leaf(m, d.Public, usedAs(1)), "idevid_not_idevid_certificate"},
		"a platform certificate":           {d.Public, leaf(m, d.Public, usedAs(2)), "idevid_not_idevid_certificate"},
		"an AK certificate":                {d.Public, leaf(m, d.Public, usedAs(3)), "idevid_not_idevid_certificate"},
		"a CA's certificate":               {d.Public, leaf(m, d.Public, func(c *x509.Certificate) { c.IsCA = true }), "idevid_not_idevid_certificate"},
		"a certificate of any of its keys": {d.Public, leaf(m, d.Public, func(c *x509.Certificate) { c.Policies = nil }), "idevid_not_idevid_certificate"},
		"expired": {d.Public, leaf(m, d.Public, func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = time.Now().Add(-48*time.Hour), time.Now().Add(-24*time.Hour)
		}), "idevid_expired"},
		"of an unknown maker": {d.Public, leaf(nobody, d.Public, nil), "idevid_unknown_manufacturer"},
		"truncated":           {d.Public, d.Chain[:len(d.Chain)-7], "idevid_malformed"},
		"too many":            {d.Public, bytes.Repeat(d.Chain, 9), "idevid_malformed"},
		"no chain":            {d.Public, nil, "idevid_key_mismatch"},
		"no key":              {nil, d.Chain, "idevid_key_malformed"},
		"half a key":          {d.Public[:len(d.Public)-1], d.Chain, "idevid_key_malformed"},
	} {
		_, err := a.begin(shows(tt.public, tt.chain))
		if got := api.CodeOf(err); got != tt.code {
			t.Errorf("%s: code %q, want %q: %v", name, got, tt.code, err)
		}
	}
	_, err := a.begin(func(r *api.EnrollRequest) { r.EKCertificate, r.EKPublic = d.Chain, nil })
	wantCode(t, err, "ek_not_ek_certificate")
	if _, err := a.begin(shows(d.Public, make([]byte, 100<<10))); err == nil {
		t.Error("a chain of 100 KiB was read")
	}
	s.kept(t, a.id).nothing(t)
	s.strange(t, a.id)
	must(a.begin(shows(d.Public, d.Chain)))(t)
}

// The manufacturer's key must be in the TPM whose EK enrols.
func TestAttack_K6_ManufacturersKeyOfAnotherTPM(t *testing.T) {
	t.Parallel()
	s := newService(t, "")
	m := gateways(t, s, "gateways", "http://crl.invalid")
	victim := newAttackerWith(t, s, withDevID(m, attesttest.FactoryDevID{Kind: tpm.IDevID}))
	theirs := must(victim.tpm.DevID(tpm.IDevID, tpm.DevIDSource{}))(t)
	a := newAttackerWith(t, s, maker(t).NewBareTPM)
	begins := func() (api.EnrollChallenge, api.EnrollProof) {
		t.Helper()
		c := must(a.begin(shows(theirs.Public, theirs.Chain)))(t)
		return c, a.proof(a.answer(c))
	}
	old := must(victim.begin(shows(theirs.Public, theirs.Chain)))(t)
	for name, tt := range map[string]struct {
		code string
		edit func(api.EnrollChallenge, *api.EnrollProof)
	}{
		"uncertified": {"signature_malformed", func(api.EnrollChallenge, *api.EnrollProof) {}},
		"certified by its own TPM's attestation key": {"signature_invalid", func(c api.EnrollChallenge, p *api.EnrollProof) {
			p.IDevIDCertifyInfo, p.IDevIDCertifySignature = victim.certifyDevID(theirs, c)
		}},
		"the TLS key certified instead": {"certify_name", func(c api.EnrollChallenge, p *api.EnrollProof) {
			binding := attest.Binding{Purpose: "certify-idevid", Nonce: c.Nonce, DeviceID: c.DeviceID}
			p.IDevIDCertifyInfo, p.IDevIDCertifySignature, _ = a.tpm.Certify(a.ak, a.tls, binding.QualifyingData())
		}},
		"the TLS key's certification again": {"nonce_mismatch", func(_ api.EnrollChallenge, p *api.EnrollProof) {
			p.IDevIDCertifyInfo, p.IDevIDCertifySignature = p.CertifyInfo, p.CertifySignature
		}},
	} {
		c, proof := begins()
		tt.edit(c, &proof)
		_, err := a.complete(c.ID, proof)
		if got := api.CodeOf(err); got != tt.code {
			t.Errorf("%s: code %q, want %q: %v", name, got, tt.code, err)
		}
	}
	s.kept(t, a.id).nothing(t)
	s.strange(t, a.id)

	// On the right TPM, a certification of another challenge is none either.
	info, signature := victim.certifyDevID(theirs, old)
	c := must(victim.begin(shows(theirs.Public, theirs.Chain)))(t)
	proof := victim.proof(victim.answer(c))
	proof.IDevIDCertifyInfo, proof.IDevIDCertifySignature = info, signature
	_, err := victim.complete(c.ID, proof)
	wantCode(t, err, "nonce_mismatch")
	c = must(victim.begin(shows(theirs.Public, theirs.Chain)))(t)
	proof = victim.proof(victim.answer(c))
	proof.IDevIDCertifyInfo, proof.IDevIDCertifySignature = victim.certifyDevID(theirs, c)
	victim.hold(must(victim.complete(c.ID, proof))(t))
	victim.mustCheckIn("compliant")
}

// What its manufacturer revoked is refused, also beside an EK certificate that
// holds.
func TestAttack_K7_RevokedIdentity(t *testing.T) {
	t.Parallel()
	files := t.TempDir()
	s := newService(t, "enrollment: {revocation: {policy: prefer, dir: "+files+"}}\n")
	m := gateways(t, s, "gateways", "http://crl.invalid")
	a := newAttackerWith(t, s, withDevID(m, attesttest.FactoryDevID{Kind: tpm.IAK}))
	d := must(a.tpm.DevID(tpm.IAK, tpm.DevIDSource{}))(t)
	must(a.begin(shows(d.Public, d.Chain)))(t)
	cert := must(x509.ParseCertificates(d.Chain))(t)[0]
	issuer, _, err := m.CRLs(attesttest.CRL{Revoked: []*x509.Certificate{cert}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(files, "gateways.crl"), issuer, 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, 15*time.Second, "the file counts", func() (string, bool) {
		_, err := a.begin(shows(d.Public, d.Chain))
		return api.CodeOf(err), api.CodeOf(err) == "idevid_revoked"
	})
	// Somebody registers it all the same.
	s.register(t, a.id, a.name)
	c := must(a.begin(shows(d.Public, d.Chain)))(t)
	_, err = a.complete(c.ID, a.proof(a.answer(c)))
	wantCode(t, err, "certificate_revoked")
}

// softwareKey is a public area of a key in software that claims to be a TPM's.
func softwareKey(t *testing.T) []byte {
	t.Helper()
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	point := must(key.PublicKey.Bytes())(t)
	public := must(tpm.DevIDTemplate(tpm.IDevID, tpm.ECCP256))(t)
	public.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{
		X: tpm2.TPM2BECCParameter{Buffer: point[1:33]}, Y: tpm2.TPM2BECCParameter{Buffer: point[33:]},
	})
	return tpm2.Marshal(public)
}
