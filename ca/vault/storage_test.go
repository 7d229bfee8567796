//go:build linux

package vault_test

import (
	"crypto/x509"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"troth/ca"
	"troth/ca/catest"
	"troth/ca/vault"
)

// onDisk is a Vault whose storage is in dir, set up as start does.
func onDisk(t *testing.T, dir string) *setup {
	t.Helper()
	server := catest.StartVaultOnDisk(t, dir)
	s := &setup{server: server, admin: client(t, server.Addr, server.Token),
		config: vault.BootstrapConfig{TrustDomain: catest.TrustDomain}}
	s.bootstrap(t)
	return s
}

// smallDisk is a file system of a few megabytes.
func smallDisk(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=8m"); err != nil {
		t.Skipf("NOT TESTED: a full disk: no file system can be mounted: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	return dir
}

// fill leaves no space on a disk, until the returned function is called.
func fill(t *testing.T, dir string) (free func()) {
	t.Helper()
	name := filepath.Join(dir, "ballast")
	file, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = file.Write(make([]byte, 4096))
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("fill %s: %v", dir, err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
}

// listed are the serial numbers in the CRL.
func listed(t *testing.T, issuer *vault.CA) map[string]bool {
	t.Helper()
	der, err := issuer.CRL(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	list, err := x509.ParseRevocationList(der)
	if err != nil {
		t.Fatal(err)
	}
	serials := map[string]bool{}
	for _, entry := range list.RevokedCertificateEntries {
		serials[hex.EncodeToString(entry.SerialNumber.Bytes())] = true
	}
	return serials
}

// TestAttack_S9_VaultStorageFull: nothing fits into Vault's storage any more. It
// signs all the same, because our role keeps nothing there; what it cannot revoke
// it says that it did not, and takes when there is space again.
func TestAttack_S9_VaultStorageFull(t *testing.T) {
	disk := smallDisk(t)
	s := onDisk(t, disk)
	issuer := s.issuer(t, s.server.Addr)
	var issued []ca.Certificate
	issue := func(when string) {
		t.Helper()
		certificate, err := issuer.Issue(t.Context(), catest.NewRequest(t, "device"))
		if err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		issued = append(issued, certificate)
	}
	issue("before")
	free := fill(t, disk)
	issue("full")
	for _, certificate := range issued {
		is(t, "full: Revoke", issuer.Revoke(t.Context(), certificate.DER), ca.ErrUnavailable)
	}
	if err := issuer.Check(t.Context()); err != nil {
		t.Errorf("full: Check, though it signs: %v", err)
	}
	if gone := listed(t, issuer); len(gone) != 0 {
		t.Errorf("the CRL holds %v, of which Vault said that it was not revoked", gone)
	}
	free()
	for _, certificate := range issued {
		if err := issuer.Revoke(t.Context(), certificate.DER); err != nil {
			t.Errorf("space again: %v", err)
		}
		if !listed(t, issuer)[certificate.Serial] {
			t.Errorf("space again: the CRL lacks %s", certificate.Serial)
		}
	}
	if got := len(s.server.SignedCertificates(t)); got != len(issued) {
		t.Errorf("Vault signed %d certificates, and %d came here", got, len(issued))
	}
}

// TestAttack_S9_VaultAuditFull: Vault does nothing that it cannot put on record,
// and says 500. Whether it signed before it noticed, nobody can tell.
func TestAttack_S9_VaultAuditFull(t *testing.T) {
	disk := smallDisk(t)
	s := start(t)
	s.server.EnableAudit(t, disk)
	issuer := s.issuer(t, s.server.Addr)
	request := catest.NewRequest(t, "device")
	certificate, err := issuer.Issue(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	free := fill(t, disk)
	_, err = issuer.Issue(t.Context(), request)
	is(t, "full: Issue", err, ca.ErrAmbiguous)
	is(t, "full: Revoke", issuer.Revoke(t.Context(), certificate.DER), ca.ErrUnavailable)
	is(t, "full: Check", issuer.Check(t.Context()), ca.ErrUnavailable)
	free()
	if _, err = issuer.Issue(t.Context(), request); err != nil {
		t.Errorf("space again: %v", err)
	}
	if err := issuer.Revoke(t.Context(), certificate.DER); err != nil {
		t.Errorf("space again: %v", err)
	}
}

// TestAttack_S8_ClocksDiffer: which of two clocks is wrong nobody knows, so ours
// is moved. Where they differ by more than a minute, a certificate begins or ends
// when it should not: it is revoked.
func TestAttack_S8_ClocksDiffer(t *testing.T) {
	s := onDisk(t, t.TempDir())
	for _, test := range []struct {
		name  string
		ahead time.Duration // of Vault's clock
		fine  bool
	}{
		{"the same", 0, true},
		{"Vault a little ahead", 30 * time.Second, true},
		{"Vault a little behind", -30 * time.Second, true},
		{"Vault ahead", 5 * time.Minute, false},
		{"Vault a day ahead", 24 * time.Hour, false},
		{"Vault behind", -5 * time.Minute, false},
		{"Vault two days behind", -48 * time.Hour, false},
	} {
		issuer := newCA(t, vault.Config{Address: s.server.Addr, AppRole: s.credentials(t), Now: func() time.Time { return time.Now().Add(-test.ahead) }})
		certificate, err := issuer.Issue(t.Context(), catest.NewRequest(t, "device"))
		signed := s.server.SignedCertificates(t)
		last := hex.EncodeToString(signed[len(signed)-1].SerialNumber.Bytes())
		if test.fine {
			if err != nil || certificate.Serial != last {
				t.Errorf("%s: %v", test.name, err)
			}
			continue
		}
		is(t, test.name, err, ca.ErrMisissued)
		if !listed(t, issuer)[last] {
			t.Errorf("%s: Vault's CRL lacks %s", test.name, last)
		}
	}
}
