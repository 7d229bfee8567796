package e2e

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"troth/internal/agent"
	"troth/internal/api"
)

// verdictOf has the command line verify a token offline, as a relying party.
func verdictOf(t testing.TB, token, keys string, more ...string) (exit int, status string) {
	t.Helper()
	bin := must(programs())(t)
	cmd := exec.CommandContext(t.Context(), filepath.Join(bin, "troth"), append([]string{"result", "verify", "-", "--jwks", keys, "-o", "json"}, more...)...)
	cmd.Env = []string{"TROTH_CONFIG=" + filepath.Join(t.TempDir(), "config.yaml")} // knows no server
	cmd.Stdin = strings.NewReader(token)
	out, _ := cmd.Output() // the exit status is looked at below
	var r struct {
		Status string `json:"ear_status"`
	}
	_ = json.Unmarshal(out, &r) // a refusal has none
	return cmd.ProcessState.ExitCode(), r.Status
}

// TestResultTokens: a device that is well gets an affirming token by both ways,
// which verifies without the service; in quarantine it gets one that warns.
func TestResultTokens(t *testing.T) {
	t.Parallel()
	s := everyones(t)
	a := newAttacker(t, s)
	a.enroll()
	a.mustCheckIn("compliant")
	keys := filepath.Join(t.TempDir(), "keys.json")
	f := must(os.Create(keys))(t)
	if err := a.anyone.Copy(t.Context(), api.PathResultKeys, f); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	const nonce = "YSBub25jZSBvZiBvdXJz"
	get := func(client *api.Client, path string) (r api.Result) {
		t.Helper()
		if err := client.Do(t.Context(), http.MethodGet, path+"?nonce="+nonce, nil, &r); err != nil {
			t.Fatal(err)
		}
		return r
	}
	ways := map[string]func() api.Result{
		"passport":         func() api.Result { return get(a.client, api.PathDeviceResult) },
		"background check": func() api.Result { return get(s.admin, api.Path(api.PathResult, a.name)) },
	}
	expected := []string{"--device", a.id, "--nonce", nonce, "--issuer", "spiffe://troth.internal"}
	for way, ask := range ways {
		token := ask().Token
		if exit, status := verdictOf(t, token, keys, expected...); exit != 0 || status != "affirming" {
			t.Errorf("%s: exit status %d, %q", way, exit, status)
		}
		if exit, _ := verdictOf(t, token, keys, "--device", strings.Repeat("0", 64)); exit != 1 {
			t.Errorf("%s: taken for another device's: exit status %d", way, exit)
		}
		header, rest, _ := strings.Cut(token, ".")
		if exit, _ := verdictOf(t, header+"."+strings.ToUpper(rest), keys); exit != 1 {
			t.Errorf("%s: altered: exit status %d", way, exit)
		}
	}
	s.move(t, a.id, "quarantine")
	for way, ask := range ways {
		if exit, status := verdictOf(t, ask().Token, keys, expected...); exit != 1 || status != "contraindicated" {
			t.Errorf("%s in quarantine: exit status %d, %q", way, exit, status)
		}
	}
}

// TestAgentKeepsItsResult: the agent writes the token where software on the
// device finds it.
func TestAgentKeepsItsResult(t *testing.T) {
	t.Parallel()
	s := everyones(t)
	a := newAttacker(t, s)
	if err := a.link.Close(); err != nil { // the agent's now
		t.Fatal(err)
	}
	dir := t.TempDir()
	eventLog := filepath.Join(dir, "log")
	if err := os.WriteFile(eventLog, a.logs.EventLog, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	stopped := make(chan error, 1)
	go func() {
		stopped <- agent.Run(ctx, agent.Config{
			Server: s.admin.Base, ServerCA: s.caFile, StateDir: filepath.Join(dir, "state"), TPM: a.chip.Spec(), Model: model, Name: a.name,
			EventLog: eventLog, ResultFile: "result.jwt", Version: "test", Log: slog.New(slog.DiscardHandler), Now: time.Now,
		})
	}()
	file := filepath.Join(dir, "state", "result.jwt")
	eventually(t, 15*time.Second, "the agent has written its result", func() (string, bool) {
		_, err := os.Stat(file)
		return s.logTail(), err == nil
	})
	stop()
	if err := <-stopped; err != nil {
		t.Fatal(err)
	}
	a.connect()
	keys := filepath.Join(dir, "keys.json")
	f := must(os.Create(keys))(t)
	if err := a.anyone.Copy(t.Context(), api.PathResultKeys, f); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	token := string(must(os.ReadFile(file))(t))
	if exit, status := verdictOf(t, token, keys, "--device", a.id); status == "" || exit == 2 {
		t.Errorf("exit status %d, %q: %.80q", exit, status, token)
	}
}
