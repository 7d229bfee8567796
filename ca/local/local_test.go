package local_test

import (
	"bufio"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"troth/ca"
	"troth/ca/catest"
	"troth/ca/local"
)

func open(t *testing.T, dir string) *local.CA {
	t.Helper()
	c, err := local.Open(dir, local.Options{TrustDomain: catest.TrustDomain, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestContract(t *testing.T) {
	catest.TestIssuer(t, func(t *testing.T) ca.Issuer { return open(t, t.TempDir()) })
}

func openErr(dir string, o local.Options) error {
	_, err := local.Open(dir, o)
	return err
}

func options() local.Options {
	return local.Options{TrustDomain: catest.TrustDomain, Now: time.Now}
}

func root(t *testing.T, c *local.CA) *x509.Certificate {
	t.Helper()
	roots, err := c.Bundle(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return roots[0]
}

func issue(t *testing.T, c *local.CA, device string) ca.Certificate {
	t.Helper()
	certificate, err := c.Issue(t.Context(), catest.NewRequest(t, device))
	if err != nil {
		t.Fatal(err)
	}
	return certificate
}

func TestOptions(t *testing.T) {
	for name, o := range map[string]local.Options{
		"no clock":             {TrustDomain: "example.org"},
		"no trust domain":      {Now: time.Now},
		"trust domain with /":  {TrustDomain: "example.org/x", Now: time.Now},
		"trust domain as URI":  {TrustDomain: "spiffe://example.org", Now: time.Now},
		"negative lifetime":    {TrustDomain: "example.org", Now: time.Now, Lifetime: -1},
		"lifetime above limit": {TrustDomain: "example.org", Now: time.Now, Lifetime: time.Hour, MaxLifetime: time.Minute},
	} {
		dir := filepath.Join(t.TempDir(), "ca")
		if openErr(dir, o) == nil {
			t.Errorf("%s: accepted", name)
		}
		if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: left something behind", name)
		}
	}
}

func TestReopen(t *testing.T) {
	dir := t.TempDir()
	first := open(t, dir)
	certificate := issue(t, first, "device")
	if err := first.Revoke(t.Context(), certificate.DER); err != nil {
		t.Fatal(err)
	}
	second := open(t, dir)
	if !root(t, first).Equal(root(t, second)) {
		t.Error("another root after opening again")
	}
	if gone, err := second.Revoked(certificate.Serial); err != nil || !gone {
		t.Errorf("Revoked after opening again = %v, %v", gone, err)
	}
	if err := openErr(dir, local.Options{TrustDomain: "example.com", Now: time.Now}); err == nil {
		t.Error("opened with another trust domain")
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, want 0600 (%v)", entry.Name(), info.Mode(), err)
		}
	}
}

// TestAttack_S9_LocalCAFiles: each state in which a crash, or a careless hand, can
// leave the directory.
func TestAttack_S9_LocalCAFiles(t *testing.T) {
	write := func(name, content string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	remove := func(names ...string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			for _, name := range names {
				if err := os.Remove(filepath.Join(dir, name)); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	for name, test := range map[string]struct {
		damage func(*testing.T, string)
		want   string // part of the error; empty: completed
	}{
		"before the key": {remove("root.key", "root.pem", "revoked.json"), ""},
		"within the key": {func(t *testing.T, dir string) {
			remove("root.key", "root.pem", "revoked.json")(t, dir)
			write(".new-root.key-1", "-----BEG")(t, dir)
		}, ""},
		"before the certificate": {remove("root.pem", "revoked.json"), ""},
		"within the certificate": {func(t *testing.T, dir string) {
			remove("root.pem")(t, dir)
			write(".new-root.pem-1", "-----BEG")(t, dir)
		}, ""},
		"within a revocation":      {write(".new-revoked.json-1", "{"), ""},
		"key lost":                 {remove("root.key"), "root.key is missing"},
		"key and certificate lost": {remove("root.key", "root.pem"), "root.key is missing"},
		"key empty":                {write("root.key", ""), "root.key"},
		"certificate empty":        {write("root.pem", ""), "root.pem"},
		"revocations empty":        {write("revoked.json", ""), "revoked.json"},
		"revocations not hex":      {write("revoked.json", `{"number":1,"revision":1,"revoked":[{"serial":"x","at":"2026-01-01T00:00:00Z","not_after":"2026-01-01T00:00:00Z"}]}`), "revoked.json"},
		"key of another CA": {func(t *testing.T, dir string) {
			other := t.TempDir()
			open(t, other)
			key, err := os.ReadFile(filepath.Join(other, "root.key"))
			if err != nil {
				t.Fatal(err)
			}
			write("root.key", string(key))(t, dir)
		}, "do not belong together"},
		"key open to others": {func(t *testing.T, dir string) {
			if err := os.Chmod(filepath.Join(dir, "root.key"), 0o644); err != nil {
				t.Fatal(err)
			}
		}, "chmod 600"},
		"key a link": {func(t *testing.T, dir string) {
			if err := os.Rename(filepath.Join(dir, "root.key"), filepath.Join(dir, "elsewhere")); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink("elsewhere", filepath.Join(dir, "root.key")); err != nil {
				t.Fatal(err)
			}
		}, "not a regular file"},
	} {
		dir := t.TempDir()
		c := open(t, dir)
		if err := c.Revoke(t.Context(), issue(t, c, "gone").DER); err != nil {
			t.Fatal(err)
		}
		test.damage(t, dir)
		opened, err := local.Open(dir, options())
		switch {
		case test.want == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case test.want == "":
			issue(t, opened, "device")
			if left, _ := filepath.Glob(filepath.Join(dir, ".new-*")); len(left) != 0 {
				t.Errorf("%s: left %v", name, left)
			}
		case err == nil || !strings.Contains(err.Error(), test.want):
			t.Errorf("%s: %v, want an error with %q", name, err, test.want)
		}
	}
}

// TestAttack_S9_KilledInOpen kills processes (SIGKILL) at random moments of
// creating a CA; the next Open always completes what they left.
func TestAttack_S9_KilledInOpen(t *testing.T) {
	if dir := os.Getenv("TROTH_TEST_OPEN"); dir != "" {
		fmt.Println("open")
		for i := range 1000 { // ended long before, unless its parent died first
			open(t, filepath.Join(dir, strconv.Itoa(i)))
		}
		return
	}
	for range 10 {
		dir := t.TempDir()
		command := exec.Command(os.Args[0], "-test.run=^TestAttack_S9_KilledInOpen$")
		command.Env = append(os.Environ(), "TROTH_TEST_OPEN="+dir)
		stdout, err := command.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := command.Start(); err != nil {
			t.Fatal(err)
		}
		_, _ = bufio.NewReader(stdout).ReadString('\n')
		time.Sleep(time.Duration(rand.IntN(20_000)) * time.Microsecond)
		_ = command.Process.Kill()
		_ = command.Wait()
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, entry := range entries {
			issue(t, open(t, filepath.Join(dir, entry.Name())), "device")
		}
	}
}

// TestConcurrentOpen: processes that start together make one root.
func TestConcurrentOpen(t *testing.T) {
	dir := t.TempDir()
	var group sync.WaitGroup
	opened := make([]*local.CA, 8)
	for i := range opened {
		group.Go(func() { opened[i], _ = local.Open(dir, options()) })
	}
	group.Wait()
	for _, c := range opened {
		if c == nil || !root(t, c).Equal(root(t, opened[0])) {
			t.Fatal("not one root for all")
		}
	}
	// What one revokes, all know.
	certificate := issue(t, opened[0], "device")
	if err := opened[1].Revoke(t.Context(), certificate.DER); err != nil {
		t.Fatal(err)
	}
	if gone, err := opened[2].Revoked(certificate.Serial); err != nil || !gone {
		t.Errorf("Revoked = %v, %v", gone, err)
	}
}

// TestRootEnds: no certificate outlives the root, and none is signed after it.
func TestRootEnds(t *testing.T) {
	now := time.Now()
	clock := func() time.Time { return now }
	c, err := local.Open(t.TempDir(), local.Options{TrustDomain: catest.TrustDomain, Now: clock})
	if err != nil {
		t.Fatal(err)
	}
	end := root(t, c).NotAfter
	now = end.Add(-time.Hour)
	if certificate := issue(t, c, "device"); !certificate.NotAfter.Equal(end) {
		t.Errorf("an hour before the root's end: valid until %v, root until %v", certificate.NotAfter, end)
	}
	now = end
	if _, err := c.Issue(t.Context(), catest.NewRequest(t, "device")); !errors.Is(err, ca.ErrUnavailable) {
		t.Errorf("Issue after the root's end = %v, want ErrUnavailable", err)
	}
	if err := c.Check(t.Context()); !errors.Is(err, ca.ErrUnavailable) {
		t.Errorf("Check after the root's end = %v, want ErrUnavailable", err)
	}
}

// TestCRL: the number only grows, also over a restart; an expired certificate is
// dropped in the end.
func TestCRL(t *testing.T) {
	now := time.Now()
	o := local.Options{TrustDomain: catest.TrustDomain, Now: func() time.Time { return now }}
	dir := t.TempDir()
	var c *local.CA
	last := big.NewInt(0)
	list := func(want int) {
		t.Helper()
		der, err := c.CRL(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		list, err := x509.ParseRevocationList(der)
		if err != nil {
			t.Fatal(err)
		}
		if len(list.RevokedCertificateEntries) != want {
			t.Errorf("%d entries, want %d", len(list.RevokedCertificateEntries), want)
		}
		if list.Number.Cmp(last) <= 0 {
			t.Errorf("number %v after %v", list.Number, last)
		}
		if now.After(list.NextUpdate) || list.ThisUpdate.After(now) {
			t.Errorf("list of %v to %v at %v", list.ThisUpdate, list.NextUpdate, now)
		}
		last = list.Number
	}
	for want := range 3 {
		var err error
		if c, err = local.Open(dir, o); err != nil {
			t.Fatal(err)
		}
		list(want)
		if err := c.Revoke(t.Context(), issue(t, c, "device").DER); err != nil {
			t.Fatal(err)
		}
		list(want + 1)
	}
	now = now.Add(20 * time.Hour)
	list(3)
	now = now.Add(30 * 24 * time.Hour)
	if err := c.Revoke(t.Context(), issue(t, c, "device").DER); err != nil {
		t.Fatal(err)
	}
	list(1)
}

func TestServerCertificate(t *testing.T) {
	c := open(t, t.TempDir())
	roots := x509.NewCertPool()
	roots.AddCert(root(t, c))
	pair, err := c.ServerCertificate([]string{"trothd.example.org", "localhost", "127.0.0.1", "::1"}, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"trothd.example.org", "localhost", "127.0.0.1", "::1"} {
		if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: name}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err = pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	if err == nil || len(pair.Leaf.URIs) != 0 {
		t.Error("the service's certificate works as a device's")
	}
	for _, names := range [][]string{nil, {""}, {"*.example.org"}, {"spiffe://example.org"}, {"a..b"}, {"-a"}, {"a b"}, {"a\n"}, {strings.Repeat("a", 64)}} {
		if _, err := c.ServerCertificate(names, 0); err == nil {
			t.Errorf("names %q are accepted", names)
		}
	}
	if _, err := c.ServerCertificate([]string{"localhost"}, -time.Hour); err == nil {
		t.Error("a negative lifetime is accepted")
	}
}

// TestAttack_S9_RevocationNotRecorded: a revocation that cannot be recorded is not said to be.
func TestAttack_S9_RevocationNotRecorded(t *testing.T) {
	dir := t.TempDir()
	c := open(t, dir)
	certificate := issue(t, c, "device")
	// A directory in the file's place fails the write also for root.
	if err := os.Mkdir(filepath.Join(dir, "revoked.json"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := c.Revoke(t.Context(), certificate.DER); !errors.Is(err, ca.ErrUnavailable) {
		t.Errorf("Revoke = %v, want ErrUnavailable", err)
	}
	if err := c.Check(t.Context()); !errors.Is(err, ca.ErrUnavailable) {
		t.Errorf("Check = %v, want ErrUnavailable", err)
	}
	if err := os.Remove(filepath.Join(dir, "revoked.json")); err != nil {
		t.Fatal(err)
	}
	if err := c.Revoke(t.Context(), certificate.DER); err != nil {
		t.Errorf("Revoke after the repair: %v", err)
	}
}
