package policy_test

import (
	"strings"
	"testing"

	"troth/policies"
	"troth/policy"
)

func explain(t *testing.T, e *policy.Engine, in policy.Input, kind policy.Kind) policy.Explanation {
	t.Helper()
	document, err := policy.Document(in)
	if err != nil {
		t.Fatal(err)
	}
	x, err := e.Explain(t.Context(), kind, document)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func chainOf(t *testing.T, x policy.Explanation, control string) policy.Chain {
	t.Helper()
	for _, c := range x.Chains {
		if c.Control == control {
			return c
		}
	}
	t.Fatalf("no chain for %q", control)
	return policy.Chain{}
}

// fact is the value that a chain read, "undefined", or "" if it did not look.
func fact(c policy.Chain, path string) string {
	for _, f := range c.Facts {
		if f.Path == path && f.Value == nil {
			return "undefined"
		} else if f.Path == path {
			return string(f.Value)
		}
	}
	return ""
}

func TestExplainPosture(t *testing.T) {
	e := engine(t, policies.FS)
	in := healthy()
	in.Attestation.SecureBoot.Enabled = false
	x := explain(t, e, in, policy.KindPosture)
	if x.Answer != policy.Noncompliant || len(x.Chains) != len(e.Controls()) || x.Policy != e.Digest() {
		t.Errorf("%s with %d chains", x.Answer, len(x.Chains))
	}
	c := chainOf(t, x, "secure-boot")
	if c.Outcome != policy.Fail || !c.Enforced || c.Reason == "" {
		t.Errorf("%+v", c)
	}
	for path, want := range map[string]string{
		"input.attestation.secure_boot.enabled": "false", "input.attestation.secure_boot.known": "true",
		"input.attestation.verified": "true", // read by a rule that other controls share
		"input.firmware.known":       "",
	} {
		if got := fact(c, path); got != want {
			t.Errorf("%s is %q, want %q", path, got, want)
		}
	}
	taken, stopped := 0, ""
	for _, r := range c.Rules {
		if r.Rule != "data.troth.posture.secure_boot" {
			continue
		}
		if r.File != "troth/posture/boot.rego" || r.Line == 0 {
			t.Errorf("%+v", r)
		}
		if r.Held {
			taken++
		} else if stopped += r.Stopped + "\n"; r.StoppedLine == 0 {
			t.Errorf("%+v", r)
		}
	}
	if taken != 1 || !strings.Contains(stopped, "input.attestation.secure_boot.enabled == true") {
		t.Errorf("%d branches were taken; the others stopped at\n%s", taken, stopped)
	}
	// The second control to read a shared rule has it in its chain too.
	if got := fact(chainOf(t, x, "event-log"), "input.attestation.verified"); got != "true" {
		t.Errorf("event-log does not rest on the evidence: %q", got)
	}
}

// What is missing is what explains an error.
func TestExplainMissingFacts(t *testing.T) {
	e := engine(t, policies.FS)
	x, err := e.Explain(t.Context(), policy.KindPosture, []byte(`{"now": "2026-03-01T12:00:00Z", "attestation": {"verified": true}}`))
	if err != nil || x.Answer == policy.Compliant {
		t.Fatalf("%s, %v", x.Answer, err)
	}
	c := chainOf(t, x, "secure-boot")
	if c.Outcome != policy.Errored || fact(c, "input.attestation.secure_boot.known") != "undefined" {
		t.Errorf("%+v", c)
	}
}

func TestExplainSettings(t *testing.T) {
	e := engine(t, library(t, map[string]string{"config/rollout/data.json": `{"hold": true}`}))
	x := explain(t, e, wave(), policy.KindRollout)
	if len(x.Chains) != 1 || x.Answer != "deny" || x.Chains[0].Outcome != "deny" || !strings.Contains(x.Chains[0].Reason, "hold") {
		t.Fatalf("%+v", x)
	}
	if got := fact(x.Chains[0], "data.config.rollout.hold"); got != "true" {
		t.Errorf("the setting is %q in %+v", got, x.Chains[0].Facts)
	}
}

func TestExplainEveryKind(t *testing.T) {
	e := engine(t, policies.FS)
	for kind, in := range map[policy.Kind]policy.Input{
		policy.KindEnroll: newcomer(), policy.KindRenew: renewer(), policy.KindAccess: visitor(),
		policy.KindOperator: policy.OperatorInput{Now: now, Operator: "ada", Role: "viewer", Action: "device.list"},
	} {
		x := explain(t, e, in, kind)
		c := x.Chains[0]
		held := false
		for _, r := range c.Rules {
			held = held || r.Held && r.Rule == "data.troth."+string(kind)+".decision"
		}
		if x.Answer != "allow" || !held || len(c.Facts) == 0 || c.Reason == "" {
			t.Errorf("%s: %+v", kind, x)
		}
	}
}

// An explanation of what cannot be decided is no pass either.
func TestAttack_P1_ExplainFailsClosed(t *testing.T) {
	e := engine(t, tiny(map[string]string{"access": "package troth.access\ndecision := {\"allow\": true, \"code\": \"\", \"reason\": \"Yes.\"} if not to_number(input.action)\n"}))
	document, err := policy.Document(visitor())
	if err != nil {
		t.Fatal(err)
	}
	if x, err := e.Explain(t.Context(), policy.KindAccess, document); err == nil || x.Answer != "deny" {
		t.Errorf("%+v, %v", x, err)
	}
	for _, bad := range []string{"", "{", "[]"} {
		if x, err := e.Explain(t.Context(), policy.KindPosture, []byte(bad)); err == nil || x.Answer == policy.Compliant {
			t.Errorf("%q: %+v, %v", bad, x, err)
		}
	}
	if _, err := e.Explain(t.Context(), "weather", document); err == nil {
		t.Error("weather is explained")
	}
}
