package e2e

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"troth/attest/attesttest"
	"troth/attest/ek"
	"troth/attest/ek/template"
	"troth/internal/api"
)

// A revoked EK certificate is refused by the whole service, also that of a device
// which somebody registered, and also by a list that comes while the service runs.
func TestAttack_K7_RevokedByAFetchedListOrAFile(t *testing.T) {
	t.Parallel()
	var list, root atomic.Pointer[[]byte]
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		page := list.Load()
		if r.URL.Path == "/root.crl" {
			page = root.Load()
		}
		if page == nil {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write(*page)
	}))
	t.Cleanup(web.Close)
	m := must(attesttest.NewRevokingManufacturer(t.TempDir(), "revoking", web.URL))(t)
	makeTPM := func(ctx context.Context, dir string) (*attesttest.SWTPM, error) {
		return m.NewTPMWith(ctx, dir, attesttest.Factory{EKs: []attesttest.FactoryEK{{Template: template.L2}}})
	}
	files := t.TempDir()
	s := newService(t, "enrollment: {revocation: {policy: require, dir: "+files+", allow_addresses: [127.0.0.0/8]}}\n")
	pem := must(m.RootsPEM())(t)
	s.post(t, api.PathManufacturers, api.ManufacturerRequest{Name: "revoking", PEM: string(pem)}, nil)
	good, bad, registered := newAttackerWith(t, s, makeTPM), newAttackerWith(t, s, makeTPM), newAttackerWith(t, s, makeTPM)
	publish := func(c attesttest.CRL) {
		t.Helper()
		issuer, of, err := m.CRLs(c)
		if err != nil {
			t.Fatal(err)
		}
		list.Store(&issuer)
		root.Store(&of)
	}
	var revoked attesttest.CRL
	for _, a := range []*attacker{bad, registered} {
		revoked.Revoked = append(revoked.Revoked, must(ek.ParseCertificate(a.ek.Certificate))(t))
	}
	publish(revoked)
	s.register(t, registered.id, registered.name)

	good.enroll()
	_, err := bad.begin()
	wantCode(t, err, "ek_revoked")
	s.kept(t, bad.id).nothing(t)
	_, err = registered.tryEnroll()
	wantCode(t, err, "certificate_revoked")
	if live := s.kept(t, registered.id).live(); len(live) != 0 {
		t.Errorf("certificates of a revoked device: %v", live)
	}

	// A list in the directory counts without a restart.
	late := newAttackerWith(t, s, makeTPM)
	must(late.begin())(t)
	issuer, _, err := m.CRLs(attesttest.CRL{Revoked: append(revoked.Revoked, must(ek.ParseCertificate(late.ek.Certificate))(t))})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(files, "revoking.crl"), issuer, 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, 15*time.Second, "the file counts", func() (string, bool) {
		_, err := late.begin()
		return api.CodeOf(err), err != nil && api.CodeOf(err) == "ek_revoked"
	})
}

// The agent enrols with every kind of EK that TPMs have.
func TestAgentsWithEveryKindOfEK(t *testing.T) {
	t.Parallel()
	s := everyones(t)
	nonce := []byte("a nonce of the maker")
	for name, e := range map[string]attesttest.FactoryEK{
		"RSA-2048": {Template: template.L1}, "P-384": {Template: template.H3}, "P-256 high": {Template: template.H2},
		"P-256 with a nonce": {Template: template.L2, Nonce: nonce}, "P-256 with a template": {Template: template.L2, Nonce: nonce, Stored: true},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAttackerWith(t, s, func(ctx context.Context, dir string) (*attesttest.SWTPM, error) {
				return maker(t).NewTPMWith(ctx, dir, attesttest.Factory{EKs: []attesttest.FactoryEK{e}, Chain: true})
			})
			a.runs(t.TempDir(), 1, nil)
			if d := s.device(t, a.id); d.Manufacturer != "acme" {
				t.Errorf("the manufacturer is %q", d.Manufacturer)
			}
		})
	}
	rsa3072 := newAttackerWith(t, s, maker(t).NewRSA3072TPM)
	rsa3072.runs(t.TempDir(), 1, nil)
}
