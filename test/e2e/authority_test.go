package e2e

import (
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"troth/ca"
	"troth/internal/api"
	"troth/internal/fleet"
	"troth/internal/store"
	"troth/policies"
)

// rotating makes certificates that end within seconds, and the policies content
// with that, so that what the old authority signed can be waited for.
func rotating(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, policies.FS); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "config", "data.json")
	const hour = `"certificate_min_remaining_seconds": 3600`
	data := string(must(os.ReadFile(file))(t))
	if !strings.Contains(data, hour) {
		t.Fatalf("the policies' data has no %s", hour)
	}
	if err := os.WriteFile(file, []byte(strings.Replace(data, hour, `"certificate_min_remaining_seconds": 1`, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	return quick + "certificates: {lifetime: 8s}\npolicy_dir: " + dir + "\n"
}

// pin has everybody who is made from now on trust a copy of the service's first
// CA file, which the service does not write.
func (s *service) pin(t testing.TB) {
	t.Helper()
	copied := filepath.Join(t.TempDir(), "first-ca.pem")
	if err := os.WriteFile(copied, must(os.ReadFile(s.caFile))(t), 0o600); err != nil {
		t.Fatal(err)
	}
	s.caFile = copied
}

func (s *service) rotate(t testing.TB, step string, force bool) (status api.CAStatus, err error) {
	t.Helper()
	err = s.admin.Do(t.Context(), http.MethodPost, api.Path(api.PathRotate, step), api.RotateRequest{Force: force}, &status)
	return status, err
}

func (s *service) mustRotate(t testing.TB, step string, force bool) api.CAStatus {
	t.Helper()
	return must(s.rotate(t, step, force))(t)
}

func (s *service) caStatus(t testing.TB) api.CAStatus {
	t.Helper()
	var status api.CAStatus
	s.get(t, api.PathAuthorities, &status)
	return status
}

// roles are the authorities of the only CA by what they do.
func roles(t testing.TB, status api.CAStatus) map[string]api.Authority {
	t.Helper()
	if len(status.CAs) != 1 || status.CAs[0].Name != "local" {
		t.Fatalf("not one local CA: %+v", status)
	}
	out := map[string]api.Authority{}
	for _, a := range status.CAs[0].Authorities {
		out[a.Role] = a
	}
	return out
}

// newest is the certificate that a device was given last.
func (s *service) newest(t testing.TB, name string) *x509.Certificate {
	t.Helper()
	st := must(store.Open(t.Context(), s.dsn))(t)
	defer st.Close()
	d := s.device(t, name)
	for _, c := range must(st.Certificates(t.Context(), fleet.DeviceID(d.ID)))(t) {
		if len(c.DER) > 0 {
			return must(x509.ParseCertificate(c.DER))(t)
		}
	}
	t.Fatalf("%s has no certificate", name)
	return nil
}

// A CA is replaced while a device runs: it never fails a check-in, and is moved to
// the new authority. One that slept through all of it comes back by the old root.
func TestChangeOfTheCA(t *testing.T) {
	t.Parallel()
	s := newService(t, rotating(t))
	s.pin(t)
	fleet := newFleet(t, s, 2)
	s.settled(t, 30*time.Second, fleet, factory)
	sleeper := fleet[1]
	if err := sleeper.PowerOff(); err != nil {
		t.Fatal(err)
	}
	s.move(t, sleeper.Name, "quarantine") // a device that is away still counts
	old := roles(t, s.caStatus(t))["signing"]

	begun := s.mustRotate(t, "begin", false)
	next := roles(t, begun)["next"]
	if next.ID == "" || !next.Bridged || roles(t, begun)["signing"].ID != old.ID {
		t.Fatalf("after begin: %+v", begun)
	}
	_, err := s.rotate(t, "activate", false)
	wantCode(t, err, "ca_bundle_unconfirmed")
	eventually(t, 15*time.Second, "the device that runs confirms the bundle", func() (string, bool) {
		status := s.caStatus(t)
		return fmt.Sprintf("%+v", status), status.Devices == 2 && status.Confirmed == 1
	})
	_, err = s.rotate(t, "activate", false)
	wantCode(t, err, "ca_bundle_unconfirmed")
	s.move(t, sleeper.Name, "release")
	active := s.mustRotate(t, "activate", true)
	if r := roles(t, active); r["signing"].ID != next.ID || r["retiring"].ID != old.ID {
		t.Fatalf("after activate: %+v", active)
	}
	_, err = s.rotate(t, "retire", false)
	wantCode(t, err, "ca_in_use")
	eventually(t, 20*time.Second, "nothing depends on the old authority", func() (string, bool) {
		r := roles(t, s.caStatus(t))["retiring"]
		return r.ID, r.Live == 0
	})
	retired := s.mustRotate(t, "retire", false)
	if r := roles(t, retired); len(r) != 1 || r["signing"].ID != next.ID {
		t.Fatalf("after retire: %+v", retired)
	}
	eventually(t, 15*time.Second, "the device confirms the bundle without the old root", func() (string, bool) {
		return "", s.caStatus(t).Confirmed == 1
	})
	if by := ca.AuthorityID(s.newest(t, fleet[0].Name)); by != next.ID {
		t.Errorf("the device's certificate is of %s, want %s", by, next.ID)
	}
	if log := string(must(os.ReadFile(s.path("devices.log")))(t)); strings.Contains(log, "did not succeed") {
		t.Errorf("a check-in failed during the change:\n%s", log)
	}
	sleeper.PowerOn()
	s.settled(t, 30*time.Second, fleet, factory)
	if by := ca.AuthorityID(s.newest(t, sleeper.Name)); by != next.ID {
		t.Errorf("the sleeper's certificate is of %s, want %s", by, next.ID)
	}
	s.wantSteps(t)
}

// wantSteps reads the trail of one whole change.
func (s *service) wantSteps(t testing.TB) {
	t.Helper()
	var list api.EventList
	s.get(t, api.PathEvents+"?"+url.Values{"subject": {"ca:local"}, "limit": {"100"}}.Encode(), &list)
	var steps []string
	for i := len(list.Events) - 1; i >= 0; i-- {
		steps = append(steps, list.Events[i].Action)
	}
	const want = "ca.begin ca.begin.done ca.activate ca.activate.done ca.retire ca.retire.done"
	if got := strings.Join(steps, " "); got != want {
		t.Errorf("the trail says %s, want %s", got, want)
	}
}

// The old authority is forced out: what it signed opens nothing any more, also
// after the service was killed at every step. Enrolling again is the way back.
func TestAttack_S9_CertificateOfRetiredAuthority(t *testing.T) {
	t.Parallel()
	s := newService(t, "")
	s.pin(t)
	a := newAttacker(t, s)
	a.enroll()
	a.mustCheckIn("compliant")
	for _, step := range []string{"begin", "activate", "retire"} {
		if step == "retire" {
			a.mustCheckIn("compliant") // the old certificate is still good
		}
		s.mustRotate(t, step, true)
		if err := s.kill(); err != nil {
			t.Fatal(err)
		}
		s.restart(t)
		a.client.HTTP.CloseIdleConnections()
		a.anyone.HTTP.CloseIdleConnections()
	}
	if _, err := a.checkIn(); err == nil {
		t.Fatal("a certificate of the retired authority still opens the service")
	}
	a.nonce = nil
	a.enroll()
	a.mustCheckIn("compliant")
}

// What others need is at the addresses that certificates bear.
func TestPublishedByTheCA(t *testing.T) {
	t.Parallel()
	s := newService(t, "public_url: https://troth.example\n")
	a := newAttacker(t, s)
	a.enroll()
	leaf := must(x509.ParseCertificate(a.credential.Certificate))(t)
	id := ca.AuthorityID(leaf)
	for _, have := range [][]string{leaf.CRLDistributionPoints, leaf.IssuingCertificateURL, leaf.OCSPServer} {
		if len(have) != 1 || !strings.HasPrefix(have[0], "https://troth.example/ca/"+id+"/") {
			t.Fatalf("address in the certificate: %v", have)
		}
	}
	root := must(x509.ParseCertificate(s.fetch(t, leaf.IssuingCertificateURL[0], "application/pkix-cert")))(t)
	if err := leaf.CheckSignatureFrom(root); err != nil {
		t.Fatal(err)
	}
	list := must(x509.ParseRevocationList(s.fetch(t, leaf.CRLDistributionPoints[0], "application/pkix-crl")))(t)
	if err := list.CheckSignatureFrom(root); err != nil || len(list.RevokedCertificateEntries) != 0 {
		t.Fatalf("revocation list: %v, %d entries", err, len(list.RevokedCertificateEntries))
	}
	if err := s.admin.Do(t.Context(), http.MethodGet, api.Path(api.PathCRL, hex.EncodeToString([]byte("no authority"))), nil, nil); api.CodeOf(err) != "not_found" {
		t.Errorf("revocation list of nobody: %v", err)
	}
	if status := s.ocsp(t, leaf, root); status != "good" {
		t.Errorf("OCSP says %s of a good certificate", status)
	}
	s.move(t, a.id, "retire")
	if status := s.ocsp(t, leaf, root); status != "revoked" {
		t.Errorf("OCSP says %s right after the revocation", status)
	}
	stranger := *leaf
	stranger.SerialNumber = must(x509.ParseCertificate(root.Raw))(t).SerialNumber
	if status := s.ocsp(t, &stranger, root); status != "unknown" {
		t.Errorf("OCSP says %s of a certificate that was never issued", status)
	}
}

// fetch gets what a certificate's address leads to, from the service.
func (s *service) fetch(t testing.TB, address, contentType string) []byte {
	t.Helper()
	path := must(url.Parse(address))(t).Path
	body, header := s.raw(t, http.MethodGet, path, "", nil)
	if got := header.Get("Content-Type"); got != contentType || header.Get("Cache-Control") == "" {
		t.Errorf("%s is of type %q with Cache-Control %q, want %s", path, got, header.Get("Cache-Control"), contentType)
	}
	return body
}
