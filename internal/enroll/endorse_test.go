package enroll_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"troth/attest/attesttest"
	"troth/attest/ek"
	"troth/attest/ek/template"
	"troth/attest/tpm"
	"troth/internal/crl"
	"troth/internal/enroll"
	"troth/internal/fleet"
)

// site is where a manufacturer publishes its lists.
type site struct {
	*httptest.Server

	mu    sync.Mutex
	pages map[string][]byte
	hang  chan struct{} // answers wait for it; nil: they do not
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{pages: map[string][]byte{}}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		page, hang := s.pages[r.URL.Path], s.hang
		s.mu.Unlock()
		if hang != nil {
			<-hang
		}
		if page == nil {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write(page)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *site) publish(t *testing.T, m *attesttest.Manufacturer, c attesttest.CRL) {
	t.Helper()
	issuer, root, err := m.CRLs(c)
	if err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pages["/issuer.crl"], s.pages["/root.crl"] = issuer, root
}

// introduce is what a TPM says of itself.
func introduce(t *testing.T, s *attesttest.SWTPM, err error) enroll.Claim {
	t.Helper()
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
	ak, err := chip.CreateAK()
	if err != nil {
		t.Fatal(err)
	}
	key, err := chip.CreateTLSKey()
	if err != nil {
		t.Fatal(err)
	}
	return enroll.Claim{
		EKCertificate: e.Certificate, EKPublic: e.Public, EKChain: e.Chain, EKTemplate: e.StoredTemplate, EKNonce: e.Nonce,
		AKPublic: ak.Public, TLSPublic: key.Public, Model: "meter",
	}
}

func (r *rig) trust(t *testing.T, name string, pem []byte) {
	t.Helper()
	if err := r.store.Apply(t.Context(), fleet.Change{Manufacturers: []fleet.Manufacturer{{Name: name, PEM: pem, AddedAt: r.clock}}}); err != nil {
		t.Fatal(err)
	}
}

func (r *rig) begins(t *testing.T, what string, c enroll.Claim, code string) enroll.Challenge {
	t.Helper()
	got, err := r.Begin(t.Context(), c)
	if (err == nil) != (code == "") || err != nil && fleet.CodeOf(err) != code {
		t.Errorf("%s: %v, want code %q", what, err, code)
	}
	return got
}

// Every kind of EK that a TPM may have is challenged as what it is, with the
// intermediate CA known only from the TPM.
func TestAttack_K5_EveryKindOfEK(t *testing.T) {
	m, err := attesttest.NewRevokingManufacturer(t.TempDir(), "acme", "http://crl.invalid")
	if err != nil {
		t.Fatal(err)
	}
	pem, err := m.RootsPEM()
	if err != nil {
		t.Fatal(err)
	}
	root, _, _ := strings.Cut(string(pem), "-----END CERTIFICATE-----")
	root += "-----END CERTIFICATE-----\n"
	nonce := []byte("a nonce of the maker")
	for name, e := range map[string]attesttest.FactoryEK{
		"RSA-2048": {Template: template.L1}, "P-256": {Template: template.L2}, "P-384": {Template: template.H3},
		"P-256 high": {Template: template.H2}, "RSA-2048 high": {Template: template.H1},
		"P-256 with a nonce": {Template: template.L2, Nonce: nonce}, "P-256 with a template": {Template: template.L2, Nonce: nonce, Stored: true},
		"P-256 high with a template": {Template: template.H2, Stored: true},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.clock = time.Now()
			r.trust(t, "acme", []byte(root))
			s, err := m.NewTPMWith(t.Context(), filepath.Join(t.TempDir(), "s"), attesttest.Factory{EKs: []attesttest.FactoryEK{e}, Chain: true})
			claim := introduce(t, s, err)
			c := r.begins(t, "honest", claim, "")
			if want := ek.DeviceID(claim.EKPublic); string(c.Device) != want {
				t.Errorf("the device is %s, want %s", c.Device, want)
			}
			bare := claim
			bare.EKChain = nil
			r.begins(t, "without the intermediate", bare, ek.CodeUnknownManufacturer)
			bare.EKChain = []byte("rubbish")
			r.begins(t, "with rubbish for it", bare, ek.CodeMalformed)
		})
	}
}

// One TPM is one device, by whatever template its key is shown.
func TestAttack_K8_OneKeyByTwoTemplates(t *testing.T) {
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
	s, err := m.NewTPMWith(t.Context(), filepath.Join(t.TempDir(), "s"), attesttest.Factory{EKs: []attesttest.FactoryEK{{Template: template.L2}}})
	claim := introduce(t, s, err)
	twins, err := ek.Twins(claim.EKPublic)
	if err != nil || len(twins) != 1 {
		t.Fatalf("%d twins, %v", len(twins), err)
	}
	twin := claim
	twin.EKPublic = twins[0]
	id := r.begins(t, "as it is", claim, "").Device
	for _, lifecycle := range []fleet.Lifecycle{fleet.Active, fleet.Retired} {
		d, err := r.store.Device(t.Context(), id)
		if err != nil {
			d = fleet.Device{ID: id, EnrolledAt: r.clock}
		}
		d.Lifecycle = lifecycle
		if err := r.store.Apply(t.Context(), fleet.Change{Devices: []fleet.Device{d}}); err != nil {
			t.Fatal(err)
		}
		r.begins(t, "as another device, where the first is "+string(lifecycle), twin, "ek_shown_twice")
	}
	other, err := m.NewTPMWith(t.Context(), filepath.Join(t.TempDir(), "s"), attesttest.Factory{EKs: []attesttest.FactoryEK{{Template: template.L2}}})
	mixed := introduce(t, other, err)
	mixed.EKPublic = claim.EKPublic
	r.begins(t, "with the public area of another TPM", mixed, ek.CodeKeyMismatch)
	mixed.EKPublic, mixed.EKTemplate = nil, claim.AKPublic
	r.begins(t, "with an attestation key for a template", mixed, ek.CodeNotTemplate)
	mixed.EKTemplate, mixed.EKNonce = nil, make([]byte, 33)
	r.begins(t, "with a nonce that is too long", mixed, ek.CodeNotTemplate)
}

// What a manufacturer's lists say, and that there are none, under each policy, for
// a real TPM and lists that are really fetched.
func TestAttack_K7_RevokedEK(t *testing.T) {
	web := newSite(t)
	m, err := attesttest.NewRevokingManufacturer(t.TempDir(), "acme", web.URL)
	if err != nil {
		t.Fatal(err)
	}
	pem, err := m.RootsPEM()
	if err != nil {
		t.Fatal(err)
	}
	s, err := m.NewTPMWith(t.Context(), filepath.Join(t.TempDir(), "s"), attesttest.Factory{EKs: []attesttest.FactoryEK{{Template: template.L2}}})
	claim := introduce(t, s, err)
	cert, err := ek.ParseCertificate(claim.EKCertificate)
	if err != nil {
		t.Fatal(err)
	}
	loopback := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	at := time.Now()
	ended := attesttest.CRL{ThisUpdate: at.Add(-48 * time.Hour), NextUpdate: at.Add(-24 * time.Hour)}
	revoked := attesttest.CRL{}
	revoked.Revoked = append(revoked.Revoked, cert)
	rig := func(t *testing.T, policy ek.RevocationPolicy, allowed []netip.Prefix, dir string) *rig {
		t.Helper()
		r := newRig(t)
		r.clock = at
		r.trust(t, "acme", pem)
		kept, err := crl.OpenKept(dir, at)
		if err != nil {
			t.Fatal(err)
		}
		f := crl.NewFetcher(crl.FetchOptions{Allowed: allowed, Timeout: 5 * time.Second})
		r.Revocation, r.CRLPatience, r.CRLs = policy, 300*time.Millisecond, ek.NewCRLs(ek.CRLOptions{Fetch: f.Fetch, Kept: kept})
		return r
	}
	for name, tt := range map[string]struct {
		list            *attesttest.CRL // nil: none
		allowed         []netip.Prefix
		require, prefer string
		problem         string // that policy sees under prefer
	}{
		"clean":                {&attesttest.CRL{}, loopback, "", "", ""},
		"revoked":              {&revoked, loopback, ek.CodeRevoked, ek.CodeRevoked, ""},
		"ended":                {&ended, loopback, ek.CodeCRLStale, "", ek.CodeCRLStale},
		"unreachable":          {nil, loopback, ek.CodeCRLUnavailable, "", ek.CodeCRLUnavailable},
		"at a private address": {&revoked, nil, ek.CodeCRLUnavailable, "", ek.CodeCRLUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			web.pages = map[string][]byte{}
			if tt.list != nil {
				web.publish(t, m, *tt.list)
			}
			rig(t, ek.RequireCRLs, tt.allowed, t.TempDir()).begins(t, "require", claim, tt.require)
			r := rig(t, ek.PreferCRLs, tt.allowed, t.TempDir())
			c := r.begins(t, "prefer", claim, tt.prefer)
			if tt.prefer == "" {
				e, err := r.store.TakeEnrollment(t.Context(), c.ID)
				if err != nil || e.Manufacturer != "acme" || e.EKProblem != tt.problem {
					t.Errorf("the manufacturer is %q, the problem %q, %v; want the problem %q", e.Manufacturer, e.EKProblem, err, tt.problem)
				}
			}
			rig(t, ek.IgnoreCRLs, tt.allowed, t.TempDir()).begins(t, "ignore", claim, "")
		})
	}
	t.Run("kept across a restart", func(t *testing.T) {
		dir := t.TempDir()
		web.publish(t, m, revoked)
		rig(t, ek.PreferCRLs, loopback, dir).begins(t, "before", claim, ek.CodeRevoked)
		rig(t, ek.PreferCRLs, nil, dir).begins(t, "after, where nothing can be fetched", claim, ek.CodeRevoked)
	})
	t.Run("slow", func(t *testing.T) {
		web.publish(t, m, attesttest.CRL{})
		hang := make(chan struct{})
		web.mu.Lock()
		web.hang = hang
		web.mu.Unlock()
		r := rig(t, ek.RequireCRLs, loopback, t.TempDir())
		begun := time.Now()
		r.begins(t, "while it hangs", claim, ek.CodeCRLUnavailable)
		if took := time.Since(begun); took > 3*time.Second {
			t.Errorf("an enrolment waited %s for a list", took)
		}
		close(hang)
		for end := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
			if _, err := r.Begin(context.WithoutCancel(t.Context()), claim); err == nil {
				break
			} else if time.Now().After(end) {
				t.Fatalf("the list is there, and the device is still refused: %v", err)
			}
		}
	})
}
