package e2e

import (
	"crypto/sha256"
	"crypto/x509"
	"database/sql"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"

	vaultapi "github.com/hashicorp/vault/api"

	"troth/ca/catest"
	"troth/ca/vault"
	"troth/internal/fleet"
)

// vaultRig is a real Vault on disk with Troth's role, an audit device, and a
// proxy before it.
type vaultRig struct {
	server *catest.VaultServer
	admin  *vaultapi.Client
	setup  vault.BootstrapConfig
	secret string // file of the AppRole's secret id
	config string // of a service that uses it
	door   *door
}

func newVaultRig(t testing.TB) *vaultRig {
	t.Helper()
	v := &vaultRig{server: catest.StartVaultOnDisk(t, t.TempDir()), setup: vault.BootstrapConfig{TrustDomain: "troth.internal"}}
	v.admin = must(vaultapi.NewClient(&vaultapi.Config{Address: v.server.Addr}))(t)
	v.admin.SetToken(v.server.Token)
	v.bootstrap(t)
	v.secret = t.TempDir() + "/secret-id"
	role := v.newSecret(t)
	v.door = newDoor(t, v.server.Addr)
	v.config = fmt.Sprintf("certificates:\n  vault: {address: %q, role_id: %s, secret_id_file: %s}\n", v.door.URL, role.RoleID, v.secret)
	return v
}

// bootstrap sets Vault up, and mends what was changed since.
func (v *vaultRig) bootstrap(t testing.TB) {
	t.Helper()
	if _, err := vault.Bootstrap(t.Context(), v.admin, v.setup, vault.Options{Repair: true}); err != nil {
		t.Fatal(err)
	}
}

// newSecret puts a fresh secret id where the service reads it.
func (v *vaultRig) newSecret(t testing.TB) vault.AppRole {
	t.Helper()
	role := must(vault.Credentials(t.Context(), v.admin, v.setup))(t)
	if err := os.WriteFile(v.secret, []byte(role.SecretID), 0o600); err != nil {
		t.Fatal(err)
	}
	return role
}

// present is the secret id in use.
func (v *vaultRig) present(t testing.TB) string {
	t.Helper()
	return string(must(os.ReadFile(v.secret))(t))
}

// write changes something in Vault behind the service's back.
func (v *vaultRig) write(t testing.TB, path string, data map[string]any) {
	t.Helper()
	if _, err := v.admin.Logical().WriteWithContext(t.Context(), path, data); err != nil {
		t.Fatal(err)
	}
}

// alter changes some settings of the role that signs.
func (v *vaultRig) alter(t testing.TB, settings map[string]any) {
	t.Helper()
	if _, err := v.admin.Logical().JSONMergePatch(t.Context(), vault.DefaultMount+"/roles/"+vault.DefaultRole, settings); err != nil {
		t.Fatal(err)
	}
}

// revoked are the serial numbers in the CRL that Vault publishes to everybody.
func (v *vaultRig) revoked(t testing.TB) map[string]bool {
	t.Helper()
	response := must(http.Get(v.server.Addr + "/v1/" + vault.DefaultMount + "/crl"))(t)
	defer response.Body.Close()
	list := must(x509.ParseRevocationList(must(io.ReadAll(response.Body))(t)))(t)
	serials := map[string]bool{}
	for _, e := range list.RevokedCertificateEntries {
		serials[hex.EncodeToString(e.SerialNumber.Bytes())] = true
	}
	return serials
}

// revoke revokes as an administrator does who has only the certificate.
func (v *vaultRig) revoke(t testing.TB, c *x509.Certificate) {
	t.Helper()
	v.write(t, vault.DefaultMount+"/revoke", map[string]any{
		"certificate": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})),
	})
	must(v.admin.Logical().ReadWithContext(t.Context(), vault.DefaultMount+"/crl/rotate"))(t)
}

func serialOf(c *x509.Certificate) string { return hex.EncodeToString(c.SerialNumber.Bytes()) }

// record is a certificate as the service keeps it.
type record struct {
	device, state, reason, serial string
	key                           [sha256.Size]byte
}

func (s *service) records(t testing.TB) (all []record) {
	t.Helper()
	db := must(sql.Open("sqlite", strings.TrimPrefix(s.dsn, "sqlite:")))(t)
	defer db.Close()
	rows := must(db.QueryContext(t.Context(), "SELECT device, state, reason, serial, key_sha256 FROM certificates ORDER BY created_at"))(t)
	defer rows.Close()
	for rows.Next() {
		var r record
		var key []byte
		if err := rows.Scan(&r.device, &r.state, &r.reason, &r.serial, &key); err != nil {
			t.Fatal(err)
		}
		copy(r.key[:], key)
		all = append(all, r)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

// balance compares Vault's own record of what it signed with the service's. What
// is on record as issued was signed; what was signed is on record as issued or,
// one for one and by key, as something that may exist. It returns how many
// certificates are of the second kind.
func (v *vaultRig) balance(t testing.TB, s *service) (lost int) {
	t.Helper()
	issued, doubtful := map[string]record{}, map[[sha256.Size]byte]int{}
	for _, r := range s.records(t) {
		switch {
		case r.serial != "":
			issued[r.serial] = r
		case r.state != string(fleet.CertificateFailed) || strings.HasPrefix(r.reason, "signed"):
			doubtful[r.key]++
		}
	}
	for _, c := range v.server.SignedCertificates(t) {
		if r, ok := issued[serialOf(c)]; ok {
			if len(c.URIs) != 1 || !strings.HasSuffix(c.URIs[0].Path, "/"+r.device) {
				t.Errorf("certificate %s is on record for %s and names %v", r.serial, r.device, c.URIs)
			}
			delete(issued, r.serial)
			continue
		}
		key := sha256.Sum256(c.RawSubjectPublicKeyInfo)
		if doubtful[key] == 0 {
			t.Errorf("Vault signed %s for %v, of which nothing is on record", serialOf(c), c.URIs)
		}
		doubtful[key]--
		lost++
	}
	for serial, r := range issued {
		t.Errorf("certificate %s is on record as %s, and Vault never signed it", serial, r.state)
	}
	return lost
}

// door is an HTTP proxy before Vault that can act when a request to sign passes.
type door struct {
	*httptest.Server
	vault http.Handler
	mu    sync.Mutex
	act   func(w http.ResponseWriter, r *http.Request) // nil: pass it on
}

func newDoor(t testing.TB, target string) *door {
	t.Helper()
	proxy := httputil.NewSingleHostReverseProxy(must(url.Parse(target))(t))
	proxy.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) }
	d := &door{vault: proxy}
	d.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d.mu.Lock()
		act := d.act
		d.mu.Unlock()
		if act == nil || !strings.Contains(r.URL.Path, "/sign/") {
			act = d.vault.ServeHTTP
		}
		act(w, r)
	}))
	t.Cleanup(d.Close)
	return d
}

// at has something done at each request to sign; nil: nothing.
func (d *door) at(act func(w http.ResponseWriter, r *http.Request)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.act = act
}

// cutAfter passes the request on, and then only so much of its answer.
func (d *door) cutAfter(bytes int) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, r *http.Request) {
		whole := httptest.NewRecorder()
		d.vault.ServeHTTP(whole, r)
		if bytes > 0 {
			w.Header().Set("Content-Length", fmt.Sprint(whole.Body.Len()))
			w.WriteHeader(whole.Code)
			_, _ = w.Write(whole.Body.Bytes()[:bytes])
			_ = http.NewResponseController(w).Flush()
		}
		if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
			_ = conn.Close()
		}
	}
}
