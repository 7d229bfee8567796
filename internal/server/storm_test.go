package server_test

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"sync"
	"testing"

	"troth/internal/api"
	"troth/internal/fleet"
)

// TestAttack_S9_AllRenewAtOnce: a thousand devices come in the same second, as
// after an outage, each with a handshake of its own. Every one is served, or told
// when to come back; and Vault signed just what is on record as issued.
func TestAttack_S9_AllRenewAtOnce(t *testing.T) {
	const n = 1000
	r := newFleetRig(t)
	devices := r.devices(t, n)
	held := r.known(t, devices)
	served := make([]bool, n)
	var group sync.WaitGroup
	for i := range devices {
		group.Go(func() { served[i] = r.renew(t, devices[i], held[i]) })
	}
	group.Wait()
	// Some of those who were turned away come back, not all at once.
	var late []int
	for i, yes := range served {
		if !yes {
			late = append(late, i)
		}
	}
	t.Logf("%d of %d devices have new certificates at once", n-len(late), n)
	if len(late) == n {
		t.Fatal("nobody is served")
	}
	late = late[:min(len(late), 2*atOnce)]
	each(len(late), func(i int) {
		if served[late[i]] = r.renew(t, devices[late[i]], held[late[i]]); !served[late[i]] {
			t.Errorf("device %d came back when told, and was turned away again", late[i])
		}
	})
	signed := map[string]bool{}
	for _, c := range r.vault.SignedCertificates(t) {
		signed[hex.EncodeToString(c.SerialNumber.Bytes())] = true
	}
	issued := 0
	for i, d := range devices {
		own := 0
		for _, c := range must(r.store.Certificates(t.Context(), fleet.DeviceID(d.id)))(t) {
			if c.State == fleet.CertificateInDoubt || c.State == fleet.CertificateIntended {
				t.Errorf("a certificate of device %d is %s: %s", i, c.State, c.Reason)
			}
			if c.Serial != "" {
				own++
				if !signed[c.Serial] {
					t.Errorf("%s is on record as %s, and Vault never signed it", c.Serial, c.State)
				}
			}
		}
		if want := map[bool]int{false: 1, true: 2}[served[i]]; own != want {
			t.Errorf("device %d was issued %d certificates, want %d", i, own, want)
		}
		issued += own
	}
	if issued != len(signed) {
		t.Errorf("Vault signed %d certificates, and %d are on record", len(signed), issued)
	}
}

// renew asks for a certificate, and requires the certificate or a time to come
// back at.
func (r *fleetRig) renew(t *testing.T, d *paperDevice, held *tls.Certificate) bool {
	t.Helper()
	caller := r.caller(held)
	defer caller.HTTP.CloseIdleConnections()
	body, err := json.Marshal(api.RenewRequest{CSR: d.csr})
	if err != nil {
		t.Error(err)
		return false
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, caller.Base+api.PathRenew, bytes.NewReader(body))
	if err != nil {
		t.Error(err)
		return false
	}
	request.Header.Set("Content-Type", "application/json")
	answer, err := caller.HTTP.Do(request)
	if err != nil {
		t.Errorf("no answer: %v", err)
		return false
	}
	defer answer.Body.Close()
	switch {
	case answer.StatusCode == http.StatusOK:
		var c api.Credential
		if err := json.NewDecoder(answer.Body).Decode(&c); err != nil || sha256.Sum256(c.Certificate) == sha256.Sum256(held.Certificate[0]) {
			t.Errorf("the new certificate: %v", err)
		}
		return true
	case answer.Header.Get("Retry-After") != "" && (answer.StatusCode == http.StatusServiceUnavailable || answer.StatusCode == http.StatusTooManyRequests):
		return false
	default:
		t.Errorf("status %s, Retry-After %q", answer.Status, answer.Header.Get("Retry-After"))
		return false
	}
}
