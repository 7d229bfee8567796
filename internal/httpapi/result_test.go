package httpapi_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"troth/attest/ear"
	"troth/internal/api"
	"troth/internal/fleet"
	"troth/internal/httpapi"
	"troth/internal/result"
)

type resultKey struct{ key ear.Key }

func (k resultKey) Key() ear.Key { return k.key }

// results signs with a key of this service alone.
func (s *service) results() httpapi.Results {
	s.t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		s.t.Fatal(err)
	}
	key, err := ear.NewKey(private)
	if err != nil {
		s.t.Fatal(err)
	}
	return httpapi.Results{
		Service: &result.Service{
			Store: s.store, Keys: resultKey{key}, Issuer: "spiffe://" + domain, TrustDomain: domain, Build: "1.2.3",
			Lifetime: 15 * time.Minute, Now: s.now,
		},
		Set: func() json.Marshaler { return ear.NewKeySet(key) },
	}
}

// open verifies a token as a relying party does that has nothing but the key
// set.
func (s *service) open(a answer, want ear.Expectation) ear.Result {
	s.t.Helper()
	var out api.Result
	if err := json.Unmarshal(a.body, &out); err != nil || a.status != 200 {
		s.t.Fatalf("status %d: %s", a.status, a.body)
	}
	set := s.must(credential{}, "GET", api.PathResultKeys, "")
	if set.header.Get("Content-Type") != api.KeySetType || set.header.Get("Cache-Control") != "public, max-age=300" || strings.Contains(string(set.body), `"d":`) {
		s.t.Fatalf("key set %v: %s", set.header, set.body)
	}
	keys, err := ear.ParseKeySet(set.body)
	if err != nil {
		s.t.Fatal(err)
	}
	want.Now = s.now()
	r, err := ear.Verify(out.Token, keys, want)
	if err != nil {
		s.t.Fatal(err)
	}
	if r.Status.String() != out.Status || r.ExpiresAt != out.ExpiresAt.Unix() {
		s.t.Fatalf("the answer %+v is not what the token says: %+v", out, r)
	}
	return r
}

// compliant stores a device with a good posture.
func (s *service) compliant() fleet.Device {
	s.t.Helper()
	d := s.device(fleet.Active, func(d *fleet.Device) {
		d.Name, d.Verdict, d.VerdictAt, d.FreshUntil = "press-7", fleet.Compliant, s.now(), s.now().Add(10*time.Minute)
	})
	s.apply(fleet.Change{Posture: &fleet.Posture{
		Device: d.ID, At: s.now(), Verdict: fleet.Compliant, Attestation: json.RawMessage(`{"verified":true}`), Reported: json.RawMessage(`{}`),
		Controls: []fleet.Control{{ID: "firmware-known", Severity: fleet.Critical, Outcome: fleet.Pass}},
	}})
	return d
}

// TestResults: the device and an operator get the same result, for the nonce
// that was given.
func TestResults(t *testing.T) {
	s := newService(t)
	d := s.compliant()
	own, operator := s.issue(d.ID, d.ID, fleet.CertificateIssued), s.token(fleet.RoleOperator)
	const nonce = "YSBub25jZSBvZiBvdXJz"
	want := ear.Expectation{Issuer: "spiffe://" + domain, Subject: "spiffe://" + domain + "/device/" + string(d.ID), Nonce: nonce}
	for who, a := range map[string]answer{
		"the device":          s.must(own, "GET", api.PathDeviceResult+"?nonce="+nonce, ""),
		"an operator":         s.must(operator, "GET", "/v1/devices/"+string(d.ID)+"/result?nonce="+nonce, ""),
		"an operator by name": s.must(operator, "GET", "/v1/devices/press-7/result?nonce="+nonce, ""),
	} {
		if r := s.open(a, want); r.Status != ear.Affirming {
			t.Errorf("%s: %s", who, r.Status)
		}
		if got := a.header.Get("Cache-Control"); got != "no-store" {
			t.Errorf("%s: the token may be cached: %q", who, got)
		}
	}
	for _, wrong := range []string{"short", strings.Repeat("A", 86) + "A", "a%20b%20c%20d%20e%20f"} {
		if a := s.must(own, "GET", api.PathDeviceResult+"?nonce="+wrong, ""); a.status != 400 && a.status != 422 {
			t.Errorf("nonce %q: status %d", wrong, a.status)
		}
	}
	s.later(11 * time.Minute)
	if r := s.open(s.must(own, "GET", api.PathDeviceResult, ""), ear.Expectation{}); r.Status != ear.None {
		t.Errorf("stale: %s", r.Status)
	}
}

// TestAttack_S7_ResultOfAnother: a device gets its own token, whatever it asks.
func TestAttack_S7_ResultOfAnother(t *testing.T) {
	s := newService(t)
	good, bad := s.compliant(), s.device(fleet.Quarantined)
	c := s.issue(bad.ID, bad.ID, fleet.CertificateIssued)
	for _, query := range []string{"", "?id=" + string(good.ID), "?device=" + string(good.ID), "?ID=press-7"} {
		r := s.open(s.must(c, "GET", api.PathDeviceResult+query, ""), ear.Expectation{})
		if r.Status != ear.Contraindicated || !strings.HasSuffix(r.Subject, string(bad.ID)) {
			t.Errorf("%q: %s about %s", query, r.Status, r.Subject)
		}
	}
	if a := s.must(c, "GET", "/v1/devices/"+string(good.ID)+"/result", ""); a.status != 401 {
		t.Errorf("a device on the operators' route: status %d", a.status)
	}
}
