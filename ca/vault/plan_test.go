package vault_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"

	"troth/ca"
	"troth/ca/catest"
	"troth/ca/vault"
)

func (s *setup) plan(t *testing.T, options vault.Options) vault.Outcome {
	t.Helper()
	outcome, err := vault.Bootstrap(t.Context(), s.admin, s.config, options)
	if err != nil {
		t.Fatal(err)
	}
	return outcome
}

func states(outcome vault.Outcome) map[vault.State]int {
	count := map[vault.State]int{}
	for _, step := range outcome.Steps {
		count[step.State]++
	}
	return count
}

// TestBootstrapSteps: a dry run changes nothing, the first run creates, the
// second finds nothing to do, and what somebody changed stays until --repair.
func TestBootstrapSteps(t *testing.T) {
	server := catest.StartVaultServer(t)
	s := &setup{server: server, admin: client(t, server.Addr, server.Token), config: vault.BootstrapConfig{TrustDomain: catest.TrustDomain, BoundCIDRs: []string{"127.0.0.1/32", "10.0.0.0/8"}}}
	dry := s.plan(t, vault.Options{DryRun: true})
	all := len(dry.Steps)
	if n := states(dry)[vault.Missing]; n != all || all < 12 {
		t.Errorf("dry run on nothing: %v of %d", states(dry), all)
	}
	if n := states(s.plan(t, vault.Options{}))[vault.Created]; n != all {
		t.Errorf("first run: %d of %d created: the dry run did something", n, all)
	}
	for _, options := range []vault.Options{{}, {Repair: true}, {DryRun: true}} {
		if got := states(s.plan(t, options)); got[vault.Unchanged] != all {
			t.Errorf("second run, %+v: %v", options, got)
		}
	}
	role := vault.DefaultMount + "/roles/" + vault.DefaultRole
	s.merge(role, map[string]any{"server_flag": true})(t)
	s.write(t, "sys/policies/acl/"+vault.DefaultPolicy, map[string]any{"policy": "# nothing"})
	for _, options := range []vault.Options{{}, {DryRun: true}, {DryRun: true, Repair: true}} {
		outcome := s.plan(t, options)
		if states(outcome)[vault.Differs] != 2 {
			t.Errorf("%+v: %v, want two that differ", options, states(outcome))
		}
		i := slices.IndexFunc(outcome.Steps, func(step vault.Step) bool { return step.Path == role })
		if d := outcome.Steps[i].Differences; len(d) != 1 || d[0] != (vault.Difference{Field: "server_flag", Have: "true", Want: "false"}) {
			t.Errorf("%+v: %+v", options, d)
		}
	}
	if got := states(s.plan(t, vault.Options{Repair: true})); got[vault.Repaired] != 2 {
		t.Errorf("repair: %v", got)
	}
	if got := states(s.plan(t, vault.Options{})); got[vault.Unchanged] != all {
		t.Errorf("after the repair: %v", got)
	}
}

// TestIntermediate: an issuer below a root in the same Vault.
func TestIntermediate(t *testing.T) {
	server := catest.StartVaultServer(t)
	s := &setup{server: server, admin: client(t, server.Addr, server.Token), config: vault.BootstrapConfig{TrustDomain: catest.TrustDomain, RootMount: "company"}}
	if _, err := vault.Bootstrap(t.Context(), s.admin, s.config, vault.Options{}); err == nil {
		t.Error("a root mount that does not exist signed something")
	}
	s.companyRoot(t)
	outcome := s.plan(t, vault.Options{})
	s.checkIntermediate(t, outcome.Issuer)
	s.config.RootMount = ""
	if got := s.plan(t, vault.Options{}); states(got)[vault.Unchanged] != len(got.Steps) || got.Issuer != outcome.Issuer {
		t.Errorf("a later run without --root-mount: issuer %s, %v", got.Issuer, states(got))
	}
}

func (s *setup) checkIntermediate(t *testing.T, reference string) {
	t.Helper()
	issuer := newCA(t, vault.Config{Address: s.server.Addr, Issuer: reference, AppRole: s.credentials(t), Now: time.Now})
	certificate, err := issuer.Issue(t.Context(), catest.NewRequest(t, "device"))
	if err != nil {
		t.Fatal(err)
	}
	roots, err := issuer.Bundle(t.Context())
	if err != nil || len(roots) != 1 || roots[0].Subject.CommonName != "company root" || len(certificate.Chain) != 1 {
		t.Fatalf("bundle %v, %v and %d in the chain; want the company's root and the intermediate", roots, err, len(certificate.Chain))
	}
	middle, err := x509.ParseCertificate(certificate.Chain[0])
	if err != nil || !middle.MaxPathLenZero || middle.Subject.CommonName != "Troth device CA "+catest.TrustDomain {
		t.Errorf("intermediate %v, path length 0 %v, %v", middle.Subject, middle.MaxPathLenZero, err)
	}
}

// TestSignedElsewhere: the customer's root, which Vault never sees, signs a CSR.
func TestSignedElsewhere(t *testing.T) {
	server := catest.StartVaultServer(t)
	s := &setup{server: server, admin: client(t, server.Addr, server.Token), config: vault.BootstrapConfig{TrustDomain: catest.TrustDomain, CSR: true}}
	first := s.plan(t, vault.Options{})
	again := s.plan(t, vault.Options{}) // interrupted: the same key, a new CSR
	if states(again)[vault.Waiting] != 1 {
		t.Errorf("second run: %v", states(again))
	}
	block, _ := pem.Decode([]byte(again.CSR))
	request, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil || request.CheckSignature() != nil {
		t.Fatalf("CSR: %v", err)
	}
	block, _ = pem.Decode([]byte(first.CSR))
	if before, err := x509.ParseCertificateRequest(block.Bytes); err != nil || !bytes.Equal(before.RawSubjectPublicKeyInfo, request.RawSubjectPublicKeyInfo) {
		t.Errorf("the second run made another key (%v)", err)
	}
	key := catest.NewKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "company root"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(20000 * time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	root := sign509(t, template, template, &key.PublicKey, key)
	middle := *template
	middle.SerialNumber, middle.Subject, middle.MaxPathLenZero = big.NewInt(2), request.Subject, true
	stranger := sign509(t, &middle, root, &catest.NewKey(t).PublicKey, key)
	s.config = vault.BootstrapConfig{TrustDomain: catest.TrustDomain, Signed: certificatePEM(stranger) + certificatePEM(root)}
	if _, err := vault.Bootstrap(t.Context(), s.admin, s.config, vault.Options{}); err == nil || !strings.Contains(err.Error(), "not for the key") {
		t.Errorf("signed for another key: %v", err)
	}
	s.config.Signed = certificatePEM(sign509(t, &middle, root, request.PublicKey, key)) + certificatePEM(root)
	s.checkIntermediate(t, s.plan(t, vault.Options{}).Issuer)
}

// TestAttack_S8_AnotherIssuer: somebody points the role at a sibling below the
// same root. The configured issuer did not sign, so nothing is handed out.
func TestAttack_S8_AnotherIssuer(t *testing.T) {
	server := catest.StartVaultServer(t)
	s := &setup{server: server, admin: client(t, server.Addr, server.Token), config: vault.BootstrapConfig{TrustDomain: catest.TrustDomain, RootMount: "company"}}
	s.companyRoot(t)
	reference := s.plan(t, vault.Options{}).Issuer
	csr := s.write(t, vault.DefaultMount+"/intermediate/generate/internal", map[string]any{"common_name": "sibling", "key_type": "ec", "key_bits": 256})
	signed := s.write(t, "company/issuer/default/sign-intermediate", map[string]any{"csr": csr.Data["csr"], "use_csr_values": true, "ttl": "8760h", "not_before_duration": "10m"})
	imported := s.write(t, vault.DefaultMount+"/intermediate/set-signed", map[string]any{"certificate": signed.Data["certificate"]})
	sibling := imported.Data["imported_issuers"].([]any)[0].(string)
	issuer := newCA(t, vault.Config{Address: server.Addr, Issuer: reference, AppRole: s.credentials(t), Now: time.Now})
	if _, err := issuer.Issue(t.Context(), catest.NewRequest(t, "device")); err != nil {
		t.Fatal(err)
	}
	// The name moves to the sibling while the service runs: it follows, knowingly.
	s.write(t, vault.DefaultMount+"/issuer/"+reference, map[string]any{"issuer_name": "old", "leaf_not_after_behavior": "truncate"})
	s.write(t, vault.DefaultMount+"/issuer/"+sibling, map[string]any{"issuer_name": reference, "leaf_not_after_behavior": "truncate"})
	if _, err := issuer.Issue(t.Context(), catest.NewRequest(t, "device")); err != nil {
		t.Errorf("an issuer replaced under its name: %v", err)
	}
	// A relay that sends the request to another issuer is found out.
	s.write(t, "sys/policies/acl/"+vault.DefaultPolicy, map[string]any{"policy": `path "` + vault.DefaultMount + `/*" { capabilities = ["update", "read"] }`})
	addr := relay(t, server.Addr, func(r *http.Request) {
		r.URL.Path = strings.Replace(r.URL.Path, "/issuer/"+reference+"/sign/", "/issuer/old/sign/", 1)
	})
	diverted := newCA(t, vault.Config{Address: addr, Issuer: reference, AppRole: s.credentials(t), Now: time.Now})
	_, err := diverted.Issue(t.Context(), catest.NewRequest(t, "device"))
	is(t, "signed by a sibling", err, ca.ErrMisissued)
}

// TestAddresses fetches what a certificate says about where its issuer, the CRL
// and OCSP are, as a stranger does, before and after its revocation.
func TestAddresses(t *testing.T) {
	s := start(t)
	issuer := s.issuer(t, s.server.Addr)
	issued, err := issuer.Issue(t.Context(), catest.NewRequest(t, "device"))
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(issued.DER)
	if err != nil {
		t.Fatal(err)
	}
	if len(leaf.IssuingCertificateURL) != 1 || len(leaf.CRLDistributionPoints) != 1 || len(leaf.OCSPServer) != 1 {
		t.Fatalf("addresses: %v %v %v", leaf.IssuingCertificateURL, leaf.CRLDistributionPoints, leaf.OCSPServer)
	}
	root, err := x509.ParseCertificate(fetch(t, leaf.IssuingCertificateURL[0], nil))
	if err != nil || leaf.CheckSignatureFrom(root) != nil {
		t.Fatalf("issuer: %v", err)
	}
	question, err := ocsp.CreateRequest(leaf, root, nil)
	if err != nil {
		t.Fatal(err)
	}
	revoked := func() (inCRL bool, status int) {
		list, err := x509.ParseRevocationList(fetch(t, leaf.CRLDistributionPoints[0], nil))
		if err != nil || list.CheckSignatureFrom(root) != nil {
			t.Fatalf("CRL: %v", err)
		}
		answer, err := ocsp.ParseResponse(fetch(t, leaf.OCSPServer[0], question), root)
		if err != nil {
			t.Fatalf("OCSP: %v", err)
		}
		for _, entry := range list.RevokedCertificateEntries {
			inCRL = inCRL || entry.SerialNumber.Cmp(leaf.SerialNumber) == 0
		}
		return inCRL, answer.Status
	}
	if in, status := revoked(); in || status == ocsp.Revoked {
		t.Errorf("before: in the CRL %v, OCSP %d", in, status)
	}
	if err := issuer.Revoke(t.Context(), issued.DER); err != nil {
		t.Fatal(err)
	}
	if in, status := revoked(); !in || status != ocsp.Revoked {
		t.Errorf("revoked: in the CRL %v, OCSP %d", in, status)
	}
}

func fetch(t *testing.T, url string, body []byte) []byte {
	t.Helper()
	method := http.MethodGet
	if body != nil {
		method = http.MethodPost
	}
	request, err := http.NewRequestWithContext(t.Context(), method, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/ocsp-request")
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v", url, answer.Status, err)
	}
	return data
}

// TestRevocationsShareRebuilds: many at once are all in the list afterwards, for
// fewer rebuilds than revocations.
func TestRevocationsShareRebuilds(t *testing.T) {
	s := start(t)
	rebuilds := make(chan struct{}, 1000)
	addr := relay(t, s.server.Addr, func(r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/crl/rotate") {
			rebuilds <- struct{}{}
			time.Sleep(50 * time.Millisecond)
		}
	})
	issuer := s.issuer(t, addr)
	const many = 40
	var serials []*big.Int
	var certificates [][]byte
	for range many {
		issued, err := issuer.Issue(t.Context(), catest.NewRequest(t, "device"+rand.Text()))
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := x509.ParseCertificate(issued.DER)
		if err != nil {
			t.Fatal(err)
		}
		serials, certificates = append(serials, leaf.SerialNumber), append(certificates, issued.DER)
	}
	failures := make(chan error, many)
	for _, der := range certificates {
		go func() { failures <- issuer.Revoke(context.WithoutCancel(t.Context()), der) }()
	}
	for range many {
		if err := <-failures; err != nil {
			t.Error(err)
		}
	}
	der, err := issuer.CRL(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	list, err := x509.ParseRevocationList(der)
	if err != nil {
		t.Fatal(err)
	}
	for _, serial := range serials {
		if !slices.ContainsFunc(list.RevokedCertificateEntries, func(e x509.RevocationListEntry) bool { return e.SerialNumber.Cmp(serial) == 0 }) {
			t.Errorf("%x is not in the CRL", serial)
		}
	}
	if n := len(rebuilds); n == 0 || n > many/2 {
		t.Errorf("%d rebuilds for %d revocations at once", n, many)
	}
}
