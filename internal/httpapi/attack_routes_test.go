package httpapi_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"troth/internal/api"
	"troth/internal/fleet"
)

// row says who may call a route, and what a good caller is answered.
type row struct {
	route  string // method and path, as the OpenAPI document has them
	roles  string // operators who may; empty: not a route for operators
	device bool   // devices may
	open   bool   // anybody may
	query  string
	body   string
	status int // for a good caller, with this request
}

const (
	everyone  = "admin security operator auditor viewer proxy"
	readers   = "admin security operator auditor viewer"
	operators = "admin operator"
	guards    = "admin security operator"
	evidence  = `{"quote":"AA==","signature":"AA==","pcrs":{},"reported":"e30="}`
	reason    = `{"reason":"because"}`
)

// expected is the whole surface. A route that is served and stands not here
// fails the test, and so does a row without a route.
var expected = []row{
	{route: "POST /v1/enrollments", open: true, body: `{"ak_public":"AA==","tls_public":"AA==","model":"edge-100"}`, status: 403},
	{route: "POST /v1/enrollments/{id}/complete", open: true, body: `{"secret":"AA==","evidence":` + evidence + `,"certify_info":"AA==","certify_signature":"AA==","csr":"AA=="}`, status: 403},
	{route: "POST /v1/device/nonce", device: true, status: 200},
	{route: "POST /v1/device/check-in", device: true, body: `{"nonce":"AA==","evidence":` + evidence + `}`, status: 403},
	{route: "POST /v1/device/renew", device: true, body: `{"csr":"AA=="}`, status: 403},
	{route: "GET /v1/device/result", device: true, status: 200},
	{route: "GET /tuf/metadata/1.root.json", device: true, status: 200},
	{route: "GET /v1/device/trust-bundle", device: true, status: 200},
	{route: "GET /.well-known/jwks.json", open: true, status: 200},
	{route: "GET /spiffe/bundle", open: true, status: 200},
	{route: "GET /ca/bundle.pem", open: true, status: 200},
	{route: "GET /ca/{id}/crl", open: true, status: 404},
	{route: "GET /ca/{id}/issuer", open: true, status: 404},
	{route: "POST /ca/{id}/ocsp", open: true, body: "not a request", status: 404},

	{route: "GET /v1/whoami", roles: everyone, status: 200},
	{route: "POST /v1/tokens", roles: "admin", body: `{"operator":"bob","role":"viewer"}`, status: 200},
	{route: "GET /v1/devices", roles: readers, status: 200},
	{route: "GET /v1/devices/{id}", roles: readers, status: 404},
	{route: "GET /v1/devices/{id}/certificates", roles: readers, status: 404},
	{route: "GET /v1/devices/{id}/evidence", roles: readers, status: 404},
	{route: "GET /v1/devices/{id}/decision", roles: readers, status: 404},
	{route: "GET /v1/devices/{id}/result", roles: "admin operator proxy", status: 404},
	{route: "POST /v1/devices/{id}/quarantine", roles: guards, body: reason, status: 404},
	{route: "POST /v1/devices/{id}/rotate-key", roles: operators, body: reason, status: 404},
	{route: "POST /v1/devices/{id}/revoke", roles: operators, body: reason, status: 404},
	{route: "POST /v1/devices/{id}/release", roles: guards, body: reason, status: 404},
	{route: "POST /v1/devices/{id}/retire", roles: operators, body: reason, status: 404},
	{route: "POST /v1/registrations", roles: operators, body: `{"devices":[{"ek_hash":"` + strings.Repeat("9", 64) + `"}]}`, status: 200},
	{route: "GET /v1/manufacturers", roles: readers, status: 200},
	{route: "POST /v1/manufacturers", roles: "admin", body: `{"name":"acme","pem":"none"}`, status: 400},
	{route: "GET /v1/alerts", roles: readers, status: 200},
	{route: "POST /v1/alerts/{id}/acknowledge", roles: guards, status: 404},
	{route: "GET /v1/reports/compliance", roles: "admin security operator auditor", status: 200},
	{route: "GET /v1/events", roles: readers, status: 200},
	{route: "GET /v1/decisions", roles: readers, status: 200},
	{route: "GET /v1/decisions/{id}", roles: readers, status: 404},
	{route: "GET /v1/ca", roles: readers, status: 200},
	{route: "POST /v1/ca/begin", roles: "admin", body: "{}", status: 200},
	{route: "POST /v1/ca/activate", roles: "admin", body: "{}", status: 403}, // the devices of this test confirm nothing
	{route: "POST /v1/ca/retire", roles: "admin", body: "{}", status: 409},
	{route: "GET /authz", roles: "admin proxy", query: "?device=x&action=read", status: 403},
	{route: "POST /v1/vulnerabilities", roles: operators, body: `{"records":[{"id":"A-1"}],"last":true}`, status: 200},
	{route: "GET /v1/vulnerabilities", roles: readers, status: 200},
	{route: "GET /v1/vulnerabilities/{id}", roles: readers, status: 404},
	{route: "GET /v1/affected", roles: readers, status: 200},
	{route: "GET /v1/releases", roles: readers, status: 200},
	{route: "GET /v1/policies", roles: readers, status: 200},
	{route: "GET /v1/policies/{id}", roles: readers, status: 404},
	{route: "GET /v1/policies/{id}/archive", roles: readers, status: 404},
	{route: "GET /v1/policies/{id}/differences", roles: readers, status: 404},
	{route: "POST /v1/policies", roles: guards, body: `{"target":"policies/nobody"}`, status: 403},
	{route: "POST /v1/policies/{id}/rollback", roles: guards, body: reason, status: 404},
	{route: "POST /v1/policies/{id}/reject", roles: guards, body: reason, status: 404},
	{route: "POST /v1/policies/{id}/shadow", roles: guards, body: reason, status: 404},
	{route: "POST /v1/policies/{id}/unshadow", roles: guards, body: reason, status: 404},
	{route: "POST /v1/policies/{id}/approve", roles: "admin security", body: reason, status: 404},
	{route: "POST /v1/policies/{id}/activate", roles: "admin security", body: reason, status: 404},
	{route: "POST /v1/policy-preview", roles: guards, query: "?bundle=nobody", status: 404},
	{route: "GET /v1/rollouts", roles: readers, status: 200},
	{route: "GET /v1/rollouts/{id}", roles: readers, status: 404},
	{route: "POST /v1/rollouts", roles: operators, body: `{"model":"edge-100","version":"9"}`, status: 404},
	{route: "POST /v1/rollouts/{id}/start", roles: operators, body: `{}`, status: 404},
	{route: "POST /v1/rollouts/{id}/pause", roles: operators, status: 404},
	{route: "POST /v1/rollouts/{id}/resume", roles: operators, status: 404},
	{route: "POST /v1/rollouts/{id}/abort", roles: operators, status: 404},
	{route: "POST /v1/login", roles: "bootstrap", body: `{"operator":"ada"}`, status: 200}, // the last: it spends the token
}

// A caller is somebody with a credential, good or bad.
type caller struct {
	name string
	credential
	role   string // of a usable token
	device bool   // a certificate that counts
	code   string // of the refusal on device routes, where the handshake passes
	hello  bool   // refused in the handshake
}

func callers(s *service) []caller {
	active := s.device(fleet.Active)
	quarantined, retired := s.device(fleet.Quarantined), s.device(fleet.Retired)
	other, revoked := s.device(fleet.Active), s.device(fleet.Active)
	stranger := s.newID()
	own, err := s.ca.ServerCertificate([]string{"127.0.0.1"}, time.Hour)
	if err != nil {
		s.t.Fatal(err)
	}
	list := []caller{
		{name: "nobody", code: "certificate_required"},
		{name: "an active device", credential: s.issue(active.ID, active.ID, fleet.CertificateIssued), device: true},
		{name: "a quarantined device", credential: s.issue(quarantined.ID, quarantined.ID, fleet.CertificateIssued), device: true},
		{name: "a retired device", credential: s.issue(retired.ID, retired.ID, fleet.CertificateIssued), code: "device_retired"},
		{name: "a revoked certificate", credential: s.issue(revoked.ID, revoked.ID, fleet.CertificateRevoked), code: "certificate_revoked"},
		{name: "a certificate on no record", credential: s.issue(active.ID, "", ""), code: "certificate_unknown"},
		{name: "a certificate of an unknown device", credential: s.issue(stranger, "", ""), code: "certificate_unknown"},
		{name: "another device's record", credential: s.issue(active.ID, other.ID, fleet.CertificateIssued), code: "certificate_unknown"},
		{name: "a self-signed certificate", credential: selfSigned(s.t, active.ID), hello: true},
		{name: "the server's own certificate", credential: credential{cert: &own}, hello: true},
	}
	for name, header := range map[string]string{
		"no token": "Bearer ", "no scheme": "x", "another scheme": "Basic YWRhOmFkYQ==", "a malformed token": "Bearer troth_x y\tz",
		"a long token": "Bearer troth_" + strings.Repeat("a", 10000), "a token nobody made": "Bearer troth_" + strings.Repeat("A", 43),
	} {
		list = append(list, caller{name: name, credential: credential{header: header}, code: "certificate_required"})
	}
	for _, role := range []fleet.Role{fleet.RoleAdmin, fleet.RoleSecurity, fleet.RoleOperator, fleet.RoleAuditor, fleet.RoleViewer, fleet.RoleProxy, "root"} {
		list = append(list, caller{name: string(role), credential: s.token(role), role: string(role), code: "certificate_required"})
	}
	return append(list,
		caller{name: "an expired token", credential: s.spoilt(func(t *fleet.Token) { t.ExpiresAt = s.now().Add(-1) }), code: "certificate_required"},
		caller{name: "a revoked token", credential: s.spoilt(func(t *fleet.Token) { t.RevokedAt = s.now() }), code: "certificate_required"},
		caller{name: "a spent bootstrap token", credential: s.spoilt(func(t *fleet.Token) { t.Role, t.UsedAt = fleet.RoleBootstrap, s.now() }), code: "certificate_required"},
		caller{name: "a bootstrap token", credential: s.bootstrap(), role: "bootstrap", code: "certificate_required"},
	)
}

// spoilt makes an administrator's token and changes it.
func (s *service) spoilt(change func(*fleet.Token)) credential {
	s.t.Helper()
	text, token, err := s.operator.Create(s.t.Context(), "test", "ada", fleet.RoleAdmin, nil, time.Hour)
	if err != nil {
		s.t.Fatal(err)
	}
	change(&token)
	s.apply(fleet.Change{Tokens: []fleet.Token{token}})
	return bearer(text)
}

func (s *service) bootstrap() credential {
	return s.spoilt(func(t *fleet.Token) { t.Role = fleet.RoleBootstrap })
}

// TestAttack_S1_EveryRouteDeniesByDefault walks every route with every kind of
// caller.
func TestAttack_S1_EveryRouteDeniesByDefault(t *testing.T) {
	s := newService(t, withPolicies(t))
	everybody := callers(s)
	for _, r := range expected {
		t.Run(strings.ReplaceAll(r.route, "/", "|"), func(t *testing.T) {
			method, path, _ := strings.Cut(r.route, " ")
			path = strings.ReplaceAll(path, "{id}", "nobody") + r.query
			for _, c := range everybody {
				s.later(time.Second) // rate limits have their own test
				a, err := s.do(c.credential, method, path, r.body)
				if c.hello {
					if err == nil {
						t.Errorf("%s: status %d, want no handshake", c.name, a.status)
					}
					continue
				}
				if err != nil {
					t.Errorf("%s: %v", c.name, err)
					continue
				}
				status, code := r.verdict(c)
				if a.status != status {
					t.Errorf("%s: status %d, want %d: %s", c.name, a.status, status, a.body)
				}
				if a.status >= 400 {
					isProblem(t, c.name, a, code)
				}
			}
		})
	}
	if strings.Contains(s.log.String(), "panic") {
		t.Errorf("a handler panicked:\n%s", s.log.String())
	}
}

// verdict is what a caller is to be answered; code is empty where the request
// itself decides.
func (r row) verdict(c caller) (status int, code string) {
	switch {
	case r.open:
		return r.status, ""
	case r.device && c.device:
		return r.status, ""
	case r.device:
		return 401, c.code
	case c.role == "":
		return 401, "unauthorized"
	case slices.Contains(strings.Fields(r.roles), c.role):
		return r.status, ""
	case r.roles == everyone && c.role != "bootstrap":
		return r.status, "" // whoami: whoever has a token
	case strings.HasSuffix(r.route, "/login"):
		return 403, "not_a_bootstrap_token"
	default:
		return 403, "forbidden"
	}
}

// isProblem checks the form of a refusal; an empty code means any.
func isProblem(t *testing.T, who string, a answer, code string) {
	t.Helper()
	p := a.problem(t)
	if got := a.header.Get("Content-Type"); got != api.ProblemType {
		t.Errorf("%s: content type %q", who, got)
	}
	if p.Code == "" || code != "" && p.Code != code {
		t.Errorf("%s: code %q, want %q", who, p.Code, code)
	}
	if p.Status != a.status || p.Title != http.StatusText(a.status) || p.Type != "about:blank" || p.Detail == "" {
		t.Errorf("%s: problem %+v of status %d", who, p, a.status)
	}
	if p.RequestID == "" || p.RequestID != a.header.Get("X-Request-Id") {
		t.Errorf("%s: request id %q, header %q", who, p.RequestID, a.header.Get("X-Request-Id"))
	}
}

// TestAttack_S1_NoRouteIsForgotten compares the table with what is served.
func TestAttack_S1_NoRouteIsForgotten(t *testing.T) {
	var document struct {
		Paths map[string]map[string]struct {
			Security []map[string][]string `json:"security"`
		} `json:"paths"`
	}
	s := newService(t)
	a := s.must(credential{}, "GET", "/openapi.json", "")
	if err := json.Unmarshal(a.body, &document); err != nil || a.status != 200 {
		t.Fatalf("status %d, %v", a.status, err)
	}
	rows := map[string]row{}
	for _, r := range expected {
		rows[r.route] = r
	}
	delete(rows, "GET /tuf/metadata/1.root.json") // files are not in the document
	for path, methods := range document.Paths {
		for method, operation := range methods {
			route := strings.ToUpper(method) + " " + path
			r, ok := rows[route]
			if !ok {
				t.Errorf("%s is served, and the table does not say who may call it", route)
				continue
			}
			delete(rows, route)
			scheme := map[bool]string{r.device: "device", r.roles != "": "token"}[true]
			if r.open != (len(operation.Security) == 0) || !r.open && operation.Security[0][scheme] == nil {
				t.Errorf("%s is documented with security %v, want %q", route, operation.Security, scheme)
			}
		}
	}
	for route := range rows {
		t.Errorf("the table has %s, which is not served", route)
	}
}

// TestAttack_S1_ExpiredCertificate: TLS refuses it.
func TestAttack_S1_ExpiredCertificate(t *testing.T) {
	s := newService(t)
	d := s.device(fleet.Active)
	c := s.issue(d.ID, d.ID, fleet.CertificateIssued)
	if a := s.must(c, "POST", api.PathNonce, ""); a.status != 200 {
		t.Fatalf("fresh: %d %s", a.status, a.body)
	}
	s.later(time.Hour + time.Minute)
	if a, err := s.do(c, "POST", api.PathNonce, ""); err == nil {
		t.Errorf("expired: status %d, want no handshake", a.status)
	}
}

// TestAttack_S1_FilesOfOthers: nothing but files of the repository, and no list.
func TestAttack_S1_FilesOfOthers(t *testing.T) {
	s := newService(t)
	d := s.device(fleet.Active)
	c := s.issue(d.ID, d.ID, fleet.CertificateIssued)
	for path, want := range map[string]int{
		"/tuf/targets/dir/image": 200, "/tuf/": 404, "/tuf/targets/": 404, "/tuf/targets/dir": 404, "/tuf/targets/dir/": 404,
		"/tuf/nothing": 404, "/tuf/..%2f..%2fetc%2fpasswd": 404, "/tuf/targets/..%2f..%2f..%2fetc/passwd": 404,
	} {
		a := s.must(c, "GET", path, "")
		if a.status != want {
			t.Errorf("%s: status %d, want %d: %.100q", path, a.status, want, a.body)
		}
		if a.status >= 400 {
			isProblem(t, path, a, "")
		}
	}
}

// TestAttack_S1_UnknownRoutes get the one form of an error, too.
func TestAttack_S1_UnknownRoutes(t *testing.T) {
	s := newService(t)
	admin := s.token(fleet.RoleAdmin)
	for _, tt := range []struct {
		method, path string
		status       int
		code         string
	}{
		{"GET", "/", 404, "not_found"},
		{"GET", "/v1/nothing", 404, "not_found"},
		{"GET", "/v1/devices/x/y/z", 404, "not_found"},
		{"DELETE", "/v1/devices", 405, "method_not_allowed"},
		{"GET", "/v1/login", 405, "method_not_allowed"},
		{"POST", "/tuf/metadata/1.root.json", 405, "method_not_allowed"},
		{"GET", "/docs", 404, "not_found"},
		{"GET", "/debug/pprof/", 404, "not_found"},
	} {
		a := s.must(admin, tt.method, tt.path, "")
		if a.status != tt.status {
			t.Errorf("%s %s: status %d, want %d", tt.method, tt.path, a.status, tt.status)
		}
		isProblem(t, tt.method+" "+tt.path, a, tt.code)
		if tt.status == 405 && a.header.Get("Allow") == "" {
			t.Errorf("%s %s: no Allow header", tt.method, tt.path)
		}
	}
}
