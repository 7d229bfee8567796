package cli_test

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"troth/internal/api"
	"troth/policies"
	"troth/policy/archive"
)

// policyServer answers what the commands about bundles ask; preview is how a
// preview of it goes.
func policyServer(t *testing.T, preview func(w io.Writer)) map[string]string {
	t.Helper()
	at := time.Date(2026, 5, 1, 11, 0, 0, 0, time.UTC)
	bundle := api.PolicyBundle{
		ID: "7", Counter: 7, Version: "2026.5" + evilWord, State: "verified", Policy: strings.Repeat("ab", 32), Tests: 3, Files: 2, Controls: 70, Coverage: 99,
		ProposedBy: "ada", ProposedAt: &at, Warnings: []string{"a.rego:1: odd (format)"}, Replicas: []api.PolicyReplica{{ID: "0123456789abcdef", Policy: "ab", At: at}},
	}
	library, err := archive.Pack(policies.FS, "base", archive.DefaultRoots())
	must(t, err)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/policies", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, api.PolicyBundleList{Bundles: []api.PolicyBundle{bundle, {ID: "base", State: "active", Controls: 70}}})
	})
	mux.HandleFunc("GET /v1/policies/7", func(w http.ResponseWriter, _ *http.Request) { answer(w, bundle) })
	mux.HandleFunc("GET /v1/policies/base/archive", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(library) })
	mux.HandleFunc("GET /v1/policies/7/differences", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, api.PolicyDifferences{Bundle: "7", Running: true, Decided: 9, Differing: 1, Devices: []api.PolicyDifferDevice{
			{ID: "d", Name: evilWord, At: at, Before: "compliant", After: "noncompliant", Changes: []api.ControlChange{{ID: "ours", After: "fail", AfterReason: "no"}}},
		}})
	})
	mux.HandleFunc("POST /v1/policies/7/{action}", func(w http.ResponseWriter, r *http.Request) {
		if r.PathValue("action") == "approve" {
			problem(w, 403, "second_person_needed", "somebody else has to approve it")
			return
		}
		bundle.State = "approved"
		answer(w, bundle)
	})
	mux.HandleFunc("POST /v1/policies", func(w http.ResponseWriter, _ *http.Request) { answer(w, bundle) })
	mux.HandleFunc("POST /v1/policy-preview", func(w http.ResponseWriter, r *http.Request) {
		content, _ := io.ReadAll(r.Body)
		if _, err := archive.Read(content); (err == nil) == r.URL.Query().Has("bundle") {
			problem(w, 400, "invalid_request", "neither a bundle nor an archive")
			return
		}
		w.Header().Set("Content-Type", api.TypeNDJSON)
		preview(w)
	})
	server := httptest.NewTLSServer(mux)
	t.Cleanup(server.Close)
	dir := t.TempDir()
	ca := filepath.Join(dir, "ca.pem")
	must(t, os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600))
	return map[string]string{"TROTH_TOKEN": adminToken, "TROTH_SERVER": server.URL, "TROTH_CA": ca, "TROTH_CONFIG": filepath.Join(dir, "config.yaml")}
}

func previewed() api.PreviewReport {
	device := api.PreviewDevice{
		ID: "d1", Name: "press-7" + evilWord, Model: "edge-100", Before: "compliant", After: "noncompliant", Actions: []string{"quarantine"},
		Changes: []api.ControlChange{{ID: "ours", Before: "pass", After: "fail", AfterReason: "It is not so."}},
	}
	return api.PreviewReport{
		Policy: "p", Seconds: 1.5, Decisions: 3, Devices: 3, Counts: api.PreviewCounts{Same: 1, NewlyFailing: 2},
		Models: []api.PreviewGroup{{Name: "edge-100", PreviewCounts: api.PreviewCounts{NewlyFailing: 2}}}, GroupBy: "group", Groups: []api.PreviewGroup{{}},
		Controls: []api.PreviewControl{{ID: "ours", NewlyFailing: 2}}, Actions: []api.PreviewAction{{Kind: "quarantine", Control: "ours", Devices: 2}},
		Problems: []api.PreviewProblem{}, NewlyFailing: []api.PreviewDevice{device}, NewlyPassing: []api.PreviewDevice{}, Changed: []api.PreviewDevice{},
	}
}

// line writes one line of a preview.
func line(w io.Writer, l api.PreviewLine) {
	text, _ := json.Marshal(l)
	_, _ = fmt.Fprintf(w, "%s\n", text)
}

func TestPolicyPreviewCommand(t *testing.T) {
	dir := t.TempDir()
	must(t, os.CopyFS(dir, policies.FS))
	good := func(w io.Writer) {
		line(w, api.PreviewLine{Total: 3})
		line(w, api.PreviewLine{Done: 1, Total: 3})
		report := previewed()
		line(w, api.PreviewLine{Done: 3, Total: 3, Report: &report})
	}
	for _, row := range []struct {
		what    string
		preview func(io.Writer)
		args    []string
		status  int
		says    []string
	}{
		{"of a bundle", good, []string{"7"}, 0, []string{"3 decisions on 3 devices, in 1.5 s", "Newly failing:  2", "It is not so.", "quarantine", "and 1 more"}},
		{"of a directory", good, []string{dir, "--since", "7d", "--group-by", "site"}, 0, []string{"edge-100"}},
		{"for programs", good, []string{"7", "-o", "json"}, 0, []string{`"newly_failing": 2`}},
		{"that failed", func(w io.Writer) {
			line(w, api.PreviewLine{Problem: &api.Problem{Status: 503, Code: "store_unavailable", Detail: "the database is away"}})
		}, []string{"7"}, 3, []string{"the database is away"}},
		{"that was cut off", func(w io.Writer) { line(w, api.PreviewLine{Done: 1, Total: 3}) }, []string{"7"}, 3, []string{"ended before it was through"}},
		{"that is no JSON", func(w io.Writer) { _, _ = io.WriteString(w, "nonsense\n") }, []string{"7"}, 3, []string{"cannot be read"}},
		{"of the past", good, []string{"7", "--since", "yesterday"}, 2, []string{"--since takes a time"}},
		{"without names", good, []string{"7", "--names", "0"}, 2, []string{"--names takes"}},
	} {
		status, stdout, stderr := run(t, policyServer(t, row.preview), "", append([]string{"policy", "preview"}, row.args...)...)
		for _, says := range row.says {
			if !strings.Contains(stdout+stderr, says) {
				t.Errorf("%s: %q is not in\n%s%s", row.what, says, stdout, stderr)
			}
		}
		if status != row.status || strings.ContainsAny(stdout, "\x1b\x07\u202e") {
			t.Errorf("%s: exit status %d, want %d: %s%q", row.what, status, row.status, stderr, stdout)
		}
	}
}

func TestPolicyLifeCommands(t *testing.T) {
	env := policyServer(t, nil)
	for _, row := range []struct {
		args   string
		status int
		says   string
	}{
		{"policy list", 0, "base  "},
		{"policy show 7", 0, "2 files, 70 controls, 3 tests passed, coverage 99 %"},
		{"policy show 7 -o yaml", 0, "proposed_by: ada"},
		{"policy push policies/fleet-7.tar.gz", 0, "troth policy preview 7"},
		{"policy approve 7", 1, "second_person_needed"},
		{"policy activate 7", 0, "Next: troth policy activate 7"},
		{"policy rollback 7", 2, "needs --reason"},
		{"policy rollback 7 --reason because", 0, "approved"},
		{"policy reject 7", 2, "needs --reason"},
		{"policy shadow on 7", 0, "is approved"},
		{"policy shadow show 7", 0, "Otherwise:         1"},
		{"policy shadow", 2, "needs a command"},
		{"policy publish x", 2, "--repo"},
		{"policy diff base base", 0, "The bundles are the same"},
		{"policy show", 2, "takes ID"},
	} {
		status, stdout, stderr := run(t, env, "", strings.Fields(row.args)...)
		if status != row.status || !strings.Contains(stdout+stderr, row.says) || strings.ContainsAny(stdout, "\x1b\x07\u202e") {
			t.Errorf("troth %s: exit status %d, want %d and %q:\n%s%s", row.args, status, row.status, row.says, stdout, stderr)
		}
	}
}

func TestPolicyPublishAndDiff(t *testing.T) {
	dir, repo, keys := t.TempDir(), filepath.Join(t.TempDir(), "repo"), t.TempDir()
	must(t, os.CopyFS(dir, policies.FS))
	env := policyServer(t, nil)
	do := func(status int, says string, args ...string) {
		t.Helper()
		got, stdout, stderr := run(t, env, "", args...)
		if got != status || !strings.Contains(stdout+stderr, says) {
			t.Errorf("%v: exit status %d, want %d and %q:\n%s%s", args, got, status, says, stdout, stderr)
		}
	}
	do(0, "", "tuf", "init", "--repo", repo, "--keys", keys)
	publish := []string{"policy", "publish", dir, "--repo", repo, "--keys", keys, "--version", "1"}
	do(0, "Published policies/fleet-7.tar.gz: version 1, counter 7", append(publish, "--counter", "7")...)
	do(1, "release_counter", append(publish, "--counter", "6")...)
	do(1, "exists", append(publish, "--counter", "8", "--name", "policies/fleet-7.tar.gz")...)
	do(2, "begins with policies/", append(publish, "--counter", "8", "--name", "fleet-8.tar.gz")...)
	must(t, os.WriteFile(filepath.Join(dir, "other.rego"), []byte("package other\n\nx := 1\n"), 0o600))
	do(1, "outside of the declared roots", append(publish, "--counter", "8")...)
	must(t, os.Remove(filepath.Join(dir, "other.rego")))
	do(2, "is a directory: publish it first", "policy", "push", dir)

	data := filepath.Join(dir, "config", "data.json")
	text, err := os.ReadFile(data)
	must(t, err)
	must(t, os.WriteFile(data, []byte(strings.Replace(string(text), `"require_idevid": false`, `"require_idevid": true`, 1)), 0o600))
	do(1, "+    \"require_idevid\": true", "policy", "diff", "base", dir)
	must(t, os.Remove(filepath.Join(dir, "troth", "posture", "lifecycle.rego")))
	do(1, "update-healthy", "policy", "diff", "base", dir)
}
