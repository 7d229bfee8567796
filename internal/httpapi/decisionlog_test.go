package httpapi_test

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"troth/internal/api"
	"troth/internal/fleet"
)

func decodeLog(t *testing.T, a answer) (page api.DecisionLog) {
	t.Helper()
	if err := json.Unmarshal(a.body, &page); err != nil || a.status != 200 {
		t.Fatalf("status %d, %v: %s", a.status, err, a.body)
	}
	return page
}

func TestDecisionLog(t *testing.T) {
	s := newService(t)
	d := s.device(fleet.Active)
	digest := fmt.Sprintf("%x", sha256.Sum256([]byte(`{"x": 1}`)))
	c := fleet.Change{Blobs: []fleet.Blob{{Digest: digest, Content: []byte(`{"x": 1}`)}}}
	for i := range 5 {
		c.Decisions = append(c.Decisions, fleet.Decision{
			ID: fmt.Sprintf("d%d", i), Kind: "posture", Device: d.ID, At: s.now().Add(time.Duration(i) * time.Second), Answer: "compliant",
			Policy: digest, Input: digest, Document: json.RawMessage(`{"verdict":"compliant"}`),
		})
	}
	s.apply(c)
	admin := s.token(fleet.RoleAdmin)
	var ids []string
	for after := ""; ; {
		page := decodeLog(t, s.must(admin, "GET", "/v1/decisions?limit=2&kind=posture&device="+string(d.ID)+"&after="+after, ""))
		for _, e := range page.Decisions {
			ids = append(ids, e.ID)
			if e.InputDocument != nil || e.Device != string(d.ID) || e.Policy != digest {
				t.Errorf("%+v", e)
			}
		}
		if after = page.Next; after == "" {
			break
		}
	}
	if got := strings.Join(ids, " "); got != "d4 d3 d2 d1 d0" {
		t.Error(got)
	}
	since := s.now().Add(3 * time.Second).UTC().Format(time.RFC3339Nano)
	page := decodeLog(t, s.must(admin, "GET", "/v1/decisions?inputs=true&policy="+digest+"&answer=compliant&since="+since, ""))
	if len(page.Decisions) != 2 || string(page.Decisions[0].InputDocument) != `{"x": 1}` {
		t.Errorf("%+v", page)
	}
	if page := decodeLog(t, s.must(admin, "GET", "/v1/decisions?kind=posture&until="+since, "")); len(page.Decisions) != 3 {
		t.Errorf("until: %+v", page)
	}
	var one api.LoggedDecision
	a := s.must(admin, "GET", "/v1/decisions/d3", "")
	if err := json.Unmarshal(a.body, &one); err != nil || string(one.InputDocument) != `{"x": 1}` || string(one.Decision) != `{"verdict":"compliant"}` {
		t.Errorf("%+v, %v", one, err)
	}
}

// TestAccessIsRecorded: what a proxy is answered, and what an operator is
// refused, is in the log.
func TestAccessIsRecorded(t *testing.T) {
	s := newService(t)
	d := s.device(fleet.Active) // without a certificate
	proxy, viewer, admin := s.token(fleet.RoleProxy), s.token(fleet.RoleViewer), s.token(fleet.RoleAdmin)
	for range 3 {
		if a := s.must(proxy, "GET", "/authz?device="+string(d.ID)+"&action=read&resource=/orders?key=secret", ""); a.status != 403 {
			t.Fatalf("status %d: %s", a.status, a.body)
		}
	}
	if a := s.must(viewer, "POST", "/v1/devices/"+string(d.ID)+"/retire", reason); a.status != 403 {
		t.Fatalf("status %d: %s", a.status, a.body)
	}
	if err := s.recorder.Flush(t.Context(), s.now()); err != nil {
		t.Fatal(err)
	}
	a := s.must(admin, "GET", "/v1/decisions?kind=access&device="+string(d.ID), "")
	page := decodeLog(t, a)
	if strings.Contains(string(a.body), "secret") {
		t.Errorf("a secret of the request is recorded: %s", a.body)
	}
	var counted struct {
		Code, Action, Resource, Operator string
		Count                            int
	}
	if len(page.Decisions) != 1 || json.Unmarshal(page.Decisions[0].Decision, &counted) != nil {
		t.Fatalf("%s", a.body)
	}
	e := page.Decisions[0]
	if counted.Count != 3 || counted.Code != "certificate_revoked" || counted.Action != "read" || counted.Resource != "/orders" || e.Answer != "deny" || e.Policy == "" || e.Input == "" {
		t.Errorf("%s", a.body)
	}
	page = decodeLog(t, s.must(admin, "GET", "/v1/decisions?kind=operator", ""))
	if len(page.Decisions) != 1 || json.Unmarshal(page.Decisions[0].Decision, &counted) != nil || counted.Action != "device.retire" || counted.Operator == "" {
		t.Errorf("%+v", page)
	}
}

// TestAttack_S2_HostileLogQueries are refused, each with a problem.
func TestAttack_S2_HostileLogQueries(t *testing.T) {
	s := newService(t)
	admin := s.token(fleet.RoleAdmin)
	for query, want := range map[string]struct {
		status int
		code   string
	}{
		"after=x":                              {400, "cursor_malformed"},
		"after=1.%27+OR+1%3D1":                 {400, "cursor_malformed"},
		"after=1.a%00":                         {400, "cursor_malformed"},
		"after=99999999999999999999.a":         {400, "cursor_malformed"},
		"after=" + strings.Repeat("1", 200):    {422, ""},
		"kind=%27":                             {422, ""},
		"answer=perhaps":                       {422, ""},
		"policy=" + strings.Repeat("A", 64):    {422, ""},
		"since=yesterday":                      {422, ""},
		"until=2026-13-01T00:00:00Z":           {422, ""},
		"limit=0":                              {422, ""},
		"limit=1001":                           {422, ""},
		"inputs=perhaps":                       {422, ""},
		"device=nobody":                        {404, "device_not_found"},
		"device=" + strings.Repeat("a", 129):   {422, ""},
		"device=%27%3B+DROP+TABLE+decisions--": {404, "device_not_found"},
	} {
		a := s.must(admin, "GET", "/v1/decisions?"+query, "")
		if a.status != want.status {
			t.Errorf("%s: status %d, want %d: %s", query, a.status, want.status, a.body)
		}
		isProblem(t, query, a, want.code)
	}
}
