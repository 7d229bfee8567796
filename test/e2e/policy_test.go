package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"troth/internal/api"
	"troth/internal/fleet"
	"troth/internal/pgtest"
	"troth/policies"
)

// replicaOf starts a second process of the service: the same keys, the same
// repository, the same database.
func (s *service) replicaOf(t testing.TB) *service {
	t.Helper()
	r := &service{dir: t.TempDir(), dsn: s.dsn}
	r.config = r.path("troth.yaml")
	if out, err := exec.CommandContext(t.Context(), "cp", "-a", s.path("data"), r.path("data")).CombinedOutput(); err != nil { // with its modes: keys are secret
		t.Fatalf("%v: %s", err, out)
	}
	config := fmt.Sprintf("data_dir: %s\nlisten: 127.0.0.1:0\ndatabase: %q\nfirmware: {repository: %s, online_keys: %s, refresh: 1s}\n",
		r.path("data"), s.dsn, s.path("data", "tuf"), s.path("data", "tuf-keys"))
	if err := os.WriteFile(r.config, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := r.start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.close(); err != nil {
			t.Error(err)
		}
	})
	r.admin = &api.Client{Base: r.process.URL, HTTP: must(r.client(nil))(t), Token: s.admin.Token}
	return r
}

// troth runs the command line as somebody, and requires its exit status.
func (s *service) troth(t testing.TB, token string, status int, args ...string) (stdout, stderr string) {
	t.Helper()
	bin := must(programs())(t)
	cmd := exec.CommandContext(t.Context(), filepath.Join(bin, "troth"), args...)
	cmd.Env = []string{"TROTH_SERVER=" + s.admin.Base, "TROTH_CA=" + s.caFile, "TROTH_TOKEN=" + token, "TROTH_CONFIG=" + s.path("cli.yaml"), "HOME=" + s.dir}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if got := cmd.ProcessState.ExitCode(); got != status {
		t.Fatalf("troth %s: exit status %d, want %d\n%s%s", strings.Join(args, " "), got, status, out.String(), errs.String())
	}
	return out.String(), errs.String()
}

// sternPolicies is the built-in library with a control that no device of the model
// passes, and one test instead of its own, which take their time.
func sternPolicies(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	err := fs.WalkDir(policies.FS, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(name, "_test.rego") {
			return err
		}
		content, err := fs.ReadFile(policies.FS, name)
		if err != nil {
			return err
		}
		return errors.Join(os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700), os.WriteFile(filepath.Join(dir, name), content, 0o600))
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"own.rego": `package troth.posture

import data.troth.lib

# METADATA
# title: Model allowed
# description: The model may be in use.
# scope: rule
# custom:
#   id: model-allowed
#   severity: high
#   remediation: none
#   frameworks:
#     NISTIR 8259A: ["Device Identification"]
controls contains lib.control(rego.metadata.rule(), model_allowed)

model_allowed := lib.fail(sprintf("Model %s is not allowed any more.", [input.device.model])) if {
	input.device.model == "` + model + `"
} else := lib.pass("The model is allowed.")
`,
		"own_test.rego": `package troth.posture_test

import data.troth.posture

test_model_allowed_fail if posture.model_allowed.outcome == "fail" with input as {"device": {"model": "` + model + `"}}
`,
	} {
		if err := os.WriteFile(filepath.Join(dir, "troth", "posture", name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// A policy is pushed, previewed, approved by a second person and activated; then
// both replicas judge by it, and after the way back neither does.
func TestPolicyChangesInEveryReplica(t *testing.T) {
	t.Parallel()
	first := newServiceOn(t, pgtest.New(t), "")
	second := first.replicaOf(t)
	a := newAttacker(t, first)
	a.enroll()
	a.mustCheckIn("compliant")
	var bob api.Token
	first.post(t, api.PathTokens, api.TokenRequest{Operator: "bob", Role: "admin"}, &bob)
	tester, began := first.admin.Token, time.Now()

	dir := sternPolicies(t)
	first.troth(t, tester, 0, "policy", "push", dir, "--repo", first.path("data", "tuf"), "--keys", first.path("data", "tuf-keys"), "--version", "2026.5", "--counter", "7")
	shown, _ := first.troth(t, tester, 0, "policy", "preview", "7", "-o", "json")
	var preview api.PreviewReport
	if err := json.Unmarshal([]byte(shown), &preview); err != nil || preview.Counts.NewlyFailing != 1 || preview.NewlyFailing[0].ID != a.id || preview.NewlyFailing[0].Changes[0].ID != "model-allowed" {
		t.Fatalf("%s, %v", shown, err)
	}
	a.mustCheckIn("compliant") // a preview changes nothing
	_, said := first.troth(t, tester, 1, "policy", "approve", "7")
	if !strings.Contains(said, "second_person_needed") {
		t.Fatal(said)
	}
	second.troth(t, bob.Token, 0, "policy", "approve", "7")
	second.troth(t, bob.Token, 0, "policy", "activate", "7")

	a.on(second).mustCheckIn("noncompliant")
	eventually(t, 10*time.Second, "the other replica decides by it", func() (string, bool) {
		var b api.PolicyBundle
		first.get(t, api.Path(api.PathPolicy, "7"), &b)
		return fmt.Sprintf("%+v", b.Replicas), len(b.Replicas) == 2 && b.Replicas[0].Policy == b.Replicas[1].Policy
	})
	a.on(first).mustCheckIn("noncompliant")
	if reason := a.failing()["model-allowed"]; reason != "Model "+model+" is not allowed any more." {
		t.Fatalf("%v", a.failing())
	}
	t.Logf("from the push to both replicas: %s", time.Since(began))

	// An older one, an unsigned one, and content that was changed after it was signed
	// leave it at that.
	_, said = first.troth(t, tester, 1, "policy", "publish", dir, "--repo", first.path("data", "tuf"), "--keys", first.path("data", "tuf-keys"), "--version", "2026.4", "--counter", "6")
	if !strings.Contains(said, "release_counter") {
		t.Fatal(said)
	}
	_, said = first.troth(t, tester, 1, "policy", "push", "policies/nobody-signed-this")
	if !strings.Contains(said, "policy_unsigned") {
		t.Fatal(said)
	}
	first.troth(t, tester, 0, "policy", "rollback", "base", "--reason", "the model is needed")
	first.troth(t, bob.Token, 0, "policy", "approve", "base")
	first.troth(t, bob.Token, 0, "policy", "activate", "base")
	a.on(first).mustCheckIn("compliant")
	eventually(t, 10*time.Second, "the other replica is back", func() (string, bool) {
		out, err := a.on(second).checkIn()
		return fmt.Sprint(out.Verdict, err), err == nil && out.Verdict == "compliant"
	})
	var open api.AlertList
	first.get(t, api.PathAlerts, &open)
	for _, alert := range open.Alerts {
		if alert.Key == fleet.KeyPolicyDiffers {
			t.Errorf("%+v", alert)
		}
	}
	if err := first.admin.Do(t.Context(), http.MethodPost, api.Path(api.PathPolicyAction, "7", "activate"), api.ReasonRequest{Reason: "x"}, nil); api.CodeOf(err) != "policy_state" {
		t.Errorf("%v", err)
	}
}

// on has the device talk to another replica from now on.
func (a *attacker) on(s *service) *attacker {
	a.t.Helper()
	a.service = s
	nonce := a.nonce
	a.hold(a.credential)
	a.nonce = nonce
	return a
}
