package httpapi_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"troth/internal/api"
	"troth/internal/bundle"
	kept "troth/internal/evidence"
	"troth/internal/fleet"
	"troth/internal/httpapi"
	"troth/internal/preview"
	"troth/internal/store"
	"troth/policies"
	"troth/policy"
	"troth/policy/archive"
)

// repository has signed one bundle: the library, as version 2, with counter 2.
type repository struct{ content []byte }

func (r repository) PolicyBundle(_ context.Context, target string) (fleet.SignedBundle, []byte, error) {
	if target != "policies/fleet-2" {
		return fleet.SignedBundle{}, nil, fleet.Errorf(fleet.Refused, "policy_unsigned", "no bundle is signed under the name %s", target)
	}
	sum := sha256.Sum256(r.content)
	return fleet.SignedBundle{Counter: 2, Version: "2", Target: target, Archive: hex.EncodeToString(sum[:])}, r.content, nil
}

// withPolicies gives a service the life of policy bundles.
func withPolicies(t *testing.T) func(*httpapi.Config) {
	return func(c *httpapi.Config) {
		db, ok := c.Records.(*store.Store)
		if !ok {
			t.Fatalf("the records are a %T", c.Records)
		}
		current := &policy.Current{}
		bundles, err := bundle.New(t.Context(), bundle.Config{Store: db, Source: repository{library(t)}, Current: current, Base: policies.FS, Now: c.Now})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(bundles.Close)
		if err := bundles.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		c.Policies = httpapi.Policies{Bundles: bundles, Previews: preview.New(db, c.Now)}
	}
}

func library(t *testing.T) []byte {
	t.Helper()
	content, err := archive.Pack(policies.FS, "2", archive.DefaultRoots())
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// judged is a device with a recorded posture of the library.
func (s *service) judged() fleet.Device {
	s.t.Helper()
	d := s.device(fleet.Active)
	e, err := engine()
	if err != nil {
		s.t.Fatal(err)
	}
	in := policy.PostureInput{Now: s.now(), Device: policy.DeviceInput{ID: string(d.ID), Name: d.Name, Model: d.Model}}
	decision, err := e.Posture(s.t.Context(), in)
	if err != nil {
		s.t.Fatal(err)
	}
	recorded, input, err := kept.Record("posture", d.ID, in, decision)
	if err != nil {
		s.t.Fatal(err)
	}
	p := fleet.Posture{Device: d.ID, At: s.now(), Verdict: fleet.Verdict(decision.Verdict), Controls: bundle.Controls(decision.Controls), Decision: recorded.ID}
	s.apply(fleet.Change{Posture: &p, Decisions: []fleet.Decision{recorded}, Blobs: []fleet.Blob{input}})
	return d
}

// lines asks for a preview and reads every line of it, strictly.
func (s *service) lines(c credential, query string, content []byte) []api.PreviewLine {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, s.server.URL+api.PathPolicyPreview+query, bytes.NewReader(content))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Authorization", c.header)
	req.Header.Set("Content-Type", "application/gzip")
	resp, err := s.server.Client().Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != api.TypeNDJSON {
		s.t.Fatalf("status %s, %s", resp.Status, resp.Header)
	}
	var list []api.PreviewLine
	for dec := json.NewDecoder(resp.Body); ; {
		dec.DisallowUnknownFields()
		var line api.PreviewLine
		if err := dec.Decode(&line); err != nil {
			return list
		}
		list = append(list, line)
	}
}

func TestPreviewIsStreamed(t *testing.T) {
	s := newService(t, withPolicies(t))
	d := s.judged()
	for name, ask := range map[string]struct {
		query   string
		content []byte
	}{"of an archive": {"", library(t)}, "of a bundle on record": {"?bundle=base", nil}, "of recorded decisions": {"?bundle=active&since=24h", nil}} {
		got := s.lines(s.token(fleet.RoleOperator), ask.query, ask.content)
		if len(got) < 2 || got[0].Total != 1 || got[0].Report != nil {
			t.Fatalf("%s: %+v", name, got)
		}
		r := got[len(got)-1].Report
		if r == nil || r.Decisions != 1 || r.Counts.Same != 1 || len(r.Models) != 1 || r.Models[0].Name != d.Model || (r.Since != nil) != strings.Contains(ask.query, "since") {
			t.Errorf("%s: %+v", name, r)
		}
	}
	for body, code := range map[string]string{"no archive": "policy_refused", "": "invalid_request"} {
		a := s.must(s.token(fleet.RoleAdmin), "POST", api.PathPolicyPreview, body)
		isProblem(t, body, a, code)
	}
	a := s.must(s.token(fleet.RoleAdmin), "POST", api.PathPolicyPreview+"?bundle=base&since=soon", "")
	isProblem(t, "since", a, "invalid_since")
}

// What the use case reports is what clients read, field by field.
func TestPreviewReportReadsBack(t *testing.T) {
	at := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	report := preview.Report{
		Policy: "p", At: at, Since: &at, Seconds: 1, Decisions: 2, Devices: 3, Counts: preview.Counts{Same: 1, Changed: 2, NewlyFailing: 3, NewlyPassing: 4, Undecided: 5},
		Models: []preview.Group{{Name: "m"}}, GroupBy: "site", Groups: []preview.Group{{Name: "g"}}, Controls: []preview.Control{{ID: "c", NewlyFailing: 1, NewlyPassing: 2, Reasons: 3}},
		Actions: []preview.Action{{Kind: "k", Control: "c", Release: "r", Devices: 1}}, Problems: []preview.Problem{{Message: "m", Count: 1}},
		NewlyFailing: []preview.Device{{ID: "d", Name: "n", Model: "m", Group: "g", At: at, Before: "compliant", After: "error", Problem: "p", Actions: []string{"a"},
			Changes: []fleet.ControlChange{{ID: "c", Before: "pass", After: "fail", BeforeReason: "b", AfterReason: "a"}}}},
		NewlyPassing: []preview.Device{}, Changed: []preview.Device{},
	}
	written, err := json.Marshal(report)
	if err != nil {
		t.Fatal(err)
	}
	var read api.PreviewReport
	dec := json.NewDecoder(bytes.NewReader(written))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&read); err != nil {
		t.Fatal(err)
	}
	again, err := json.Marshal(read)
	if err != nil || !bytes.Equal(again, written) {
		t.Errorf("written %s\nread    %s", written, again)
	}
}

func TestPolicyLifeOverHTTP(t *testing.T) {
	s := newService(t, withPolicies(t))
	do := func(role fleet.Role, path, body string) answer { return s.must(s.token(role), "POST", path, body) }
	a := do(fleet.RoleOperator, api.PathPolicies, `{"target":"policies/fleet-2"}`)
	var b api.PolicyBundle
	if err := json.Unmarshal(a.body, &b); err != nil || a.status != 200 || b.State != "verified" || b.Tests == 0 || b.Coverage < 90 {
		t.Fatalf("%d %s %+v, %v", a.status, a.body, b, err)
	}
	isProblem(t, "again", do(fleet.RoleOperator, api.PathPolicies, `{"target":"policies/fleet-2"}`), "policy_known")
	isProblem(t, "not approved", do(fleet.RoleAdmin, "/v1/policies/2/activate", reason), "policy_state")
	isProblem(t, "the proposer", do(fleet.RoleAdmin, "/v1/policies/2/approve", reason), "second_person_needed")
	list := s.must(s.token(fleet.RoleViewer), "GET", api.PathPolicies, "")
	var all api.PolicyBundleList
	if err := json.Unmarshal(list.body, &all); err != nil || len(all.Bundles) != 2 || all.Bundles[1].State != "active" || all.Bundles[1].Policy == "" {
		t.Errorf("%s", list.body)
	}
	one := s.must(s.token(fleet.RoleViewer), "GET", "/v1/policies/active", "")
	if err := json.Unmarshal(one.body, &b); err != nil || b.ID != "base" || len(b.Replicas) != 1 {
		t.Errorf("%s", one.body)
	}
	if content := s.must(s.token(fleet.RoleViewer), "GET", "/v1/policies/2/archive", ""); !bytes.Equal(content.body, library(t)) {
		t.Error("the archive is not what was pushed")
	}
}
