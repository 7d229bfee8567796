package httpapi_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/csv"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"troth/internal/access"
	"troth/internal/api"
	"troth/internal/fleet"
	"troth/internal/httpapi"
	"troth/internal/report"
)

// hostile is what a device may call itself.
const hostile = "=cmd|'/C calc'!A0<script>alert(1)</script>\u202e\x1b[31m\r\nevil: 1\x00"

// TestAttack_S3_HostileWords: what a device says comes back as data, wherever it
// is shown, and forges no line of the log.
func TestAttack_S3_HostileWords(t *testing.T) {
	s := newService(t)
	admin := s.token(fleet.RoleAdmin)
	name := strings.ReplaceAll(hostile, "\x00", "")
	d := s.device(fleet.Active, func(d *fleet.Device) {
		d.Name, d.Model, d.Verdict, d.FreshUntil = name, "=1+1", fleet.Noncompliant, s.now().Add(time.Hour)
		d.LifecycleReason = name
	})
	d.LastSeen = s.now()
	s.apply(fleet.Change{
		Devices: []fleet.Device{d},
		Posture: &fleet.Posture{Device: d.ID, At: s.now(), Verdict: fleet.Noncompliant, Attestation: json.RawMessage(`{}`), Reported: json.RawMessage(`{"hostname":"</script>"}`),
			Controls: []fleet.Control{{ID: "boot", Title: name, Severity: fleet.High, Outcome: fleet.Fail, Reason: name}}},
		Events: []fleet.Event{fleet.NewEvent(s.now(), "device:"+name, "x", string(d.ID), name)},
	})
	a := s.must(admin, "GET", "/v1/devices/"+string(d.ID), "")
	var view api.Device
	if err := json.Unmarshal(a.body, &view); err != nil || view.Name != name || view.Posture.Controls[0].Reason != name {
		t.Errorf("the device as JSON: %v, %s", err, a.body)
	}
	inert(t, "the device as JSON", a)
	page := s.must(admin, "GET", "/v1/reports/compliance?format=html", "")
	if got := page.header.Get("Content-Type"); got != "text/html; charset=utf-8" || strings.Contains(string(page.body), "<script") {
		t.Errorf("the report as HTML (%s) holds the device's markup", got)
	}
	if page.header.Get("X-Content-Type-Options") != "nosniff" {
		t.Error("the report may be sniffed for another type")
	}
	sheet := s.must(admin, "GET", "/v1/reports/compliance?format=csv", "")
	rows, err := csv.NewReader(strings.NewReader(string(sheet.body))).ReadAll()
	if err != nil || len(rows) != 2 {
		t.Fatalf("the report as CSV has %d rows, %v", len(rows), err)
	}
	for _, cell := range rows[1] {
		if strings.ContainsAny(cell[:min(1, len(cell))], "=+-@\t\r") {
			t.Errorf("a spreadsheet would calculate %q", cell)
		}
	}
	for _, path := range []string{"/v1/devices/%0a%0dlevel=ERROR", "/v1/events?subject=%0alevel=ERROR", "/v1/%0alevel=ERROR"} {
		s.must(admin, "GET", path, "")
	}
	for line := range strings.SplitSeq(strings.TrimSuffix(s.log.String(), "\n"), "\n") {
		if !strings.HasPrefix(line, "time=") {
			t.Errorf("a line of the log was forged: %q", line)
		}
	}
}

// TestAttack_S3_HostileErrors: an answer that quotes the request is JSON.
func TestAttack_S3_HostileErrors(t *testing.T) {
	s := newService(t)
	admin := s.token(fleet.RoleAdmin)
	for _, path := range []string{
		"/v1/devices/%3Cscript%3Ealert(1)%3C%2Fscript%3E", "/v1/devices?verdict=%3Cscript%3E", "/v1/reports/compliance?format=%3Cscript%3E",
		"/%3Cscript%3E", "/v1/devices/%1b%5b31m",
	} {
		a := s.must(admin, "GET", path, "")
		isProblem(t, path, a, "")
		inert(t, path, a)
	}
}

// inert checks that no browser takes an answer for a page, and no terminal for
// commands.
func inert(t *testing.T, what string, a answer) {
	t.Helper()
	if got := a.header.Get("Content-Type"); !strings.HasPrefix(got, "application/") || a.header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("%s: content type %q, which may be sniffed: %q", what, got, a.header.Get("X-Content-Type-Options"))
	}
	for _, b := range bytes.TrimSuffix(a.body, []byte("\n")) {
		if b < 0x20 {
			t.Errorf("%s: a raw control byte %#x in %q", what, b, a.body)
			return
		}
	}
}

// aLog is a check-in with a measurement log.
func aLog(content string) string {
	return `{"nonce":"AA==","evidence":{"quote":"AA==","signature":"AA==","pcrs":{},"reported":"e30=","ima":{"sha256":"` + strings.Repeat("a", 64) + `","content":"` + content + `"}}}`
}

func TestInvalidRequests(t *testing.T) {
	s := newService(t)
	admin := s.token(fleet.RoleAdmin)
	d := s.device(fleet.Active)
	device := s.issue(d.ID, d.ID, fleet.CertificateIssued)
	tests := []struct {
		name  string
		as    credential
		path  string
		body  string
		field string
	}{
		{"an unknown field", admin, "/v1/tokens", `{"operator":"bob","role":"viewer","admin":true}`, "admin"},
		{"an unknown field within", device, "/v1/device/check-in", `{"nonce":"AA==","evidence":{"quote":"AA==","signature":"AA==","pcrs":{},"reported":"e30=","trust":"me"}}`, "evidence.trust"},
		{"a missing field", admin, "/v1/tokens", `{"operator":"bob"}`, "role"},
		{"a value that is not one", admin, "/v1/tokens", `{"operator":"bob","role":"root"}`, "role"},
		{"bootstrap is no role to give", admin, "/v1/tokens", `{"operator":"bob","role":"bootstrap"}`, "role"},
		{"a number out of range", admin, "/v1/tokens", `{"operator":"bob","role":"viewer","hours":9000}`, "hours"},
		{"a name with markup", admin, "/v1/tokens", `{"operator":"<b>","role":"viewer"}`, "operator"},
		{"another type", admin, "/v1/rollouts", `{"model":1,"version":"1"}`, "model"},
		{"not base64", device, "/v1/device/renew", `{"csr":"?"}`, "csr"},
		{"a log that is not base64", device, "/v1/device/check-in", aLog("?"), "base64"},
		{"a log in the base64 of URLs", device, "/v1/device/check-in", aLog("_-__"), "base64"},
		{"too long", device, "/v1/device/renew", `{"csr":"` + base64.StdEncoding.EncodeToString(make([]byte, 20000)) + `"}`, "csr"},
		{"no list", admin, "/v1/registrations", `{"devices":[]}`, "devices"},
		{"an upper-case hash", admin, "/v1/registrations", `{"devices":[{"ek_hash":"` + strings.Repeat("A", 64) + `"}]}`, "devices[0].ek_hash"},
		{"no reason", admin, "/v1/devices/x/retire", `{"reason":""}`, "reason"},
		{"malformed", admin, "/v1/tokens", `{"operator":`, ""},
		{"not an object", admin, "/v1/tokens", `[]`, ""},
		{"nothing", admin, "/v1/tokens", ``, ""},
		{"deep", admin, "/v1/tokens", strings.Repeat("[", 100000), ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := s.must(tt.as, "POST", tt.path, tt.body)
			if a.status != 400 && a.status != 422 {
				t.Errorf("status %d", a.status)
			}
			isProblem(t, tt.name, a, "invalid_request")
			if said := strings.Join(a.problem(t).Errors, "\n"); !strings.Contains(said, tt.field) {
				t.Errorf("errors %q do not name %s", said, tt.field)
			}
		})
	}
}

func TestAttack_S7_WrongTokensAreAllAlike(t *testing.T) {
	s := newService(t)
	var first api.Problem
	for i, c := range []credential{
		{}, bearer("x"), bearer("troth_"), bearer("troth_" + strings.Repeat("A", 43)),
		s.spoilt(func(t *fleet.Token) { t.ExpiresAt = s.now() }),
		s.spoilt(func(t *fleet.Token) { t.RevokedAt = s.now() }),
		s.spoilt(func(t *fleet.Token) { t.Role, t.UsedAt = fleet.RoleBootstrap, s.now() }),
	} {
		p := s.must(c, "GET", "/v1/whoami", "").problem(t)
		p.RequestID = ""
		if i == 0 {
			first = p
		}
		if p.Code != first.Code || p.Detail != first.Detail || p.Status != first.Status || len(p.Errors) != 0 {
			t.Errorf("credential %d is told %+v, the first %+v", i, p, first)
		}
	}
}

// The service keeps no session: there is nothing that a browser would send by
// itself, so a forged request across sites carries no right.
func TestAttack_S7_NoCookies(t *testing.T) {
	s := newService(t)
	admin := s.token(fleet.RoleAdmin)
	for _, path := range []string{"/v1/whoami", "/v1/devices", "/v1/reports/compliance?format=html", "/openapi.json", "/healthz"} {
		a := s.must(admin, "GET", path, "")
		if a.status != 200 || len(a.header.Values("Set-Cookie")) > 0 || a.header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: status %d, headers %v", path, a.status, a.header)
		}
		if a.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s may be cached", path)
		}
	}
	a := s.must(credential{}, "POST", "/v1/login?token="+strings.TrimPrefix(s.bootstrap().header, "Bearer "), `{"operator":"ada"}`)
	isProblem(t, "a token in the query", a, "unauthorized")
}

// failing is a store that is away, in words that nobody outside should read.
type failing struct{}

var errAway = errors.New("dial postgres://troth:hunter2@10.0.0.5: refused")

func (failing) Devices(context.Context, fleet.DeviceFilter) ([]fleet.Device, error) {
	return nil, errAway
}
func (failing) Postures(context.Context, []fleet.DeviceID) (map[fleet.DeviceID]fleet.Posture, error) {
	return nil, errAway
}
func (failing) Device(context.Context, fleet.DeviceID) (fleet.Device, error) {
	return fleet.Device{}, fleet.Because(errAway, fleet.Unavailable, "store_unavailable", "the database does not answer: try again")
}
func (failing) Certificates(context.Context, fleet.DeviceID) ([]fleet.Certificate, error) {
	return nil, errAway
}
func (failing) CertificateBySerial(context.Context, string) (fleet.Certificate, error) {
	return fleet.Certificate{}, fleet.Because(errAway, fleet.Unavailable, "store_unavailable", "the database is away")
}
func (failing) Posture(context.Context, fleet.DeviceID) (fleet.Posture, error) {
	return fleet.Posture{}, errAway
}

func TestErrorsKeepTheirCauses(t *testing.T) {
	s := newService(t, func(c *httpapi.Config) {
		c.Reports = &report.Service{Store: failing{}, Policy: func() string { return "" }, Now: c.Now}
		c.Access = &access.Service{Store: failing{}, Now: c.Now}
		c.Ready = func(context.Context) map[string]error { return map[string]error{"database": errAway} }
	})
	admin := s.token(fleet.RoleAdmin)
	for path, want := range map[string]struct {
		status int
		code   string
	}{
		"/v1/reports/compliance":     {500, "internal"},
		"/authz?device=x&action=get": {503, "store_unavailable"},
		"/readyz":                    {503, "not_ready"},
	} {
		a := s.must(admin, "GET", path, "")
		if a.status != want.status {
			t.Errorf("%s: status %d, want %d", path, a.status, want.status)
		}
		isProblem(t, path, a, want.code)
		if strings.Contains(string(a.body), "hunter2") || strings.Contains(string(a.body), "postgres") {
			t.Errorf("%s: the answer tells the cause: %s", path, a.body)
		}
		if want.status == 503 && want.code == "store_unavailable" {
			retryAfter(t, a)
		}
	}
	if strings.Count(s.log.String(), "hunter2") != 3 {
		t.Error("the log does not tell each cause once")
	}
}
