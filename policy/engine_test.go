package policy_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"troth/policies"
	"troth/policy"
)

func TestPosture(t *testing.T) {
	e := engine(t, policies.FS)
	cases := []struct {
		name    string
		change  func(*policy.PostureInput)
		verdict string
		failing []string // not passing
	}{
		{"all well", func(*policy.PostureInput) {}, policy.Compliant, nil},
		{"altered boot loader", func(in *policy.PostureInput) {
			in.Firmware.Known, in.Firmware.Version, in.Firmware.Counter, in.Firmware.Mismatches = false, "", 0, []int{4}
		}, policy.Noncompliant, []string{"firmware-current", "firmware-known", "firmware-latest", "firmware-reported"}},
		{"no security release installed, within grace", func(in *policy.PostureInput) {
			in.Firmware.LatestSecurityCounter = 4
		}, policy.Compliant, []string{"firmware-current"}},
		{"no security release installed, past grace", func(in *policy.PostureInput) {
			in.Firmware.LatestSecurityCounter = 4
			in.FailingSince = map[string]time.Time{"firmware-current": now.Add(-336 * time.Hour)}
		}, policy.Noncompliant, []string{"firmware-current"}},
		{"counters as large as they get", func(in *policy.PostureInput) {
			in.Firmware.Counter, in.Firmware.LatestSecurityCounter = 1<<64-2, 1<<64-1
			in.FailingSince = map[string]time.Time{"firmware-current": now.Add(-336 * time.Hour)}
		}, policy.Noncompliant, []string{"firmware-current"}},
		{"update rolled back", func(in *policy.PostureInput) {
			in.Update = policy.UpdateInput{State: "rolled-back", Version: "1.3.0", Error: "health check"}
		}, policy.Noncompliant, []string{"update-healthy"}},
		{"update in a state unheard of", func(in *policy.PostureInput) {
			in.Update.State = "splendid"
		}, policy.Undecided, []string{"update-healthy"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			in := healthy()
			c.change(&in)
			d, err := e.Posture(t.Context(), in)
			if err != nil {
				t.Fatal(err)
			}
			var failing []string
			for _, r := range d.Controls {
				if r.Failing() {
					failing = append(failing, r.ID)
				}
				if r.Title == "" || r.Severity == "" || r.Reason == "" || len(r.Frameworks) == 0 || r.Remediation == "" {
					t.Errorf("control %s lacks something: %+v", r.ID, r)
				}
			}
			if d.Verdict != c.verdict || !slices.Equal(failing, c.failing) {
				t.Errorf("verdict %s, failing %v; want %s, %v", d.Verdict, failing, c.verdict, c.failing)
			}
			if len(d.Controls) != len(e.Controls()) {
				t.Errorf("%d controls answered of %d", len(d.Controls), len(e.Controls()))
			}
		})
	}
}

// The zero value of an input, but for the time, is a device of which nothing is
// known.
func TestNothingKnownIsNothingAllowed(t *testing.T) {
	e := engine(t, policies.FS)
	p, err := e.Posture(t.Context(), policy.PostureInput{Now: now})
	if err != nil || p.Verdict == policy.Compliant {
		t.Errorf("posture: %s, %v", p.Verdict, err)
	}
	for _, c := range p.Controls {
		if c.Outcome == policy.Pass {
			t.Errorf("control %s passes", c.ID)
		}
	}
	if d, err := e.Enroll(t.Context(), policy.EnrollInput{Now: now}); err != nil || d.Allow || d.Code == "" {
		t.Errorf("enroll: %+v, %v", d, err)
	}
	if d, err := e.Access(t.Context(), policy.AccessInput{Now: now}); err != nil || d.Allow || d.Code == "" {
		t.Errorf("access: %+v, %v", d, err)
	}
	if d, err := e.Operator(t.Context(), policy.OperatorInput{}); err != nil || d.Allow || d.Code == "" {
		t.Errorf("operator: %+v, %v", d, err)
	}
	if d, err := e.Remediate(t.Context(), policy.RemediateInput{Now: now}); err != nil || len(d.Actions) != 0 {
		t.Errorf("remediate: %+v, %v", d, err)
	}
}

func TestPermissions(t *testing.T) {
	e := engine(t, policies.FS)
	if d, err := e.Enroll(t.Context(), newcomer()); err != nil || !d.Allow || d.Code != "" || d.Reason == "" || d.Answer() != "allow" {
		t.Errorf("enroll: %+v, %v", d, err)
	}
	in := newcomer()
	in.RequireRegistration = true
	if d, err := e.Enroll(t.Context(), in); err != nil || d.Allow || d.Code != "not_registered" || d.Answer() != "deny" {
		t.Errorf("enroll: %+v, %v", d, err)
	}
	if d, err := e.Access(t.Context(), visitor()); err != nil || !d.Allow {
		t.Errorf("access: %+v, %v", d, err)
	}
	stale := visitor()
	stale.VerdictAge = 901
	if d, err := e.Access(t.Context(), stale); err != nil || d.Allow || d.Code != "verdict_stale" {
		t.Errorf("access: %+v, %v", d, err)
	}
	if d, err := e.Operator(t.Context(), policy.OperatorInput{Operator: "ada", Role: "viewer", Action: "device.list"}); err != nil || !d.Allow {
		t.Errorf("operator: %+v, %v", d, err)
	}
	if d, err := e.Operator(t.Context(), policy.OperatorInput{Operator: "ada", Role: "viewer", Action: "device.retire"}); err != nil || d.Allow {
		t.Errorf("operator: %+v, %v", d, err)
	}
}

// The controls of a posture go into Remediate as they are.
func TestPostureThenRemediate(t *testing.T) {
	e := engine(t, policies.FS)
	in := healthy()
	in.Attestation.Verified = false
	in.Firmware.LatestSecurityCounter, in.Firmware.LatestCounter, in.Firmware.LatestVersion = 4, 4, "1.3.0"
	remediate := func() []policy.Action {
		t.Helper()
		p, err := e.Posture(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		d, err := e.Remediate(t.Context(), policy.RemediateInput{
			Now: in.Now, Evidence: in.Evidence, Device: in.Device, Verdict: p.Verdict, Controls: p.Controls, Firmware: in.Firmware,
		})
		if err != nil {
			t.Fatal(err)
		}
		return d.Actions
	}
	if got := remediate(); len(got) != 1 || got[0].Kind != policy.ActQuarantine || got[0].Control != "attestation-verified" {
		t.Errorf("unverified: %+v", got)
	}
	in.Attestation.Verified = true
	if got := remediate(); len(got) != 1 || got[0].Kind != policy.ActPropose || got[0].Release != "1.3.0" {
		t.Errorf("outdated: %+v", got)
	}
}

func TestDecisionRestsOnItsInput(t *testing.T) {
	e := engine(t, policies.FS)
	in := healthy()
	d, err := e.Posture(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	document, err := policy.Document(in)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(document)
	m := d.Digests()
	if m != d.Meta || m.Policy != e.Digest() || m.Input != hex.EncodeToString(sum[:]) || m.Evidence != in.Evidence || !m.At.Equal(now) {
		t.Errorf("meta %+v", m)
	}

	// The same facts in another spelling are the same document.
	in.Now = in.Now.In(time.FixedZone("east", 3600))
	in.FailingSince = map[string]time.Time{}
	in.Attestation.Problems = []string{}
	in.Device.Labels = map[string]string{}
	if string(m.Document()) != string(document) {
		t.Errorf("decided on %s", m.Document())
	}
	if again, err := policy.Document(in); err != nil || string(again) != string(document) {
		t.Errorf("another spelling is another document (%v)", err)
	}
	if strings.Contains(string(document), "null") {
		t.Errorf("the document holds null: %s", document)
	}
}

func TestReplay(t *testing.T) {
	e := engine(t, policies.FS)
	posture := healthy()
	posture.Firmware.LatestSecurityCounter = 9
	p, err := e.Posture(t.Context(), posture)
	if err != nil {
		t.Fatal(err)
	}
	remediation := policy.RemediateInput{Now: now, Evidence: "ff", Device: posture.Device, Verdict: p.Verdict, Controls: p.Controls, Firmware: posture.Firmware}
	for _, c := range []struct {
		kind   policy.Kind
		in     policy.Input
		decide func() (policy.Decision, error)
	}{
		{policy.KindEnroll, newcomer(), func() (policy.Decision, error) { return e.Enroll(t.Context(), newcomer()) }},
		{policy.KindRenew, renewer(), func() (policy.Decision, error) { return e.Renew(t.Context(), renewer()) }},
		{policy.KindPosture, posture, func() (policy.Decision, error) { return e.Posture(t.Context(), posture) }},
		{policy.KindAccess, visitor(), func() (policy.Decision, error) { return e.Access(t.Context(), visitor()) }},
		{policy.KindRemediate, remediation, func() (policy.Decision, error) { return e.Remediate(t.Context(), remediation) }},
		{policy.KindOperator, policy.OperatorInput{Operator: "ada"}, func() (policy.Decision, error) {
			return e.Operator(t.Context(), policy.OperatorInput{Operator: "ada"})
		}},
	} {
		want, err := c.decide()
		if err != nil {
			t.Fatal(err)
		}
		document, err := policy.Document(c.in)
		if err != nil {
			t.Fatal(err)
		}
		got, err := e.Replay(t.Context(), c.kind, document)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v (%v), want %+v", c.kind, got, err, want)
		}
		if _, err := json.Marshal(got); err != nil || got.Answer() == "" {
			t.Errorf("%s: %q, %v", c.kind, got.Answer(), err)
		}
		for _, bad := range []string{"", "{", "[]", `{"now": 3}`} {
			if d, err := e.Replay(t.Context(), c.kind, []byte(bad)); err == nil || d.Answer() == "allow" || d.Answer() == policy.Compliant || d.Answer() == "act" {
				t.Errorf("%s of %q: %+v, %v", c.kind, bad, d, err)
			}
		}
	}
	if d, err := e.Replay(t.Context(), "weather", []byte(`{}`)); d != nil || !errors.Is(err, policy.ErrInput) {
		t.Errorf("%v, %v", d, err)
	}
}

func TestEngineIsSafeForConcurrentUse(t *testing.T) {
	e := engine(t, policies.FS)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			in := healthy()
			in.Attestation.SecureBoot.Enabled = i%2 == 0
			want := policy.Compliant
			if i%2 != 0 {
				want = policy.Noncompliant
			}
			for range 5 {
				if d, err := e.Posture(t.Context(), in); err != nil || d.Verdict != want {
					t.Errorf("%s, %v", d.Verdict, err)
				}
			}
		})
	}
	wg.Wait()
}

// renewer is a device that may renew.
func renewer() policy.RenewInput {
	return policy.RenewInput{
		Now: now, Device: policy.DeviceInput{ID: "aa", Model: "gw-100", Lifecycle: "active"}, Verdict: "compliant", VerdictAge: 10,
	}
}

// A renewal that is not decided is refused, whatever went wrong, and a lifetime
// that is none is no lifetime.
func TestRenewFailsClosed(t *testing.T) {
	const head = "package troth.renew\ndecision := "
	for name, module := range map[string]string{
		"undefined":       "package troth.renew\ndecision := {\"allow\": true} if input.now == \"never\"",
		"missing key":     head + `{"allow": true, "code": "", "reason": "Yes."}`,
		"rotate by word":  head + `{"allow": true, "code": "", "reason": "Yes.", "rotate_key": "no"}`,
		"contradiction":   head + `{"allow": true, "code": "x", "reason": "Yes.", "rotate_key": false}`,
		"unknown key":     head + `{"allow": true, "code": "", "reason": "Yes.", "rotate_key": false, "for_ever": true}`,
		"lifetime zero":   head + `{"allow": true, "code": "", "reason": "Yes.", "rotate_key": false, "certificate_lifetime_seconds": 0}`,
		"lifetime text":   head + `{"allow": true, "code": "", "reason": "Yes.", "rotate_key": false, "certificate_lifetime_seconds": "60"}`,
		"lifetime broken": head + `{"allow": true, "code": "", "reason": "Yes.", "rotate_key": false, "certificate_lifetime_seconds": 1.5}`,
		"lifetime beyond": head + `{"allow": true, "code": "", "reason": "Yes.", "rotate_key": false, "certificate_lifetime_seconds": 99999999999999999999}`,
	} {
		d, err := engine(t, tiny(map[string]string{"renew": module})).Renew(t.Context(), renewer())
		if err == nil || d.Allow || d.Lifetime != 0 || d.RotateKey || d.Code != policy.CodePolicy {
			t.Errorf("%s: %+v, %v", name, d, err)
		}
	}
	module := head + `{"allow": true, "code": "", "reason": "Yes.", "rotate_key": true, "certificate_lifetime_seconds": 90}`
	d, err := engine(t, tiny(map[string]string{"renew": module})).Renew(t.Context(), renewer())
	if err != nil || !d.Allow || d.Lifetime != 90 || !d.RotateKey || d.Answer() != "allow" {
		t.Errorf("%+v, %v", d, err)
	}
	module = head + `{"allow": false, "code": "no", "reason": "No.", "rotate_key": true, "certificate_lifetime_seconds": 90}`
	d, err = engine(t, tiny(map[string]string{"renew": module})).Renew(t.Context(), renewer())
	if err != nil || d.Allow || d.Lifetime != 0 || d.RotateKey {
		t.Errorf("a denial grants something: %+v, %v", d, err)
	}
}
