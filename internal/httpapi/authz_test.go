package httpapi_test

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/url"
	"strings"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"troth/internal/access"
	"troth/internal/api"
	"troth/internal/fleet"
	"troth/internal/httpapi"
)

// admissible is a device that may have access.
func (s *service) admissible(change ...func(*fleet.Device)) fleet.Device {
	return s.device(fleet.Active, append([]func(*fleet.Device){func(d *fleet.Device) {
		d.Verdict, d.VerdictAt, d.FreshUntil = fleet.Compliant, s.now(), s.now().Add(time.Hour)
		d.LastSeen, d.NextCheckIn = s.now(), s.now().Add(time.Hour)
	}}, change...)...)
}

// The forms in which proxies hand on a certificate: NGINX, Traefik of today and of
// before.
func forNGINX(c credential) string {
	return url.PathEscape(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.cert.Certificate[0]})))
}

func forTraefik(c credential) string {
	return base64.StdEncoding.EncodeToString(c.cert.Certificate[0])
}

// shown are the certificates that a proxy may be shown, and what is answered.
func shown(s *service) []struct {
	name string
	credential
	code string // empty: yes
} {
	good, quarantined, other := s.admissible(), s.device(fleet.Quarantined), s.admissible()
	failing := s.admissible(func(d *fleet.Device) { d.Verdict = fleet.Noncompliant })
	stale := s.admissible(func(d *fleet.Device) { d.FreshUntil = s.now().Add(-time.Second) })
	revoked := s.admissible()
	return []struct {
		name string
		credential
		code string
	}{
		{"of a compliant device", s.issue(good.ID, good.ID, fleet.CertificateIssued), ""},
		{"of a device that fails", s.issue(failing.ID, failing.ID, fleet.CertificateIssued), "device_noncompliant"},
		{"of a device whose posture is stale", s.issue(stale.ID, stale.ID, fleet.CertificateIssued), "verdict_unknown"},
		{"of a quarantined device", s.issue(quarantined.ID, quarantined.ID, fleet.CertificateIssued), "device_quarantined"},
		{"that was revoked", s.issue(revoked.ID, revoked.ID, fleet.CertificateRevoked), "certificate_revoked"},
		{"that is on no record", s.issue(other.ID, "", ""), "certificate_unknown"},
		{"that nobody issued", selfSigned(s.t, good.ID), "certificate_unknown"},
	}
}

func TestAuthzByCertificate(t *testing.T) {
	s := newService(t)
	proxy := s.token(fleet.RoleProxy)
	for _, tt := range shown(s) {
		for form, headers := range map[string]map[string]string{
			"NGINX":           {"X-Client-Cert": forNGINX(tt.credential), "X-Original-Method": "GET", "X-Original-URI": "/readings"},
			"Traefik":         {"X-Forwarded-Tls-Client-Cert": forTraefik(tt.credential), "X-Forwarded-Method": "GET", "X-Forwarded-Uri": "/readings"},
			"Traefik escaped": {"X-Forwarded-Tls-Client-Cert": url.QueryEscape(forTraefik(tt.credential)), "X-Forwarded-Method": "GET"},
			"Traefik's chain": {"X-Forwarded-Tls-Client-Cert": forTraefik(tt.credential) + ",MIIB", "X-Forwarded-Method": "GET"},
		} {
			a := s.must(credential{header: proxy.header, headers: headers}, "GET", api.PathAuthz, "")
			if tt.code == "" {
				if a.status != 200 || a.header.Get("X-Troth-Device") == "" || a.header.Get("X-Troth-Verdict") != "compliant" {
					t.Errorf("%s: a certificate %s: status %d, headers %v: %s", form, tt.name, a.status, a.header, a.body)
				}
				continue
			}
			if a.status != 403 || a.header.Get("X-Troth-Device") != "" {
				t.Errorf("%s: a certificate %s: status %d, want 403", form, tt.name, a.status)
			}
			isProblem(t, form+": a certificate "+tt.name, a, tt.code)
		}
	}
}

func TestAuthzExpiredCertificate(t *testing.T) {
	s := newService(t)
	proxy := s.token(fleet.RoleProxy)
	d := s.admissible(func(d *fleet.Device) {
		d.FreshUntil, d.NextCheckIn = s.now().Add(time.Hour*9), s.now().Add(time.Hour*9)
	})
	c := s.issue(d.ID, d.ID, fleet.CertificateIssued)
	s.later(time.Hour + time.Minute)
	proxy.header = s.spoilt(func(t *fleet.Token) { t.Role, t.ExpiresAt = fleet.RoleProxy, s.now().Add(time.Hour) }).header
	a := s.must(credential{header: proxy.header, headers: map[string]string{"X-Client-Cert": forNGINX(c), "X-Original-Method": "GET"}}, "GET", api.PathAuthz, "")
	isProblem(t, "an expired certificate", a, "certificate_expired")
}

// TestAttack_S1_ProxyHeaders: what no proxy sends is no yes.
func TestAttack_S1_ProxyHeaders(t *testing.T) {
	s := newService(t)
	proxy := s.token(fleet.RoleProxy)
	d := s.admissible()
	good := s.issue(d.ID, d.ID, fleet.CertificateIssued)
	for name, tt := range map[string]struct {
		query   string
		headers map[string]string
		status  int
		code    string
	}{
		"no device at all":         {"?action=get", nil, 403, "device_unnamed"},
		"an empty header":          {"?action=get", map[string]string{"X-Client-Cert": ""}, 403, "device_unnamed"},
		"a name and another's":     {"?action=get&device=x", map[string]string{"X-Client-Cert": forNGINX(good)}, 403, "device_unnamed"},
		"two headers":              {"?action=get", map[string]string{"X-Client-Cert": forNGINX(good), "X-Forwarded-Tls-Client-Cert": forTraefik(good)}, 403, "device_unnamed"},
		"no action":                {"?device=" + string(d.ID), nil, 400, "action_missing"},
		"no PEM":                   {"?action=get", map[string]string{"X-Client-Cert": "hello"}, 400, "certificate_malformed"},
		"a malformed escape":       {"?action=get", map[string]string{"X-Client-Cert": "%zz"}, 400, "certificate_malformed"},
		"two certificates":         {"?action=get", map[string]string{"X-Client-Cert": forNGINX(good) + forNGINX(good)}, 400, "certificate_malformed"},
		"a key":                    {"?action=get", map[string]string{"X-Client-Cert": strings.ReplaceAll(forNGINX(good), "CERTIFICATE", "PRIVATE%20KEY")}, 400, "certificate_malformed"},
		"no base64":                {"?action=get", map[string]string{"X-Forwarded-Tls-Client-Cert": "!"}, 400, "certificate_malformed"},
		"base64 of nothing":        {"?action=get", map[string]string{"X-Forwarded-Tls-Client-Cert": ","}, 400, "certificate_malformed"},
		"base64 of no certificate": {"?action=get", map[string]string{"X-Forwarded-Tls-Client-Cert": "aGVsbG8="}, 400, "certificate_malformed"},
		"far too much":             {"?action=get", map[string]string{"X-Client-Cert": strings.Repeat("a", 20000)}, 422, "invalid_request"},
	} {
		a := s.must(credential{header: proxy.header, headers: tt.headers}, "GET", api.PathAuthz+tt.query, "")
		if a.status != tt.status {
			t.Errorf("%s: status %d, want %d", name, a.status, tt.status)
		}
		isProblem(t, name, a, tt.code)
	}
}

// TestAuthzByPassword: for proxies that know only user names and passwords.
func TestAuthzByPassword(t *testing.T) {
	s := newService(t)
	d := s.admissible()
	s.issue(d.ID, d.ID, fleet.CertificateIssued)
	token := strings.TrimPrefix(s.token(fleet.RoleProxy).header, "Bearer ")
	for secret, want := range map[string]int{"proxy:" + token: 200, ":" + token: 200, token: 401, token + ":": 401, "proxy:" + token + "x": 401} {
		c := credential{header: "Basic " + base64.StdEncoding.EncodeToString([]byte(secret))}
		if a := s.must(c, "GET", api.PathAuthz+"?action=get&device="+string(d.ID), ""); a.status != want {
			t.Errorf("%.10s…: status %d, want %d", secret, a.status, want)
		}
	}
}

// envoy asks as Envoy does.
func (s *service) envoy(header string, request *authv3.AttributeContext) (*authv3.CheckResponse, error) {
	s.t.Helper()
	connection, err := grpc.NewClient(strings.TrimPrefix(s.server.URL, "https://"),
		grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: s.roots(), Time: s.now, MinVersion: tls.VersionTLS13})))
	if err != nil {
		s.t.Fatal(err)
	}
	defer connection.Close()
	ctx, cancel := context.WithTimeout(s.t.Context(), 10*time.Second)
	defer cancel()
	if header != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", header)
	}
	return authv3.NewAuthorizationClient(connection).Check(ctx, &authv3.CheckRequest{Attributes: request})
}

func proxied(certificate string) *authv3.AttributeContext {
	return &authv3.AttributeContext{
		Source:  &authv3.AttributeContext_Peer{Certificate: certificate},
		Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{Method: "GET", Path: "/readings"}},
	}
}

func TestExtAuthz(t *testing.T) {
	s := newService(t)
	proxy := s.token(fleet.RoleProxy)
	for _, tt := range shown(s) {
		got, err := s.envoy(proxy.header, proxied(forNGINX(tt.credential)))
		if err != nil {
			t.Errorf("a certificate %s: %v", tt.name, err)
			continue
		}
		if tt.code == "" {
			if got.GetStatus().GetCode() != 0 || len(got.GetOkResponse().GetHeaders()) != 2 {
				t.Errorf("a certificate %s: %v", tt.name, got)
			}
			continue
		}
		var p api.Problem
		if err := json.Unmarshal([]byte(got.GetDeniedResponse().GetBody()), &p); err != nil {
			t.Errorf("a certificate %s: %v in %v", tt.name, err, got)
		}
		if codes.Code(got.GetStatus().GetCode()) != codes.PermissionDenied || p.Code != tt.code || p.RequestID == "" {
			t.Errorf("a certificate %s: %v, problem %+v", tt.name, got, p)
		}
	}
}

// TestAttack_S1_ExtAuthz: no request without a certificate, and no caller without
// a token that may ask.
func TestAttack_S1_ExtAuthz(t *testing.T) {
	s := newService(t)
	proxy := s.token(fleet.RoleProxy)
	d := s.admissible()
	good := forNGINX(s.issue(d.ID, d.ID, fleet.CertificateIssued))
	for name, request := range map[string]*authv3.AttributeContext{
		"nothing": nil, "no certificate": proxied(""), "no PEM": proxied("hello"), "a principal alone": {
			Source: &authv3.AttributeContext_Peer{Principal: "spiffe://" + domain + "/device/" + string(d.ID)},
		},
	} {
		got, err := s.envoy(proxy.header, request)
		if err != nil || got.GetOkResponse() != nil || got.GetStatus().GetCode() == 0 {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	for name, tt := range map[string]struct {
		header string
		code   codes.Code
	}{
		"nobody": {"", codes.Unauthenticated}, "a viewer": {s.token(fleet.RoleViewer).header, codes.PermissionDenied},
		"a made-up token": {"Bearer troth_" + strings.Repeat("A", 43), codes.Unauthenticated},
	} {
		if got, err := s.envoy(tt.header, proxied(good)); status.Code(err) != tt.code {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	huge := proxied(good)
	huge.Request.Http.Headers = map[string]string{"a": strings.Repeat("b", 300<<10)}
	if got, err := s.envoy(proxy.header, huge); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("300 KiB: %v, %v", got, err)
	}
}

// TestAttack_S9_ExtAuthzWithoutStore: a database that is away is no yes.
func TestAttack_S9_ExtAuthzWithoutStore(t *testing.T) {
	s := newService(t, func(c *httpapi.Config) { c.Access = &access.Service{Store: failing{}, Now: c.Now} })
	d := s.admissible()
	c := s.issue(d.ID, d.ID, fleet.CertificateIssued)
	got, err := s.envoy(s.token(fleet.RoleProxy).header, proxied(forNGINX(c)))
	if status.Code(err) != codes.Unavailable || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("%v, %v", got, err)
	}
}
