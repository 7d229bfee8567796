package enroll_test

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"net/url"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"troth/attest"
	"troth/attest/attesttest"
	"troth/attest/ek"
	"troth/attest/ek/template"
	"troth/attest/tpm"
	"troth/ca"
	"troth/internal/enroll"
	"troth/internal/evidence"
	"troth/internal/fleet"
)

// meeting holds requests at the CA until there are two: by then both found that
// the other is not enrolled.
type meeting struct {
	ca.Issuer
	both sync.WaitGroup
}

func (m *meeting) Issue(ctx context.Context, r ca.Request) (ca.Certificate, error) {
	m.both.Done()
	m.both.Wait()
	return m.Issuer.Issue(ctx, r)
}

// One TPM that completes two enrolments at once, by two templates of its EK, is
// one device all the same.
func TestAttack_K8_TwinsAtOnce(t *testing.T) {
	m, err := attesttest.NewRevokingManufacturer(t.TempDir(), "acme", "http://crl.invalid")
	if err != nil {
		t.Fatal(err)
	}
	pem, err := m.RootsPEM()
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t)
	r.clock = time.Now()
	r.trust(t, "acme", pem)
	gate := &meeting{Issuer: r.Issuer}
	gate.both.Add(2)
	r.Issuer = gate
	s, err := m.NewTPMWith(t.Context(), filepath.Join(t.TempDir(), "s"), attesttest.Factory{EKs: []attesttest.FactoryEK{{Template: template.L2}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	link, err := tpm.Open(s.Spec())
	if err != nil {
		t.Fatal(err)
	}
	chip := tpm.New(link)
	t.Cleanup(func() { _ = chip.Close() })
	e, err := chip.EK()
	if err != nil {
		t.Fatal(err)
	}
	twins, err := ek.Twins(e.Public)
	if err != nil || len(twins) != 1 {
		t.Fatalf("%d twins, %v", len(twins), err)
	}
	var ids []string
	var proofs []enroll.Proof
	for _, public := range [][]byte{e.Public, twins[0]} {
		id, proof := prove(t, r, chip, enroll.Claim{EKCertificate: e.Certificate, EKPublic: public, Model: "meter"})
		ids, proofs = append(ids, id), append(proofs, proof)
	}
	errs := make([]error, 2)
	var done sync.WaitGroup
	for i := range ids {
		done.Go(func() { _, errs[i] = r.Complete(t.Context(), ids[i], proofs[i]) })
	}
	done.Wait()
	if (errs[0] == nil) == (errs[1] == nil) {
		t.Fatalf("one of the two should be enrolled: %v; %v", errs[0], errs[1])
	}
	for _, err := range errs {
		if err != nil && fleet.CodeOf(err) != "ek_shown_twice" {
			t.Errorf("the other: %v", err)
		}
	}
	devices, err := r.store.Devices(t.Context(), fleet.DeviceFilter{})
	if err != nil || len(devices) != 1 {
		t.Errorf("%d devices, %v", len(devices), err)
	}
}

// prove begins an enrolment with new keys and answers its challenge.
func prove(t *testing.T, r *rig, chip *tpm.TPM, claim enroll.Claim) (id string, p enroll.Proof) {
	t.Helper()
	ak, err := chip.CreateAK()
	if err != nil {
		t.Fatal(err)
	}
	key, err := chip.CreateTLSKey()
	if err != nil {
		t.Fatal(err)
	}
	claim.AKPublic, claim.TLSPublic = ak.Public, key.Public
	c := r.begins(t, "honest", claim, "")
	if p.Secret, err = chip.ActivateCredential(ak, c.CredentialBlob, c.EncryptedSecret); err != nil {
		t.Fatal(err)
	}
	certify := attest.Binding{Purpose: "certify", Nonce: c.Nonce, DeviceID: string(c.Device)}
	if p.CertifyInfo, p.CertifySignature, err = chip.Certify(ak, key, certify.QualifyingData()); err != nil {
		t.Fatal(err)
	}
	signer, err := chip.Signer(key)
	if err != nil {
		t.Fatal(err)
	}
	uri, err := url.Parse(c.URI)
	if err != nil {
		t.Fatal(err)
	}
	if p.CSR, err = x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{URIs: []*url.URL{uri}}, signer); err != nil {
		t.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(signer.Public())
	if err != nil {
		t.Fatal(err)
	}
	said := attest.Binding{Purpose: "enroll", Nonce: c.Nonce, DeviceID: string(c.Device), ClientKey: spki, Reported: []byte("{}")}
	q, err := chip.Quote(ak, said.QualifyingData(), c.Selection)
	if err != nil {
		t.Fatal(err)
	}
	p.Evidence = evidence.Submission{Quote: q.Attest, Signature: q.Signature, Reported: said.Reported, PCRs: map[string]map[int]string{}}
	for bank, values := range q.PCRs {
		p.Evidence.PCRs[bank] = map[int]string{}
		for i, v := range values {
			p.Evidence.PCRs[bank][i] = hex.EncodeToString(v)
		}
	}
	return c.ID, p
}
