package vault_test

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"troth/ca"
	"troth/ca/catest"
	"troth/ca/vault"
)

// cluster answers TokenReview as a Kubernetes API server does
// (https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/token-review-v1/)
// for service account tokens that it made.
type cluster struct {
	*httptest.Server
	key *ecdsa.PrivateKey
}

const reviewer = "reviewer"

func newCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{key: catest.NewKey(t)}
	c.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/apis/authentication.k8s.io/v1/tokenreviews" || r.Method != http.MethodPost {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		if r.Header.Get("Authorization") != "Bearer "+reviewer {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		var review map[string]any
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		token, _ := review["spec"].(map[string]any)["token"].(string)
		review["status"] = c.review(token)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusCreated)
		_ = json.NewEncoder(w).Encode(review)
	}))
	t.Cleanup(c.Close)
	return c
}

func (c *cluster) review(token string) map[string]any {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return map[string]any{"authenticated": false, "error": "not a token"}
	}
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	digest := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if err != nil || len(signature) != 64 ||
		!ecdsa.Verify(&c.key.PublicKey, digest[:], new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])) {
		return map[string]any{"authenticated": false, "error": "invalid signature"}
	}
	body, _ := base64.RawURLEncoding.DecodeString(parts[1])
	var claims struct {
		Sub string   `json:"sub"`
		Exp int64    `json:"exp"`
		Aud []string `json:"aud"`
	}
	if json.Unmarshal(body, &claims) != nil || time.Now().Unix() > claims.Exp {
		return map[string]any{"authenticated": false, "error": "token has expired"}
	}
	return map[string]any{"authenticated": true, "audiences": claims.Aud,
		"user": map[string]any{"username": claims.Sub, "uid": "0a1b", "groups": []string{"system:serviceaccounts"}}}
}

// token is a projected service account token.
func (c *cluster) token(t *testing.T, account string, life time.Duration) string {
	t.Helper()
	part := func(v any) string {
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(text)
	}
	signed := part(map[string]any{"alg": "ES256", "kid": "1"}) + "." + part(map[string]any{
		"iss": "https://kubernetes.default.svc", "aud": []string{"vault"}, "sub": "system:serviceaccount:troth:" + account,
		"iat": time.Now().Add(-time.Hour).Unix(), "exp": time.Now().Add(life).Unix(),
		"kubernetes.io": map[string]any{"namespace": "troth", "serviceaccount": map[string]any{"name": account, "uid": "0a1b"}},
	})
	digest := sha256.Sum256([]byte(signed))
	r, s, err := ecdsa.Sign(rand.Reader, c.key, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	signature := append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature)
}

func TestKubernetesLogin(t *testing.T) {
	s := start(t)
	k8s := newCluster(t)
	s.write(t, "sys/auth/kubernetes", map[string]any{"type": "kubernetes"})
	s.write(t, "auth/kubernetes/config", map[string]any{
		"kubernetes_host": k8s.URL, "disable_local_ca_jwt": true, "token_reviewer_jwt": reviewer,
		"kubernetes_ca_cert": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: k8s.Certificate().Raw})),
	})
	s.write(t, "auth/kubernetes/role/troth", map[string]any{
		"bound_service_account_names": "trothd", "bound_service_account_namespaces": "troth", "audience": "vault",
		"token_policies": vault.DefaultPolicy, "token_no_default_policy": true, "token_ttl": "20m",
	})
	file := filepath.Join(t.TempDir(), "token")
	config := vault.Config{Address: s.server.Addr, Now: time.Now, Kubernetes: &vault.Kubernetes{Role: "troth", TokenFile: file}}
	stranger := newCluster(t)
	for name, token := range map[string]string{
		"expired":             k8s.token(t, "trothd", -time.Minute),
		"another account":     k8s.token(t, "web", time.Hour),
		"of another cluster":  stranger.token(t, "trothd", time.Hour),
		"not a token":         "x",
		"nothing":             "",
		"two lines of tokens": "x\ny",
	} {
		put(t, file, token)
		is(t, name, newCA(t, config).Check(t.Context()), ca.ErrUnavailable)
	}
	issuer := newCA(t, config)
	is(t, "before the token is there", issuer.Check(t.Context()), ca.ErrUnavailable)
	put(t, file, k8s.token(t, "trothd", time.Hour))
	if _, err := issuer.Issue(t.Context(), catest.NewRequest(t, "device")); err != nil {
		t.Fatal(err)
	}
	// The kubelet replaces the file; the next login reads it.
	put(t, file, k8s.token(t, "trothd", 2*time.Hour))
	s.write(t, "sys/leases/revoke-prefix/auth/kubernetes/login", nil)
	if _, err := issuer.Issue(t.Context(), catest.NewRequest(t, "device")); err != nil {
		t.Errorf("after the tokens were revoked: %v", err)
	}
}

// identity is a CA's client certificate in files.
type identity struct{ certFile, keyFile string }

func newIdentity(t *testing.T, dir, name string, root *x509.Certificate, key *ecdsa.PrivateKey) identity {
	t.Helper()
	own := catest.NewKey(t)
	leaf := sign509(t, &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, root, &own.PublicKey, key)
	der, err := x509.MarshalPKCS8PrivateKey(own)
	if err != nil {
		t.Fatal(err)
	}
	return identity{
		certFile: put(t, filepath.Join(dir, name+".pem"), certificatePEM(leaf)),
		keyFile:  put(t, filepath.Join(dir, name+".key"), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))),
	}
}

func newRoot(t *testing.T) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key := catest.NewKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "operators"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	return sign509(t, template, template, &key.PublicKey, key), key
}

// startTLS is start with a Vault that speaks TLS.
func startTLS(t *testing.T) *setup {
	t.Helper()
	server := catest.StartVaultTLS(t)
	admin, err := vault.NewAdminClient(vault.Config{Address: server.Addr, CACert: server.CACert, Now: time.Now}, server.Token)
	if err != nil {
		t.Fatal(err)
	}
	s := &setup{server: server, admin: admin, config: vault.BootstrapConfig{TrustDomain: catest.TrustDomain}}
	s.bootstrap(t)
	return s
}

func TestCertificateLogin(t *testing.T) {
	s := startTLS(t)
	root, key := newRoot(t)
	s.write(t, "sys/auth/cert", map[string]any{"type": "cert"})
	s.write(t, "auth/cert/certs/troth", map[string]any{
		"certificate": certificatePEM(root), "allowed_common_names": "trothd",
		"token_policies": vault.DefaultPolicy, "token_no_default_policy": true, "token_ttl": "2s", "token_max_ttl": "1h",
	})
	dir := t.TempDir()
	own := newIdentity(t, dir, "trothd", root, key)
	config := vault.Config{Address: s.server.Addr, CACert: s.server.CACert, Now: time.Now,
		Certificate: &vault.Certificate{Role: "troth", CertFile: own.certFile, KeyFile: own.keyFile}}
	issuer := newCA(t, config)
	// Renewal must show the certificate too: Vault binds the token to it.
	issueFor(t, issuer, 4*time.Second)
	newIdentity(t, dir, "trothd", root, key) // replaced on disk
	s.write(t, "sys/leases/revoke-prefix/auth/cert/login", nil)
	if _, err := issuer.Issue(t.Context(), catest.NewRequest(t, "device")); err != nil {
		t.Errorf("with a new certificate: %v", err)
	}
	otherRoot, otherKey := newRoot(t)
	for name, bad := range map[string]identity{
		"another name": newIdentity(t, dir, "web", root, key),
		"another CA":   newIdentity(t, t.TempDir(), "trothd", otherRoot, otherKey),
		"no file":      {certFile: filepath.Join(dir, "none"), keyFile: own.keyFile},
	} {
		config.Certificate = &vault.Certificate{Role: "troth", CertFile: bad.certFile, KeyFile: bad.keyFile}
		is(t, name, newCA(t, config).Check(t.Context()), ca.ErrUnavailable)
	}
}

// TestAttack_S8_VaultTLS: whoever stands at Vault's address without its
// certificate gets neither token nor request, whatever the environment says.
func TestAttack_S8_VaultTLS(t *testing.T) {
	t.Setenv("VAULT_SKIP_VERIFY", "true")
	s := startTLS(t)
	t.Setenv("VAULT_CACERT", s.server.CACert)
	t.Setenv("VAULT_TLS_SERVER_NAME", "localhost")
	root, _ := newRoot(t)
	other := put(t, filepath.Join(t.TempDir(), "other.pem"), certificatePEM(root))
	good := vault.Config{Address: s.server.Addr, CACert: s.server.CACert, AppRole: s.credentials(t), Now: time.Now}
	for name, change := range map[string]func(*vault.Config){
		"as it is":   func(*vault.Config) {},
		"named":      func(c *vault.Config) { c.ServerName = "localhost" },
		"TLS 1.2 on": func(c *vault.Config) { c.TLS12 = true },
	} {
		config := good
		change(&config)
		if err := newCA(t, config).Check(t.Context()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, change := range map[string]func(*vault.Config){
		"another root":    func(c *vault.Config) { c.CACert = other },
		"system's roots":  func(c *vault.Config) { c.CACert = "" },
		"another name":    func(c *vault.Config) { c.ServerName = "vault.example.org" },
		"proxy from file": func(c *vault.Config) { c.Proxy = "http://127.0.0.1:1" },
	} {
		config := good
		change(&config)
		is(t, name, newCA(t, config).Check(t.Context()), ca.ErrUnavailable)
	}
}

// TestTLS12: an endpoint without TLS 1.3 is used only where that is said.
func TestTLS12(t *testing.T) {
	s := start(t)
	target, err := url.Parse(s.server.Addr)
	if err != nil {
		t.Fatal(err)
	}
	old := httptest.NewUnstartedServer(httputil.NewSingleHostReverseProxy(target))
	old.Config.ErrorLog = log.New(io.Discard, "", 0) // the refused handshakes
	old.TLS = &tls.Config{MaxVersion: tls.VersionTLS12}
	old.StartTLS()
	t.Cleanup(old.Close)
	config := vault.Config{Address: old.URL, AppRole: s.credentials(t), Now: time.Now,
		CACert: put(t, filepath.Join(t.TempDir(), "ca.pem"), certificatePEM(old.Certificate()))}
	is(t, "TLS 1.2", newCA(t, config).Check(t.Context()), ca.ErrUnavailable)
	config.TLS12 = true
	if err := newCA(t, config).Check(t.Context()); err != nil {
		t.Errorf("TLS 1.2 allowed: %v", err)
	}
}
