package cli_test

import (
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"troth/internal/api"
	"troth/policy"
)

// getDecision answers for gate-1, whose Secure Boot is off although the recorded
// decision, by another bundle, had it on.
func (f *fakeServer) getDecision(w http.ResponseWriter, r *http.Request) {
	if r.PathValue("id") != "gate-1" {
		f.find(w, r.PathValue("id"))
		return
	}
	at := time.Date(2026, 5, 1, 11, 0, 0, 0, time.UTC)
	input, err := policy.Document(policy.PostureInput{
		Now: at, Device: policy.DeviceInput{ID: "aa", Name: "gate-1", Lifecycle: "active"},
		Attestation: policy.AttestationInput{Verified: true, SecureBoot: policy.SecureBootInput{Known: true}},
		Reported:    map[string]any{"words": evilWord},
	})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	answer(w, api.KeptDecision{
		Device: "aa", Name: "gate-1", Kind: "posture", At: at, Policy: strings.Repeat("ab", 32), Answer: "compliant", Input: input,
		Decision: json.RawMessage(`{"verdict":"compliant","controls":[{"id":"secure-boot-on","outcome":"pass","reason":"Secure Boot is on."},{"id":"of-old","outcome":"pass","reason":"Well."}]}`),
	})
}

// TestPolicyExamples runs what the help of each policy command shows, in the order
// of the commands.
func TestPolicyExamples(t *testing.T) {
	server := httptest.NewTLSServer(newFakeServer().handler())
	defer server.Close()
	dir := t.TempDir()
	t.Chdir(dir)
	must(t, os.WriteFile("ca.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600))
	env := map[string]string{"TROTH_SERVER": server.URL, "TROTH_CA": filepath.Join(dir, "ca.pem"), "TROTH_TOKEN": adminToken, "TROTH_CONFIG": filepath.Join(dir, "config.yaml")}
	ran := 0
	for _, verb := range []string{"new", "fmt", "lint", "test", "check", "sample", "eval", "explain", "controls"} {
		_, help, _ := run(t, nil, "", "policy", verb, "--help")
		_, examples, ok := strings.Cut(help, "\nExamples:\n")
		examples, _, _ = strings.Cut(examples, "\n\n")
		if !ok {
			t.Errorf("policy %s has no examples", verb)
		}
		for line := range strings.Lines(examples) {
			command, file, _ := strings.Cut(strings.TrimSpace(line), " > ")
			args := strings.Fields(command)
			if len(args) < 3 || args[0] != "troth" {
				t.Errorf("policy %s: what is %q?", verb, line)
				continue
			}
			want := 0
			if strings.Contains(command, "eval posture my-policies --device") {
				want = 1 // gate-1 is noncompliant
			}
			status, stdout, stderr := run(t, env, "", args[1:]...)
			if status != want {
				t.Errorf("%s: exit status %d\n%s%s", command, status, stdout, stderr)
			}
			if file != "" {
				must(t, os.WriteFile(file, []byte(stdout), 0o600))
			}
			ran++
		}
	}
	if ran < 18 {
		t.Errorf("only %d examples were found", ran)
	}
}
