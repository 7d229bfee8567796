package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"troth/ca"
	"troth/ca/local"
	"troth/internal/api"
)

func uris(texts ...string) ([]*url.URL, error) {
	var all []*url.URL
	for _, text := range texts {
		u, err := url.Parse(text)
		if err != nil {
			return nil, err
		}
		all = append(all, u)
	}
	return all, nil
}

// nginx is a real one, whose client CA and revocation list are what the service
// publishes.
type nginx struct {
	dir, url string
	process  *exec.Cmd
}

const nginxConfig = `
daemon off;
master_process off;
pid %[1]s/pid;
error_log %[1]s/error.log;
events {}
http {
  access_log off;
  client_body_temp_path %[1]s/body;
  proxy_temp_path %[1]s/proxy;
  fastcgi_temp_path %[1]s/fastcgi;
  uwsgi_temp_path %[1]s/uwsgi;
  scgi_temp_path %[1]s/scgi;
  server {
    listen %[2]s ssl;
    ssl_certificate %[1]s/server.pem;
    ssl_certificate_key %[1]s/server.key;
    ssl_client_certificate %[1]s/bundle.pem;
    ssl_crl %[1]s/crl.pem;
    ssl_verify_client on;
    %[3]s
  }
}
`

// welcomes lets in whoever TLS lets in; asks, whom the service says yes to.
const (
	welcomes = `location / { return 200 "welcome"; }`
	asks     = `
    root %[1]s;
    location / {
      auth_request /troth;
      auth_request_set $device $upstream_http_x_troth_device;
      add_header X-Device $device;
    }
    location = /troth {
      internal;
      proxy_pass %[2]s/authz;
      proxy_pass_request_body off;
      proxy_set_header Content-Length "";
      proxy_set_header Authorization "Bearer %[3]s";
      proxy_set_header X-Client-Cert $ssl_client_escaped_cert;
      proxy_set_header X-Forwarded-Tls-Client-Cert "";
      proxy_set_header X-Original-Method $request_method;
      proxy_set_header X-Original-URI $request_uri;
      proxy_ssl_protocols TLSv1.3;
      proxy_ssl_verify on;
      proxy_ssl_name localhost; # nginx compares names, not addresses
      proxy_ssl_trusted_certificate %[1]s/bundle.pem;
    }`
)

func nginxBinary(t testing.TB) string {
	t.Helper()
	for _, name := range []string{"nginx", "/usr/sbin/nginx"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Skip("NOT TESTED: there is no nginx; install Debian's nginx-light")
	return ""
}

// fill writes what nginx reads: its own certificate, and the two documents of the
// service, the list turned from DER into PEM as nginx wants it.
func (n *nginx) fill(t testing.TB, s *service, id string) {
	t.Helper()
	own := must(must(local.Open(filepath.Join(n.dir, "ca"), local.Options{TrustDomain: "party.example", Now: time.Now}))(t).
		ServerCertificate([]string{"127.0.0.1"}, time.Hour))(t)
	key := must(x509.MarshalPKCS8PrivateKey(own.PrivateKey))(t)
	bundle, _ := s.raw(t, http.MethodGet, api.PathBundlePEM, "", nil)
	list, _ := s.raw(t, http.MethodGet, api.Path(api.PathCRL, id), "", nil)
	for name, content := range map[string][]byte{
		"server.pem": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: own.Certificate[0]}),
		"server.key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}),
		"bundle.pem": bundle,
		"crl.pem":    pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: list}),
	} {
		if err := os.WriteFile(filepath.Join(n.dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func (n *nginx) start(t testing.TB, binary, locations string) {
	t.Helper()
	address := must(freeAddress())(t)
	n.url = "https://" + address
	config := filepath.Join(n.dir, "nginx.conf")
	if err := os.WriteFile(config, fmt.Appendf(nil, nginxConfig, n.dir, address, locations), 0o600); err != nil {
		t.Fatal(err)
	}
	n.process = exec.Command(binary, "-p", n.dir, "-c", config)
	output := must(os.Create(filepath.Join(n.dir, "output")))(t)
	defer output.Close()
	n.process.Stderr = output
	if err := n.process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.stop() })
	eventually(t, 10*time.Second, "nginx listens", func() (string, bool) {
		conn, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			_ = conn.Close()
		}
		said, _ := os.ReadFile(output.Name())
		return string(said), err == nil
	})
}

func (n *nginx) stop() {
	_ = n.process.Process.Kill()
	_ = n.process.Wait()
}

func freeAddress() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}

// visit shows a certificate and returns what nginx answers.
func (n *nginx) visit(t testing.TB, cert *tls.Certificate) (string, error) {
	t.Helper()
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{
		InsecureSkipVerify: true, MinVersion: tls.VersionTLS12,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil },
	}}}
	defer client.CloseIdleConnections()
	answer, err := client.Do(must(http.NewRequestWithContext(t.Context(), http.MethodGet, n.url, nil))(t))
	if err != nil {
		return "", err
	}
	text, err := io.ReadAll(answer.Body)
	if err = errors.Join(err, answer.Body.Close()); err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("nginx answers %s", answer.Status)
	}
	return string(text), err
}

// A real nginx that is given the service's bundle and revocation list accepts a
// device, refuses strangers, and refuses the device once the CA has revoked it.
func TestNGINXRelyingParty(t *testing.T) {
	t.Parallel()
	binary := nginxBinary(t)
	s := newService(t, "")
	a := newAttacker(t, s)
	a.enroll()
	leaf := must(x509.ParseCertificate(a.credential.Certificate))(t)
	held := &tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: must(a.tpm.Signer(a.tls))(t)}
	n := &nginx{dir: t.TempDir()}
	n.fill(t, s, ca.AuthorityID(leaf))
	n.start(t, binary, welcomes)
	if text, err := n.visit(t, held); err != nil || text != "welcome" {
		t.Fatalf("the device is not let in: %q, %v", text, err)
	}
	if text, err := n.visit(t, foreign(t, "troth.internal", a.id)); err == nil {
		t.Errorf("a stranger is let in: %q", text)
	}
	n.stop()
	// The CA's own revocation, beside the running service.
	authority := must(local.Open(s.path("data", "ca"), local.Options{TrustDomain: "troth.internal", Now: time.Now}))(t)
	if err := authority.Revoke(t.Context(), leaf.Raw); err != nil {
		t.Fatal(err)
	}
	n.fill(t, s, ca.AuthorityID(leaf))
	n.start(t, binary, welcomes)
	if text, err := n.visit(t, held); err == nil {
		t.Errorf("a revoked device is let in: %q", text)
	}
}

// A real nginx asks the service about each request (auth_request): the answer
// changes with the device's posture and standing, on a connection that stays open,
// and without a revocation list.
func TestNGINXAsksTheService(t *testing.T) {
	t.Parallel()
	binary := nginxBinary(t)
	s := newService(t, "")
	a := newAttacker(t, s)
	a.enroll()
	var proxy api.Token
	s.post(t, api.PathTokens, api.TokenRequest{Operator: "nginx", Role: "proxy"}, &proxy)
	leaf := must(x509.ParseCertificate(a.credential.Certificate))(t)
	held := &tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: must(a.tpm.Signer(a.tls))(t)}
	n := &nginx{dir: t.TempDir()}
	n.fill(t, s, ca.AuthorityID(leaf))
	if err := os.WriteFile(filepath.Join(n.dir, "index.html"), []byte("welcome"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(n.dir, 0o755); err != nil { // for nginx's own user
		t.Fatal(err)
	}
	n.start(t, binary, fmt.Sprintf(asks, n.dir, s.admin.Base, proxy.Token))
	visit := func(moment string, want bool) {
		t.Helper()
		if text, err := n.visit(t, held); (err == nil && text == "welcome") != want {
			t.Fatalf("%s: %q, %v", moment, text, err)
		}
	}
	visit("before its first posture", false)
	a.mustCheckIn("compliant")
	visit("compliant", true)
	s.move(t, a.id, "quarantine")
	visit("in quarantine", false)
	s.move(t, a.id, "release")
	a.renewed()
	a.mustCheckIn("compliant")
	leaf = must(x509.ParseCertificate(a.credential.Certificate))(t)
	held = &tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: must(a.tpm.Signer(a.tls))(t)}
	visit("released", true)
	if err := s.kill(); err != nil {
		t.Fatal(err)
	}
	visit("without the service", false)
}
