package local_test

import (
	"context"
	"crypto/x509"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"troth/ca"
	"troth/ca/catest"
	"troth/ca/local"
)

const phrase = "correct horse battery staple"

func secret(text string) func() ([]byte, error) {
	return func() ([]byte, error) { return []byte(text + "\n"), nil }
}

func sealed(text string) local.Options {
	o := options()
	o.Passphrase = secret(text)
	return o
}

func mustOpen(t *testing.T, dir string, o local.Options) *local.CA {
	t.Helper()
	c, err := local.Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestRotation(t *testing.T) {
	catest.TestRotator(t, func(t *testing.T) catest.Rotating {
		c := mustOpen(t, t.TempDir(), sealed(phrase))
		return catest.Rotating{Issuer: c, Rotator: c}
	})
}

// TestReplicas: what one process changes, another that opened the directory
// before sees; a third one after a restart.
func TestReplicas(t *testing.T) {
	dir := t.TempDir()
	a, b := open(t, dir), open(t, dir)
	sequence := func(c *local.CA, want uint64) {
		t.Helper()
		if got, err := c.Sequence(); err != nil || got != want {
			t.Errorf("Sequence = %d, %v, want %d", got, err, want)
		}
	}
	sequence(b, 1)
	step := func(f func(context.Context) (ca.Authority, error)) ca.Authority {
		t.Helper()
		made, err := f(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return made
	}
	next := step(a.Begin)
	sequence(b, 2)
	step(b.Activate)
	for _, c := range []*local.CA{a, b, open(t, dir)} {
		leaf, err := x509.ParseCertificate(issue(t, c, "device").DER)
		if err != nil || ca.AuthorityID(leaf) != next.ID {
			t.Errorf("a replica signs with %s, want %s (%v)", ca.AuthorityID(leaf), next.ID, err)
		}
	}
	step(a.Retire)
	sequence(b, 3)
	if roots, err := b.Bundle(t.Context()); err != nil || len(roots) != 1 {
		t.Errorf("Bundle of the other replica = %d roots, %v", len(roots), err)
	}
	if keys, _ := filepath.Glob(filepath.Join(dir, "root*.key")); len(keys) != 1 {
		t.Errorf("after retire the keys %v are left, want one", keys)
	}
}

// TestSleeper: a client that knows only the first root verifies the service all
// through the change and after it.
func TestSleeper(t *testing.T) {
	c := open(t, t.TempDir())
	pool := x509.NewCertPool()
	pool.AddCert(root(t, c))
	verify := func(when string) {
		t.Helper()
		pair, err := c.ServerCertificate([]string{"localhost"}, 0)
		if err != nil {
			t.Fatal(err)
		}
		between := x509.NewCertPool()
		for _, der := range pair.Certificate[1:] {
			link, err := x509.ParseCertificate(der)
			if err != nil {
				t.Fatal(err)
			}
			between.AddCert(link)
		}
		if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: pool, Intermediates: between, DNSName: "localhost"}); err != nil {
			t.Errorf("%s: %v", when, err)
		}
	}
	verify("before")
	for _, step := range []func(context.Context) (ca.Authority, error){c.Begin, c.Activate, c.Retire} {
		done, err := step(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if done.Role != ca.Retiring && !done.Bridged {
			t.Error("the next authority is not bridged")
		}
		verify(string(done.Role))
	}
}

// TestAttack_S9_KilledInRotation kills processes (SIGKILL) at any moment of
// endless changes of the CA: what is left always opens, with one authority that
// signs, can go on, and keeps no key that is not in use.
func TestAttack_S9_KilledInRotation(t *testing.T) {
	if dir := os.Getenv("TROTH_TEST_ROTATE"); dir != "" {
		c := open(t, dir)
		for range 10000 { // ended long before, unless its parent died first
			for _, step := range []func(context.Context) (ca.Authority, error){c.Begin, c.Activate, c.Retire} {
				_, _ = step(context.Background())
			}
		}
		return
	}
	dir := t.TempDir()
	open(t, dir)
	for i := range 15 {
		command := exec.Command(os.Args[0], "-test.run=^TestAttack_S9_KilledInRotation$")
		command.Env = append(os.Environ(), "TROTH_TEST_ROTATE="+dir)
		if err := command.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(60+7*i) * time.Millisecond)
		_ = command.Process.Kill()
		_ = command.Wait()
		c := open(t, dir)
		issue(t, c, "device")
		all, err := c.Authorities(t.Context())
		if err != nil || len(all) == 0 || len(all) > 2 {
			t.Fatalf("authorities after a kill: %v, %v", all, err)
		}
		if _, err := os.Stat(filepath.Join(dir, "issuers.json")); err != nil {
			continue // killed within the very first change: its files stay until the next
		}
		if keys, _ := filepath.Glob(filepath.Join(dir, "root*.key")); len(keys) != len(all) {
			t.Errorf("%d key files for %d authorities", len(keys), len(all))
		}
	}
	if sequence, err := open(t, dir).Sequence(); err != nil || sequence < 3 {
		t.Errorf("the killed processes changed nothing: sequence %d, %v", sequence, err)
	}
}

func TestPassphrase(t *testing.T) {
	dir := t.TempDir()
	plain := open(t, dir)
	if plain.Sealing() != local.Plain {
		t.Errorf("Sealing = %s", plain.Sealing())
	}
	first := root(t, plain)
	hidden := func(want bool) {
		t.Helper()
		keys, _ := filepath.Glob(filepath.Join(dir, "root*.key"))
		for _, name := range keys {
			data, err := os.ReadFile(name)
			if err != nil || strings.Contains(string(data), "BEGIN PRIVATE KEY") == want {
				t.Errorf("%s is encrypted: %v, want %v (%v)", filepath.Base(name), !want, want, err)
			}
		}
		if len(keys) == 0 {
			t.Error("no key file")
		}
	}
	hidden(false)
	if c := mustOpen(t, dir, sealed(phrase)); c.Sealing() != local.NewlySealed || !root(t, c).Equal(first) {
		t.Errorf("first start with a passphrase: %s", c.Sealing())
	}
	hidden(true)
	c := mustOpen(t, dir, sealed(phrase))
	if c.Sealing() != local.Sealed {
		t.Errorf("second start with a passphrase: %s", c.Sealing())
	}
	if _, err := c.Begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	hidden(true)
	if err := local.ChangePassphrase(dir, sealed(phrase), secret("another passphrase")); err != nil {
		t.Fatal(err)
	}
	refusePassphrase(t, dir, sealed(phrase), local.CodePassphraseWrong)
	issue(t, c, "device") // a service that runs is not disturbed
	changed := mustOpen(t, dir, sealed("another passphrase"))
	if _, err := changed.Activate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := local.ChangePassphrase(dir, sealed("another passphrase"), nil); err != nil {
		t.Fatal(err)
	}
	hidden(false)
	issue(t, open(t, dir), "device")
}

// TestAttack_S9_WrongPassphrase: a wrong, missing or short passphrase has its
// code, and changes no file.
func TestAttack_S9_WrongPassphrase(t *testing.T) {
	dir := t.TempDir()
	mustOpen(t, dir, sealed(phrase))
	for code, o := range map[string]local.Options{
		local.CodePassphraseWrong:   sealed("wrong horse battery staple"),
		local.CodePassphraseShort:   sealed("short"),
		local.CodePassphraseMissing: options(),
	} {
		refusePassphrase(t, dir, o, code)
		before := content(t, dir)
		if err := local.ChangePassphrase(dir, o, secret("a new passphrase")); err == nil || content(t, dir) != before {
			t.Errorf("%s: the passphrase was changed, or a file: %v", code, err)
		}
	}
	before := content(t, dir)
	var refusal *local.PassphraseError
	if err := local.ChangePassphrase(dir, sealed(phrase), secret("short")); !errors.As(err, &refusal) || content(t, dir) != before {
		t.Errorf("a short new passphrase: %v", err)
	}
	mustOpen(t, dir, sealed(phrase))
}

func refusePassphrase(t *testing.T, dir string, o local.Options, code string) {
	t.Helper()
	before := content(t, dir)
	_, err := local.Open(dir, o)
	var refusal *local.PassphraseError
	if !errors.As(err, &refusal) || refusal.Code != code || !strings.Contains(err.Error(), code) {
		t.Errorf("Open = %v, want %s", err, code)
	}
	if content(t, dir) != before {
		t.Errorf("%s: Open changed a file", code)
	}
}

// content is all files and what they hold.
func content(t *testing.T, dir string) string {
	t.Helper()
	var all strings.Builder
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		data, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all.WriteString(entry.Name() + "=" + string(data) + "\n")
	}
	return all.String()
}
