package server_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	vaultapi "github.com/hashicorp/vault/api"

	"troth/ca"
	"troth/ca/catest"
	"troth/ca/vault"
	"troth/internal/api"
	"troth/internal/fleet"
	"troth/internal/server"
	"troth/internal/store"
)

// fleetRig is a whole service on a real Vault with storage and an audit device,
// and a fleet of paper.
type fleetRig struct {
	*running
	vault   *catest.VaultServer
	role    vault.AppRole
	raw     *http.Client
	token   string // of the service's own kind, for raw requests to sign
	store   *store.Store
	paper   *paper
	trusted *x509.CertPool
	pid     int // of the service, where it is a process of its own
}

// newFleetRig has the service in this process.
func newFleetRig(t testing.TB) *fleetRig {
	t.Helper()
	return newFleetRigOf(t, func(s served) (*running, int) {
		r := start(t, s.config())
		t.Cleanup(r.end)
		return r, 0
	})
}

// newFleetRigAlone has the service in a process of its own.
func newFleetRigAlone(t testing.TB) *fleetRig {
	t.Helper()
	return newFleetRigOf(t, func(s served) (*running, int) { return startAlone(t, s) })
}

func newFleetRigOf(t testing.TB, run func(served) (*running, int)) *fleetRig {
	t.Helper()
	r := &fleetRig{vault: catest.StartVaultOnDisk(t, t.TempDir()), paper: newPaper(t), trusted: x509.NewCertPool()}
	admin := must(vaultapi.NewClient(&vaultapi.Config{Address: r.vault.Addr}))(t)
	admin.SetToken(r.vault.Token)
	setup := vault.BootstrapConfig{TrustDomain: "troth.internal"}
	if _, err := vault.Bootstrap(t.Context(), admin, setup, vault.Options{Repair: true}); err != nil {
		t.Fatal(err)
	}
	r.role = must(vault.Credentials(t.Context(), admin, setup))(t)
	login := must(admin.Logical().WriteWithContext(t.Context(), "auth/approle/login", map[string]any{"role_id": r.role.RoleID, "secret_id": r.role.SecretID}))(t)
	r.token = login.Auth.ClientToken
	transport := &http.Transport{MaxIdleConnsPerHost: atOnce}
	t.Cleanup(transport.CloseIdleConnections)
	r.raw = &http.Client{Transport: transport}

	dir := filepath.Join(t.TempDir(), "data")
	secret := filepath.Join(t.TempDir(), "secret-id")
	if err := os.WriteFile(secret, []byte(r.role.SecretID), 0o600); err != nil {
		t.Fatal(err)
	}
	r.running, r.pid = run(served{DataDir: dir, Vault: &server.VaultConfig{Address: r.vault.Addr, RoleID: r.role.RoleID, SecretIDFile: secret}})
	r.client.Token = bootstrap.FindStringSubmatch(r.out.String())[1]
	var operator api.Token
	r.post(t, api.PathLogin, api.LoginRequest{Operator: "ada"}, &operator)
	r.client.Token = operator.Token
	r.post(t, api.PathManufacturers, api.ManufacturerRequest{Name: "paper", PEM: r.paper.pem()}, nil)
	r.store = must(store.Open(t.Context(), "sqlite:"+filepath.Join(dir, "troth.db")))(t)
	t.Cleanup(func() { _ = r.store.Close() })
	if !r.trusted.AppendCertsFromPEM(must(os.ReadFile(filepath.Join(dir, "ca.pem")))(t)) {
		t.Fatal("ca.pem holds no certificate")
	}
	return r
}

func (r *fleetRig) post(t testing.TB, path string, in, out any) {
	t.Helper()
	if err := r.client.Do(t.Context(), http.MethodPost, path, in, out); err != nil {
		t.Fatal(err)
	}
}

// devices makes many.
func (r *fleetRig) devices(t testing.TB, n int) []*paperDevice {
	t.Helper()
	all := make([]*paperDevice, n)
	each(n, func(i int) { all[i] = r.paper.device(t) })
	return all
}

// lastAddress counts the loopback addresses that were given out.
var lastAddress atomic.Uint32

// address is where the service listens.
func (r *fleetRig) address() string { return strings.TrimPrefix(r.client.Base, "https://") }

// ownAddress dials from a loopback address that nobody else has.
func (r *fleetRig) ownAddress() *net.Dialer {
	n := lastAddress.Add(1)
	return &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, byte(1+n>>16), byte(n>>8), byte(n))}}
}

// caller is a device's own connection to the service: it comes from an address of
// its own, and has made no handshake yet.
func (r *fleetRig) caller(cert *tls.Certificate) *api.Client {
	config := &tls.Config{RootCAs: r.trusted, MinVersion: tls.VersionTLS13}
	if cert != nil {
		config.Certificates = []tls.Certificate{*cert}
	}
	transport := &http.Transport{TLSClientConfig: config, DialContext: r.ownAddress().DialContext, MaxIdleConns: 1, IdleConnTimeout: time.Minute}
	return &api.Client{Base: r.client.Base, HTTP: &http.Client{Transport: transport, Timeout: 30 * time.Second}}
}

// atOnce is how many requests are under way at once, raw and through the service.
const atOnce = 16

// each does something n times, atOnce at a time.
func each(n int, do func(i int)) {
	var group sync.WaitGroup
	var next atomic.Int64
	for range min(n, atOnce) {
		group.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				do(i)
			}
		})
	}
	group.Wait()
}

// sign has Vault sign as the service has it, and does nothing else.
func (r *fleetRig) sign(d *paperDevice) error {
	body, err := json.Marshal(map[string]any{
		"csr": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: d.csr})), "uri_sans": "spiffe://troth.internal/device/" + d.id, "ttl": "86400s",
	})
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(context.Background(), http.MethodPut, r.vault.Addr+"/v1/"+vault.DefaultMount+"/sign/"+vault.DefaultRole, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("X-Vault-Token", r.token)
	answer, err := r.raw.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if text, err := io.ReadAll(answer.Body); err != nil || answer.StatusCode != http.StatusOK {
		return fmt.Errorf("vault answers %s: %s, %w", answer.Status, text, err)
	}
	return nil
}

// known puts devices on record as enrolled and compliant, each with a certificate
// that Vault signed, as if they had enrolled yesterday. It returns what they
// present.
func (r *fleetRig) known(t testing.TB, all []*paperDevice) []*tls.Certificate {
	t.Helper()
	issuer := must(vault.New(vault.Config{Address: r.vault.Addr, AppRole: &r.role, Now: time.Now}))(t)
	defer issuer.Close()
	now := time.Now()
	held := make([]*tls.Certificate, len(all))
	changes := make([]fleet.Change, len(all))
	each(len(all), func(i int) {
		d := all[i]
		certificate, err := issuer.Issue(context.Background(), ca.Request{CSR: d.csr, PublicKey: &d.tls.PublicKey, URI: "spiffe://troth.internal/device/" + d.id})
		if err != nil {
			t.Error(err)
			return
		}
		held[i] = &tls.Certificate{Certificate: append([][]byte{certificate.DER}, certificate.Chain...), PrivateKey: d.tls}
		leaf := must(x509.ParseCertificate(certificate.DER))(t)
		changes[i] = fleet.Change{
			Devices: []fleet.Device{{
				ID: fleet.DeviceID(d.id), Model: "meter-m1", Lifecycle: fleet.Active, EnrolledAt: now, TLSPublic: leaf.RawSubjectPublicKeyInfo,
				Verdict: fleet.Compliant, VerdictAt: now, VerdictSince: now, FreshUntil: now.Add(time.Hour),
			}},
			Certificates: []fleet.Certificate{{
				ID: fleet.NewID(), Device: fleet.DeviceID(d.id), State: fleet.CertificateIssued, Key: keyOf(leaf), CreatedAt: now,
				Serial: certificate.Serial, DER: certificate.DER, NotBefore: certificate.NotBefore, NotAfter: certificate.NotAfter,
			}},
		}
	})
	if t.Failed() {
		t.FailNow()
	}
	var intents, issued fleet.Change
	for _, c := range changes {
		issued.Devices = append(issued.Devices, c.Devices...)
		issued.Certificates = append(issued.Certificates, c.Certificates...)
		intent := c.Certificates[0]
		intent.State, intent.Serial, intent.DER = fleet.CertificateIntended, "", nil
		intents.Certificates = append(intents.Certificates, intent)
	}
	for _, change := range []fleet.Change{intents, issued} {
		if err := r.store.Apply(t.Context(), change); err != nil {
			t.Fatal(err)
		}
	}
	return held
}

func keyOf(leaf *x509.Certificate) []byte {
	sum := sha256.Sum256(leaf.RawSubjectPublicKeyInfo)
	return sum[:]
}
