package e2e

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"troth/ca/vault"
	"troth/internal/api"
)

// What may go wrong between the service and Vault, each on a real Vault with
// storage, and after each the same question: does Vault's own record of what it
// signed agree with the service's?

// onVault is a service whose CA is Vault, and a device that it knows.
func onVault(t testing.TB) (*vaultRig, *service, *attacker) {
	t.Helper()
	v := newVaultRig(t)
	s := newService(t, v.config)
	a := newAttacker(t, s)
	a.enroll()
	a.mustCheckIn("compliant")
	return v, s, a
}

func TestAttack_S9_VaultSealedAndRestarted(t *testing.T) {
	t.Parallel()
	v, s, a := onVault(t)
	b := newAttacker(t, s)
	reopen := func(t testing.TB) { v.server.Restart(t); v.server.Unseal(t) }
	kill := func(testing.TB) { v.server.Kill() }
	for _, fault := range []struct {
		name       string
		begin, end func(testing.TB)
	}{
		{"sealed", v.server.Seal, v.server.Unseal},
		{"stopped", v.server.Stop, reopen},
		{"restarted, and nobody unseals it", func(t testing.TB) { v.server.Stop(t); v.server.Restart(t) }, v.server.Unseal},
		{"killed", kill, reopen},
	} {
		fault.begin(t)
		before := v.server.SignRequests(t)
		_, err := a.renew()
		wantCode(t, err, "ca_unavailable")
		_, err = b.tryEnroll()
		wantCode(t, err, "ca_unavailable")
		a.mustCheckIn("compliant") // nobody else needs Vault
		if away := s.ready(t); !slices.Contains(away, "certificate authority") {
			t.Fatalf("%s: /readyz does not name the certificate authority: %v", fault.name, away)
		}
		if n := v.server.SignRequests(t) - before; n != 0 {
			t.Errorf("%s: it was asked to sign %d times", fault.name, n)
		}
		fault.end(t)
		a.renewed()
		s.readyAgain(t)
		if lost := v.balance(t, s); lost != 0 {
			t.Errorf("%s: %d certificates were lost", fault.name, lost)
		}
	}
	b.persist()
	b.enrolledOnce()
	v.balance(t, s)
}

// renewed renews as the agent does: again, until it is served.
func (a *attacker) renewed() {
	a.t.Helper()
	eventually(a.t, 15*time.Second, "the device's certificate is renewed", func() (string, bool) {
		c, err := a.renew()
		if err != nil {
			return err.Error(), false
		}
		a.hold(c)
		return "", true
	})
}

func TestAttack_S9_VaultTokenEnds(t *testing.T) {
	t.Parallel()
	v, s, a := onVault(t)

	// Revoked between our login and the request that uses it.
	before := v.server.SignRequests(t)
	var once sync.Once
	v.door.at(func(w http.ResponseWriter, r *http.Request) {
		once.Do(func() {
			v.write(t, "auth/token/revoke", map[string]any{"token": r.Header.Get("X-Vault-Token")})
		})
		v.door.vault.ServeHTTP(w, r)
	})
	a.hold(must(a.renew())(t))
	v.door.at(nil)
	if n := v.server.SignRequests(t) - before; n != 2 {
		t.Errorf("Vault saw %d requests to sign, want one with the revoked token and one with the next", n)
	}
	v.balance(t, s)

	// Ended by its time, and no renewal goes beyond that.
	v.write(t, "auth/approle/role/"+vault.DefaultAppRole, map[string]any{"token_ttl": "2s", "token_max_ttl": "2s"})
	v.write(t, "sys/leases/revoke-prefix/auth/approle/login", nil)
	a.renewed()
	time.Sleep(2500 * time.Millisecond)
	a.hold(must(a.renew())(t))

	// With the secret id gone there is no next login, until somebody brings another.
	v.write(t, "auth/approle/role/"+vault.DefaultAppRole+"/secret-id/destroy", map[string]any{"secret_id": v.present(t)})
	time.Sleep(2500 * time.Millisecond)
	_, err := a.renew()
	wantCode(t, err, "ca_unavailable")
	v.newSecret(t)
	a.renewed()
	if lost := v.balance(t, s); lost != 0 {
		t.Errorf("%d certificates were lost", lost)
	}
}

func TestAttack_S8_RoleLoosened(t *testing.T) {
	t.Parallel()
	v, s, a := onVault(t)
	b := newAttacker(t, s)
	held := a.serial
	for name, settings := range map[string]map[string]any{
		"for servers too":     {"server_flag": true},
		"for encryption too":  {"key_usage": []string{"DigitalSignature", "KeyEncipherment"}},
		"of a company":        {"organization": []string{"admins"}},
		"for code signing":    {"code_signing_flag": true},
		"with a policy in it": {"ext_key_usage_oids": []string{"1.3.6.1.4.1.311.20.2.2"}},
	} {
		v.alter(t, settings)
		_, err := a.renew()
		wantCode(t, err, "ca_misissued")
		signed := v.server.SignedCertificates(t)
		if serial := serialOf(signed[len(signed)-1]); !v.revoked(t)[serial] {
			t.Errorf("%s: Vault's CRL does not hold %s, which was not what was asked for", name, serial)
		}
		v.bootstrap(t)
	}
	v.alter(t, map[string]any{"server_flag": true})
	_, err := b.tryEnroll()
	wantCode(t, err, "ca_misissued")
	s.strange(t, b.id)
	if k := s.kept(t, a.id); len(k.live()) != 1 || k.live()[0] != held || k.in("ambiguous") != 5 {
		t.Errorf("what was misissued changed what the device holds: %+v", k.Certificates)
	}
	if lost := v.balance(t, s); lost != 6 {
		t.Errorf("%d certificates were not accepted, want 6", lost)
	}
	v.bootstrap(t) // mends the role; nobody touches the service
	a.renewed()
	b.persist()
	b.enrolledOnce()
	v.balance(t, s)
}

func TestAttack_S9_RoleTightened(t *testing.T) {
	t.Parallel()
	v, s, a := onVault(t)
	signed := len(v.server.SignedCertificates(t))
	for name, settings := range map[string]map[string]any{
		"other names":     {"allowed_uri_sans": []string{"spiffe://elsewhere/device/*"}},
		"other keys":      {"key_type": "rsa", "key_bits": 3072},
		"no URIs at all":  {"allowed_uri_sans": []string{}},
		"a name is asked": {"require_cn": true},
	} {
		v.alter(t, settings)
		_, err := a.renew()
		if code := api.CodeOf(err); code != "ca_refused" {
			t.Errorf("%s: code %s: %v", name, code, err)
		}
		v.bootstrap(t)
	}
	must(v.admin.Logical().DeleteWithContext(t.Context(), vault.DefaultMount+"/roles/"+vault.DefaultRole))(t)
	_, err := a.renew()
	wantCode(t, err, "ca_refused")
	k := s.kept(t, a.id)
	if k.in("failed") != 5 || k.in("issued") != 1 || len(v.server.SignedCertificates(t)) != signed {
		t.Errorf("nothing was signed, and that should be on record: %+v", k.Certificates)
	}
	v.bootstrap(t)
	a.renewed()
	if lost := v.balance(t, s); lost != 0 {
		t.Errorf("%d certificates were lost", lost)
	}
}

// A Vault that takes longer than anybody waits, and one whose answer breaks off.
func TestAttack_S8_VaultSlow(t *testing.T) {
	t.Parallel()
	v, s, a := onVault(t)
	b := newAttacker(t, s)

	v.door.at(func(w http.ResponseWriter, r *http.Request) {
		whole := &discard{}
		v.door.vault.ServeHTTP(whole, r)
		<-r.Context().Done()
	})
	began := time.Now()
	_, err := a.renew()
	wantCode(t, err, "ca_unavailable")
	if took := time.Since(began); took > vault.DefaultTimeout+3*time.Second {
		t.Errorf("a device waited %v for an answer", took)
	}
	for _, bytes := range []int{0, 1, 500} {
		v.door.at(v.door.cutAfter(bytes))
		_, err := b.tryEnroll()
		wantCode(t, err, "ca_unavailable")
	}
	v.door.at(func(w http.ResponseWriter, r *http.Request) { // late, and in time
		time.Sleep(time.Second)
		v.door.vault.ServeHTTP(w, r)
	})
	a.hold(must(a.renew())(t))
	v.door.at(nil)
	b.persist()
	b.enrolledOnce()
	if lost := v.balance(t, s); lost != 4 {
		t.Errorf("%d certificates were lost, want the slow one and three that broke off", lost)
	}
}

type discard struct{ header http.Header }

func (d *discard) Header() http.Header {
	if d.header == nil {
		d.header = http.Header{}
	}
	return d.header
}
func (*discard) Write(b []byte) (int, error) { return len(b), nil }
func (*discard) WriteHeader(int)             {}

// Of a certificate whose answer was lost, Vault's CRL says nothing: the service
// never saw its serial number. It opens nothing here, nobody was given it, and
// who finds it in Vault's audit log can have it revoked.
func TestAttack_S8_LostCertificateOpensNothing(t *testing.T) {
	t.Parallel()
	v, s, a := onVault(t)
	held := a.serial
	v.door.at(v.door.cutAfter(0))
	_, err := a.renew()
	wantCode(t, err, "ca_unavailable")
	v.door.at(nil)
	k := s.kept(t, a.id)
	if live := k.live(); len(live) != 1 || live[0] != held || k.in("ambiguous") != 1 {
		t.Fatalf("the lost certificate is not in doubt: %+v", k.Certificates)
	}
	signed := v.server.SignedCertificates(t)
	lost := signed[len(signed)-1]
	if serialOf(lost) == held || v.revoked(t)[serialOf(lost)] {
		t.Fatalf("the last certificate that Vault signed is %s", serialOf(lost))
	}
	found := a.present(api.Credential{Certificate: lost.Raw})
	wantCode(t, found.Do(t.Context(), http.MethodPost, api.PathNonce, nil, nil), "certificate_unknown")
	v.revoke(t, lost)
	if !v.revoked(t)[serialOf(lost)] {
		t.Error("an administrator revoked it, and Vault's CRL does not say so")
	}
	a.renewed()
	if n := v.balance(t, s); n != 1 {
		t.Errorf("%d certificates are in doubt, want one", n)
	}
}

// No request of these reaches Vault: what a device may be called and which key it
// has is decided by what its TPM certified.
func TestAttack_S8_RequestsThatVaultNeverSees(t *testing.T) {
	t.Parallel()
	v := newVaultRig(t)
	s := newService(t, v.config)
	a := newAttacker(t, s)
	weak := must(ecdsa.GenerateKey(elliptic.P224(), rand.Reader))(t)
	other := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	long := must(rsa.GenerateKey(rand.Reader, 2048))(t)
	key := func(k crypto.Signer) func(*answer) { return func(p *answer) { p.csrKey = k } }
	extension := func(id asn1.ObjectIdentifier, value ...byte) func(*answer) {
		return func(p *answer) { p.csr.ExtraExtensions = []pkix.Extension{{Id: id, Value: value}} }
	}
	for _, c := range []struct {
		name, code string
		edit       func(*answer)
	}{
		{"a common name", "csr_names", func(p *answer) { p.csr.Subject = pkix.Name{CommonName: "admin"} }},
		{"an organization", "csr_names", func(p *answer) { p.csr.Subject = pkix.Name{Organization: []string{"admins"}} }},
		{"a DNS name", "csr_names", func(p *answer) { p.csr.DNSNames = []string{"troth.internal"} }},
		{"a mail address", "csr_names", func(p *answer) { p.csr.EmailAddresses = []string{"root@troth.internal"} }},
		{"an IP address", "csr_names", func(p *answer) { p.csr.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)} }},
		{"another device's URI", "csr_uri", func(p *answer) { p.csr.URIs[0].Path = "/device/" + strings.Repeat("0", 64) }},
		{"another trust domain", "csr_uri", func(p *answer) { p.csr.URIs[0].Host = "elsewhere.example" }},
		{"a second URI", "csr_uri", func(p *answer) { p.csr.URIs = append(p.csr.URIs, p.csr.URIs[0]) }},
		{"no name", "csr_uri", func(p *answer) { p.csr.URIs = nil }},
		{"a weak key", "csr_key_type", key(weak)},
		{"an RSA key", "csr_key_type", key(long)},
		{"a key that is not the certified one", "csr_key_mismatch", key(other)},
		{"a CA", "csr_extension", extension(asn1.ObjectIdentifier{2, 5, 29, 19}, 0x30, 3, 1, 1, 0xff)},
		{"may sign certificates", "csr_extension", extension(asn1.ObjectIdentifier{2, 5, 29, 15}, 3, 2, 1, 6)},
		{"is a server", "csr_extension", extension(asn1.ObjectIdentifier{2, 5, 29, 37}, 0x30, 0x0a, 6, 8, 0x2b, 6, 1, 5, 5, 7, 3, 1)},
	} {
		_, err := a.tryEnroll(c.edit)
		if code := api.CodeOf(err); code != c.code {
			t.Errorf("%s: code %s, want %s: %v", c.name, code, c.code, err)
		}
		s.kept(t, a.id).nothing(t)
	}
	if n := v.server.SignRequests(t); n != 0 {
		t.Errorf("Vault was asked to sign %d times", n)
	}
	a.enroll()
	renewals := v.server.SignRequests(t)
	a.mustCheckIn("compliant")
	for code, k := range map[string]crypto.Signer{"csr_key_mismatch": other, "csr_key_type": weak} {
		csr := must(x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, k))(t)
		err := a.client.Do(t.Context(), http.MethodPost, api.PathRenew, api.RenewRequest{CSR: csr}, nil)
		if got := api.CodeOf(err); got != code {
			t.Errorf("renewal with another key: code %s, want %s: %v", got, code, err)
		}
	}
	if n := v.server.SignRequests(t) - renewals; n != 0 {
		t.Errorf("Vault was asked to sign %d times at refused renewals", n)
	}
	v.balance(t, s)
}
