package crl_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"troth/attest/ek"
	"troth/internal/crl"
)

// loopback lets tests reach their own servers.
func loopback() []netip.Prefix {
	return []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
}

func serve(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

func wantError(t *testing.T, what string, err error, words string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), words) {
		t.Errorf("%s: %v, want words of %q", what, err, words)
	}
}

func TestFetch(t *testing.T) {
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/list":
			_, _ = w.Write([]byte("list"))
		case "/moved":
			http.Redirect(w, r, "/list", http.StatusFound)
		case "/round":
			http.Redirect(w, r, "/round", http.StatusFound)
		case "/file":
			http.Redirect(w, r, "file:///etc/passwd", http.StatusFound)
		case "/secret":
			http.Redirect(w, r, "http://user:password@"+r.Host+"/list", http.StatusFound)
		case "/endless":
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 1<<20)); err != nil {
					return
				}
			}
		case "/silent":
			<-r.Context().Done()
		default:
			http.NotFound(w, r)
		}
	})
	f := crl.NewFetcher(crl.FetchOptions{Allowed: loopback()})
	for _, path := range []string{"/list", "/moved"} {
		if got, err := f.Fetch(t.Context(), url+path); err != nil || string(got) != "list" {
			t.Errorf("%s: %q, %v", path, got, err)
		}
	}
	for path, words := range map[string]string{
		"/nothing": "Not Found", "/round": "redirects", "/file": "redirect from http to file", "/secret": "password",
		"/endless": "longer than",
	} {
		_, err := f.Fetch(t.Context(), url+path)
		wantError(t, path, err, words)
	}
	short := crl.NewFetcher(crl.FetchOptions{Allowed: loopback(), Timeout: 100 * time.Millisecond})
	begun := time.Now()
	if _, err := short.Fetch(t.Context(), url+"/silent"); err == nil || time.Since(begun) > 5*time.Second {
		t.Errorf("a server that says nothing: %v after %s", err, time.Since(begun))
	}
	for _, address := range []string{"file:///etc/passwd", "ftp://example.com/x", "gopher://x", "", "://"} {
		if _, err := f.Fetch(t.Context(), address); err == nil {
			t.Errorf("%q was fetched", address)
		}
	}
}

// From https nobody leads back to http.
func TestAttack_K7_RedirectToHTTP(t *testing.T) {
	plain := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("list")) })
	secure := httptest.NewTLSServer(http.RedirectHandler(plain, http.StatusFound))
	t.Cleanup(secure.Close)
	roots := x509.NewCertPool()
	roots.AddCert(secure.Certificate())
	f := crl.NewFetcher(crl.FetchOptions{Allowed: loopback(), Roots: roots})
	_, err := f.Fetch(t.Context(), secure.URL)
	wantError(t, "https to http", err, "redirect from https to http")
}

// A certificate that names an address of the service's own network reaches
// nothing: not by number, not by a name, not by a redirect.
func TestAttack_K7_PrivateAddresses(t *testing.T) {
	var asked atomic.Int32
	inside := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		_, _ = w.Write([]byte("secret"))
	})
	_, port, err := net.SplitHostPort(strings.TrimPrefix(inside, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	f := crl.NewFetcher(crl.FetchOptions{Timeout: 2 * time.Second})
	for _, url := range []string{
		inside, "http://localhost:" + port, "http://[::1]:" + port, "http://[::ffff:127.0.0.1]:" + port, "http://0.0.0.0:" + port,
		"http://2130706433:" + port, "http://0x7f.1:" + port, "http://10.0.0.1/x", "http://172.16.0.1/x", "http://192.168.0.1/x", "http://100.100.100.200/x",
		"http://169.254.169.254/latest/meta-data", "http://[fe80::1]/x", "http://[fd00:ec2::254]/x", "http://168.63.129.16/x",
		"http://[64:ff9b::a9fe:a9fe]/x", "http://[2002:7f00:1::]/x", "http://224.0.0.1/x", "http://255.255.255.255/x", "http://[::]:" + port,
	} {
		_, err := f.Fetch(t.Context(), url)
		if err == nil {
			t.Errorf("%s was fetched", url)
		} else if !strings.Contains(err.Error(), "not a public address") && !strings.Contains(err.Error(), "lookup") {
			t.Errorf("%s: %v", url, err)
		}
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("the server inside was asked %d times", n)
	}
	// A server that is allowed may not lead to one that is not.
	gate := serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://[::1]:"+port, http.StatusFound)
	})
	f = crl.NewFetcher(crl.FetchOptions{Allowed: loopback()[:1]})
	_, err = f.Fetch(t.Context(), gate)
	wantError(t, "redirect inside", err, "not a public address")
	if _, err := f.Fetch(t.Context(), inside); err != nil || asked.Load() != 1 {
		t.Errorf("an address that is allowed: %v", err)
	}
}

// Who waits for a list gives up when it must; the fetch goes on, and all who want
// one list share one fetch.
func TestFetchOutlivesWhoAsked(t *testing.T) {
	var asked atomic.Int32
	release := make(chan struct{})
	url := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		<-release
		_, _ = w.Write([]byte("list"))
	})
	f := crl.NewFetcher(crl.FetchOptions{Allowed: loopback()})
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	start := time.Now()
	_, err := f.Fetch(short, url)
	wantError(t, "short of patience", err, "deadline exceeded")
	if took := time.Since(start); took > time.Second {
		t.Errorf("it took %s", took)
	}
	got := make(chan []byte)
	for range 3 {
		go func() {
			data, err := f.Fetch(t.Context(), url)
			if err != nil {
				t.Error(err)
			}
			got <- data
		}()
	}
	time.Sleep(50 * time.Millisecond)
	close(release)
	for range 3 {
		if data := <-got; string(data) != "list" {
			t.Errorf("%q", data)
		}
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("the server was asked %d times", n)
	}
}

func TestKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "crls")
	now := time.Now().Truncate(time.Second)
	key := strings.Repeat("a1", 32)
	k, err := crl.OpenKept(dir, now)
	if err != nil {
		t.Fatal(err)
	}
	if data, _ := k.Load(key); data != nil {
		t.Errorf("%q was kept before anything was", data)
	}
	k.Save(key, []byte("list"), now.Add(-time.Hour))
	k.Save("../"+key, []byte("elsewhere"), now)
	k.Save("old", []byte("old"), now.Add(-91*24*time.Hour))
	if names, err := os.ReadDir(filepath.Dir(dir)); err != nil || len(names) != 1 {
		t.Errorf("a key left the directory: %v, %v", names, err)
	}
	if k, err = crl.OpenKept(dir, now); err != nil {
		t.Fatal(err)
	}
	if data, _ := k.Load("old"); data != nil {
		t.Error("what nobody asked for in 90 days is still kept")
	}
	k.Save(key, []byte("list"), now.Add(-time.Hour))
	if data, at := k.Load(key); string(data) != "list" || !at.Equal(now.Add(-time.Hour)) {
		t.Errorf("%q of %s", data, at)
	}
}

// maker is a CA with lists, and a chain of one certificate of its.
type maker struct {
	key   *ecdsa.PrivateKey
	root  *x509.Certificate
	chain ek.Chain
}

func newMaker(t *testing.T) maker {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sign := func(c, parent *x509.Certificate) *x509.Certificate {
		c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
		der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return cert
	}
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "maker"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	root := sign(ca, ca)
	leaf := sign(&x509.Certificate{SerialNumber: big.NewInt(2)}, root)
	return maker{key, root, ek.Chain{Certificates: []*x509.Certificate{leaf, root}}}
}

func (m maker) list(t *testing.T, number int64, revoked ...int64) []byte {
	t.Helper()
	l := &x509.RevocationList{Number: big.NewInt(number), ThisUpdate: time.Now().Add(-time.Minute), NextUpdate: time.Now().Add(time.Hour)}
	for _, serial := range revoked {
		l.RevokedCertificateEntries = append(l.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: big.NewInt(serial), RevocationTime: time.Now()})
	}
	der, err := x509.CreateRevocationList(rand.Reader, l, m.root, m.key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// What an operator puts into the directory counts without a restart, and a broken
// file takes nothing away.
func TestDirectory(t *testing.T) {
	m, dir := newMaker(t), t.TempDir()
	crls := ek.NewCRLs(ek.CRLOptions{})
	d := crl.NewDirectory(dir, crls)
	state := func() string {
		warnings, err := crls.Check(t.Context(), m.chain, ek.PreferCRLs, time.Now())
		switch {
		case err != nil:
			return "revoked"
		case len(warnings) > 0:
			return warnings[0].Code
		}
		return "good"
	}
	put := func(name string, content []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	refresh := func(want string) {
		t.Helper()
		if err := d.Refresh(); err != nil {
			t.Fatal(err)
		}
		if got := state(); got != want {
			t.Errorf("the certificate is %s, want %s", got, want)
		}
	}
	refresh(ek.CodeCRLUnavailable)
	put("README", []byte("no list"))
	put(".hidden.crl", []byte("no list"))
	put("maker.crl", m.list(t, 1))
	refresh("good")
	put("maker.crl", m.list(t, 2, 2))
	refresh("revoked")
	put("broken.pem", bytes.Repeat([]byte("x"), 100))
	wantError(t, "a broken file", d.Refresh(), "broken.pem")
	if got := state(); got != "revoked" {
		t.Errorf("beside a broken file the certificate is %s", got)
	}
	for _, name := range []string{"broken.pem", "maker.crl"} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	refresh(ek.CodeCRLUnavailable)
	if err := crl.NewDirectory(filepath.Join(dir, "nothing"), crls).Refresh(); err == nil {
		t.Error("a directory that is not there was read")
	}
}
