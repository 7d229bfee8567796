package httpapi_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"troth/internal/api"
	"troth/internal/fleet"
)

// scoped makes a token that is good for a site.
func (s *service) scoped(role fleet.Role, site string) credential {
	s.t.Helper()
	text, _, err := s.operator.Create(s.t.Context(), "test", "bob", role, fleet.Scope{"site": site}, time.Hour)
	if err != nil {
		s.t.Fatal(err)
	}
	return bearer(text)
}

func at(site, name string) func(*fleet.Device) {
	return func(d *fleet.Device) { d.Name, d.Labels = name, map[string]string{"site": site} }
}

// TestAttack_S7_ScopedTokens walks every route with an administrator's token for
// one site: devices of another one are answered as those that do not exist, and
// what concerns the whole fleet is refused.
func TestAttack_S7_ScopedTokens(t *testing.T) {
	s := newService(t, withPolicies(t))
	inside, outside := s.device(fleet.Active, at("lyon", "in")), s.device(fleet.Active, at("oslo", "out"))
	admin, bob := s.token(fleet.RoleAdmin), s.scoped(fleet.RoleAdmin, "lyon")
	open := map[string]bool{"GET /v1/whoami": true, "GET /v1/devices": true, "GET /v1/releases": true}
	for _, r := range expected {
		if r.roles == "" || r.roles == "bootstrap" || strings.HasPrefix(r.route, "GET /authz") {
			continue // the last has its own test
		}
		s.later(time.Second) // rate limits have their own test
		method, path, _ := strings.Cut(r.route, " ")
		ask := func(c credential, id string) answer {
			return s.must(c, method, strings.ReplaceAll(path, "{id}", id)+r.query, r.body)
		}
		if !strings.HasPrefix(path, api.PathDevice) {
			a := ask(bob, "nobody")
			if open[r.route] && a.status != 200 {
				t.Errorf("%s: status %d, want 200: %s", r.route, a.status, a.body)
			}
			if !open[r.route] && (a.status != 403 || a.problem(t).Code != "out_of_scope") {
				t.Errorf("%s: status %d, want 403 out_of_scope: %s", r.route, a.status, a.body)
			}
			continue
		}
		for _, id := range []fleet.DeviceID{outside.ID, outside.ID[:12], "out", s.newID(), "nobody"} {
			a := ask(bob, string(id))
			want := fmt.Sprintf("no device has the name or id %q", id)
			if a.status != 404 || a.problem(t).Code != "device_not_found" || a.problem(t).Detail != want {
				t.Errorf("%s of %s: status %d: %s", r.route, id, a.status, a.body)
			}
		}
		// Inside it is answered as it is for whom the fleet is open.
		if method == "GET" {
			own, all := ask(bob, string(inside.ID)), ask(admin, string(inside.ID))
			if own.status != all.status || own.status != 200 && own.problem(t).Code != all.problem(t).Code || own.status == 403 {
				t.Errorf("%s inside: status %d, and %d for the fleet: %s", r.route, own.status, all.status, own.body)
			}
		} else if a := ask(bob, string(inside.ID)); a.status != 200 && a.status != 409 {
			t.Errorf("%s inside: status %d: %s", r.route, a.status, a.body)
		}
	}
	if d, err := s.store.Device(t.Context(), outside.ID); err != nil || d.Revision != outside.Revision {
		t.Errorf("the device outside was changed: %+v, %v", d, err)
	}
	if d, err := s.store.Device(t.Context(), inside.ID); err != nil || d.Lifecycle != fleet.Retired {
		t.Errorf("the device inside is %s, %v; want retired", d.Lifecycle, err)
	}
}

// TestAttack_S7_ScopeAddsNothing: a role that may not is refused for any device,
// there or not.
func TestAttack_S7_ScopeAddsNothing(t *testing.T) {
	s := newService(t)
	inside, outside := s.device(fleet.Active, at("lyon", "in")), s.device(fleet.Active, at("oslo", "out"))
	for _, id := range []fleet.DeviceID{inside.ID, outside.ID, s.newID()} {
		a := s.must(s.scoped(fleet.RoleViewer, "lyon"), "POST", "/v1/devices/"+string(id)+"/retire", reason)
		if a.status != 403 || a.problem(t).Code != "forbidden" {
			t.Errorf("%s: status %d: %s", id, a.status, a.body)
		}
	}
}

// TestAttack_S7_ScopedList pages through the devices of a scope, and no others.
func TestAttack_S7_ScopedList(t *testing.T) {
	s := newService(t)
	want := map[string]bool{}
	for n := range 20 {
		d := s.device(fleet.Active, at([]string{"lyon", "oslo", "oslo", "bonn"}[n%4], ""))
		if n%4 == 0 {
			want[string(d.ID)] = true
		}
	}
	bob, after, pages := s.scoped(fleet.RoleViewer, "lyon"), "", 0
	for {
		var list api.DeviceList
		a := s.must(bob, "GET", "/v1/devices?limit=2&after="+after, "")
		if err := json.Unmarshal(a.body, &list); err != nil || a.status != 200 {
			t.Fatalf("status %d: %s", a.status, a.body)
		}
		pages++
		for _, d := range list.Devices {
			if !want[d.ID] {
				t.Errorf("%s %v is listed, or listed again", d.ID, d.Labels)
			}
			delete(want, d.ID)
		}
		if after = list.Next; after == "" {
			break
		}
	}
	if len(want) != 0 || pages != 3 {
		t.Errorf("%d devices are on none of %d pages", len(want), pages)
	}
}

// TestAttack_S7_ScopedProxy: a proxy's token answers for the devices of its scope.
func TestAttack_S7_ScopedProxy(t *testing.T) {
	s := newService(t)
	inside, outside := s.admissible(at("lyon", "in")), s.admissible(at("oslo", "out"))
	failing := s.admissible(at("oslo", "bad"), func(d *fleet.Device) { d.Verdict = fleet.Noncompliant })
	proxy := s.scoped(fleet.RoleProxy, "lyon")
	shown := map[fleet.DeviceID]credential{}
	for _, d := range []fleet.Device{inside, outside, failing} {
		shown[d.ID] = s.issue(d.ID, d.ID, fleet.CertificateIssued)
	}
	for _, d := range []fleet.DeviceID{inside.ID, outside.ID, failing.ID, s.newID()} {
		byID := s.must(proxy, "GET", "/authz?action=read&device="+string(d), "")
		if d == inside.ID && byID.status != 200 || d != inside.ID && (byID.status != 403 || byID.problem(t).Code != "device_unknown") {
			t.Errorf("by id: status %d: %s", byID.status, byID.body)
		}
		cert, ok := shown[d]
		if !ok {
			continue
		}
		nginx := proxy
		nginx.headers = map[string]string{"X-Client-Cert": forNGINX(cert)}
		byCert := s.must(nginx, "GET", "/authz?action=read", "")
		if d == inside.ID && byCert.status != 200 || d != inside.ID && (byCert.status != 403 || byCert.problem(t).Code != "certificate_unknown") {
			t.Errorf("by certificate: status %d: %s", byCert.status, byCert.body)
		}
		got, err := s.envoy(proxy.header, proxied(forNGINX(cert)))
		if err != nil {
			t.Fatal(err)
		}
		code, message := codes.OK, ""
		if d != inside.ID {
			code, message = codes.PermissionDenied, "certificate_unknown"
		}
		if got.GetStatus().GetCode() != int32(code) || got.GetStatus().GetMessage() != message {
			t.Errorf("Envoy: %v, want %s %s", got.GetStatus(), code, message)
		}
	}
}

// TestTokenScope makes tokens with a scope over the API.
func TestTokenScope(t *testing.T) {
	s := newService(t)
	admin := s.token(fleet.RoleAdmin)
	var made api.Token
	a := s.must(admin, "POST", api.PathTokens, `{"operator":"bob","role":"viewer","scope":"site=lyon,line=3"}`)
	if err := json.Unmarshal(a.body, &made); err != nil || a.status != 200 || made.Scope != "line=3,site=lyon" {
		t.Fatalf("status %d: %s", a.status, a.body)
	}
	if me := s.must(bearer(made.Token), "GET", api.PathWhoAmI, ""); !strings.Contains(string(me.body), `"scope":"line=3,site=lyon"`) {
		t.Errorf("whoami: %s", me.body)
	}
	for _, scope := range []string{"site", "site=lyon,site=oslo", "site=*"} {
		body := fmt.Sprintf(`{"operator":"bob","role":"viewer","scope":%q}`, scope)
		if a := s.must(admin, "POST", api.PathTokens, body); a.status != 400 || a.problem(t).Code != "scope_malformed" {
			t.Errorf("%s: status %d: %s", url.QueryEscape(scope), a.status, a.body)
		}
	}
}
