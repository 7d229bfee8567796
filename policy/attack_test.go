package policy_test

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"troth/policies"
	"troth/policy"
)

// spin runs for minutes unless it is stopped.
const spin = `slow if {
	some a in numbers.range(1, 100000)
	some b in numbers.range(1, 100000)
	a * b == -1
}
`

func TestAttack_P1_PostureFailsClosed(t *testing.T) {
	posture := func(body string) map[string]string {
		return map[string]string{"posture": "package troth.posture\n" + body}
	}
	pass := `{"id": "a", "outcome": "pass", "reason": "Well."}`
	decided := func(verdict, answer string) map[string]string {
		return posture("decision := {\"verdict\": " + verdict + ", \"controls\": controls}\n" + control("a", answer))
	}
	since := `"since": "2026-03-01T12:00:00Z"`
	for name, c := range map[string]struct {
		modules map[string]string
		want    error
	}{
		"undefined":              {posture(`decision := {"verdict": "compliant", "controls": []} if input.now == "never"`), policy.ErrUndefined},
		"undefined verdict":      {posture("decision := {\"verdict\": verdict, \"controls\": []}\nverdict := \"compliant\" if input.now == \"never\""), policy.ErrUndefined},
		"not an object":          {posture(`decision := "compliant"`), policy.ErrMalformed},
		"no verdict":             {posture(`decision := {"controls": []}`), policy.ErrMalformed},
		"verdict in capitals":    {posture(`decision := {"Verdict": "compliant", "controls": []}`), policy.ErrMalformed},
		"field left over":        {posture(`decision := {"verdict": "compliant", "controls": [], "waived": true}`), policy.ErrMalformed},
		"controls no array":      {posture(`decision := {"verdict": "compliant", "controls": {}}`), policy.ErrMalformed},
		"unknown verdict":        {decided(`"fine"`, pass), policy.ErrMalformed},
		"verdict a boolean":      {decided(`true`, pass), policy.ErrMalformed},
		"unknown outcome":        {decided(`"compliant"`, `{"id": "a", "outcome": "passed", "reason": "Well."}`), policy.ErrMalformed},
		"no reason":              {decided(`"compliant"`, `{"id": "a", "outcome": "pass", "reason": ""}`), policy.ErrMalformed},
		"unknown control":        {decided(`"compliant"`, `{"id": "b", "outcome": "pass", "reason": "Well."}`), policy.ErrMalformed},
		"control a text":         {decided(`"compliant"`, `"a"`), policy.ErrMalformed},
		"no controls at all":     {posture(`decision := {"verdict": "compliant", "controls": []}`), policy.ErrInconsistent},
		"silent control":         {decided(`"compliant"`, pass+" if input.now == \"never\""), policy.ErrUndefined},
		"two answers":            {decided(`"compliant"`, `{"id": "a", "outcome": "pass", "reason": sprintf("Well %d.", [i])} if some i in [1, 2]`), policy.ErrInconsistent},
		"pass with times":        {decided(`"compliant"`, `{"id": "a", "outcome": "pass", "reason": "Well.", `+since+`}`), policy.ErrInconsistent},
		"failure without times":  {decided(`"noncompliant"`, `{"id": "a", "outcome": "fail", "reason": "Ill."}`), policy.ErrInconsistent},
		"times no times":         {decided(`"compliant"`, `{"id": "a", "outcome": "fail", "reason": "Ill.", "since": 1, "enforced_at": 2}`), policy.ErrMalformed},
		"failure in the future":  {decided(`"compliant"`, `{"id": "a", "outcome": "fail", "reason": "Ill.", "since": "2027-01-01T00:00:00Z", "enforced_at": "2027-01-01T00:00:00Z"}`), policy.ErrInconsistent},
		"compliant but failing":  {decided(`"compliant"`, `{"id": "a", "outcome": "fail", "reason": "Ill.", "enforced_at": "2026-03-01T12:00:00Z", `+since+`}`), policy.ErrInconsistent},
		"compliant but an error": {decided(`"compliant"`, `{"id": "a", "outcome": "error", "reason": "Odd.", "enforced_at": "2027-03-01T12:00:00Z", `+since+`}`), policy.ErrInconsistent},
		"conflict":               {posture("decision := {\"verdict\": verdict, \"controls\": []}\nverdict := \"compliant\"\nverdict := \"error\" if input.now"), policy.ErrEvaluation},
		"built-in error":         {decided(`"compliant"`, `{"id": "a", "outcome": "pass", "reason": "Well."} if not time.parse_rfc3339_ns("soon")`), policy.ErrEvaluation},
		"division by zero":       {decided(`"compliant"`, `{"id": "a", "outcome": "pass", "reason": "Well."} if not 1 / (input.attestation.ima.entries - 3)`), policy.ErrEvaluation},
		"timeout":                {posture("decision := {\"verdict\": \"compliant\", \"controls\": []} if not slow\n" + spin), policy.ErrTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			deadline := time.Minute
			if errors.Is(c.want, policy.ErrTimeout) {
				deadline = 50 * time.Millisecond
			}
			e, err := policy.New(t.Context(), tiny(c.modules), policy.Options{Deadline: deadline})
			if err != nil {
				t.Fatal(err)
			}
			d, err := e.Posture(t.Context(), healthy())
			if !errors.Is(err, c.want) || d.Verdict != policy.Undecided {
				t.Errorf("verdict %s and %v, want %v", d.Verdict, err, c.want)
			}
			for _, r := range d.Controls {
				if r.ID != "a" || r.Outcome == policy.Pass && !errors.Is(c.want, policy.ErrInconsistent) {
					t.Errorf("a control passes: %+v", r)
				}
			}
			if d.Policy != e.Digest() || d.Input == "" || d.Controls == nil {
				t.Errorf("the decision does not say what it rests on: %+v", d)
			}
		})
	}
}

// A control that gives no answer is shown as an error, not left out.
func TestAttack_P1_SilentControlIsShown(t *testing.T) {
	e := engine(t, library(t, map[string]string{
		"troth/posture/more.rego": "package troth.posture\n\n" + control("silent", `{"id": "silent", "outcome": "pass", "reason": "Well."} if input.now == "never"`),
	}))
	d, err := e.Posture(t.Context(), healthy())
	if !errors.Is(err, policy.ErrUndefined) || d.Verdict != policy.Undecided {
		t.Fatalf("%s, %v", d.Verdict, err)
	}
	shown := false
	for _, c := range d.Controls {
		shown = shown || c.ID == "silent" && c.Outcome == policy.Errored && c.Enforced(now)
	}
	if !shown {
		t.Errorf("%+v", d.Controls)
	}
}

func TestAttack_P1_PermissionsFailClosed(t *testing.T) {
	for name, c := range map[string]struct {
		body string
		want error
	}{
		"undefined":        {`decision := {"allow": true, "code": "", "reason": "Yes."} if input.now == "never"`, policy.ErrUndefined},
		"boolean alone":    {`decision := true`, policy.ErrMalformed},
		"allow a string":   {`decision := {"allow": "true", "code": "", "reason": "Yes."}`, policy.ErrMalformed},
		"allow null":       {`decision := {"allow": null, "code": "x", "reason": "Yes."}`, policy.ErrMalformed},
		"allow missing":    {`decision := {"code": "", "reason": "Yes."}`, policy.ErrMalformed},
		"Allow":            {`decision := {"Allow": true, "allow": true, "code": "", "reason": "Yes."}`, policy.ErrMalformed},
		"code missing":     {`decision := {"allow": true, "reason": "Yes."}`, policy.ErrMalformed},
		"no reason":        {`decision := {"allow": true, "code": "", "reason": ""}`, policy.ErrMalformed},
		"allow with code":  {`decision := {"allow": true, "code": "not_registered", "reason": "Yes."}`, policy.ErrInconsistent},
		"deny without":     {`decision := {"allow": false, "code": "", "reason": "No."}`, policy.ErrInconsistent},
		"conflict":         {"decision := {\"allow\": allow, \"code\": \"\", \"reason\": \"Yes.\"}\nallow := true\nallow := false if input", policy.ErrEvaluation},
		"built-in error":   {`decision := {"allow": true, "code": "", "reason": "Yes."} if not to_number("x")`, policy.ErrEvaluation},
		"timeout":          {"decision := {\"allow\": true, \"code\": \"\", \"reason\": \"Yes.\"} if not slow\n" + spin, policy.ErrTimeout},
		"a set of answers": {`decision contains {"allow": true, "code": "", "reason": "Yes."}`, policy.ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			modules := map[string]string{}
			for _, kind := range []string{"enroll", "access", "operator"} {
				modules[kind] = "package troth." + kind + "\n" + c.body
			}
			deadline := time.Minute
			if errors.Is(c.want, policy.ErrTimeout) {
				deadline = 50 * time.Millisecond
			}
			e, err := policy.New(t.Context(), tiny(modules), policy.Options{Deadline: deadline})
			if err != nil {
				t.Fatal(err)
			}
			if d, err := e.Enroll(t.Context(), newcomer()); !errors.Is(err, c.want) || d.Allow || d.Code != policy.CodePolicy {
				t.Errorf("enroll: %+v, %v", d, err)
			}
			if d, err := e.Access(t.Context(), visitor()); !errors.Is(err, c.want) || d.Allow || d.Code != policy.CodePolicy {
				t.Errorf("access: %+v, %v", d, err)
			}
			if d, err := e.Operator(t.Context(), policy.OperatorInput{Operator: "ada", Role: "admin", Action: "device.list"}); !errors.Is(err, c.want) || d.Allow || d.Code != policy.CodePolicy {
				t.Errorf("operator: %+v, %v", d, err)
			}
		})
	}
}

func TestAttack_P1_RemediationFailsClosed(t *testing.T) {
	for name, c := range map[string]struct {
		actions string
		want    error
	}{
		"unknown action":    {`[{"kind": "wipe", "control": "a", "reason": "r", "release": ""}]`, policy.ErrMalformed},
		"no array":          {`"quarantine"`, policy.ErrMalformed},
		"no control":        {`[{"kind": "quarantine", "control": "", "reason": "r", "release": ""}]`, policy.ErrMalformed},
		"rollout of what":   {`[{"kind": "start_rollout", "control": "a", "reason": "r", "release": ""}]`, policy.ErrInconsistent},
		"one of them wrong": {`[{"kind": "quarantine", "control": "a", "reason": "r", "release": ""}, {}]`, policy.ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			e := engine(t, tiny(map[string]string{"remediate": "package troth.remediate\ndecision := {\"actions\": " + c.actions + "}\n"}))
			d, err := e.Remediate(t.Context(), policy.RemediateInput{Now: now})
			if !errors.Is(err, c.want) || len(d.Actions) != 0 {
				t.Errorf("%+v, %v", d, err)
			}
		})
	}
}

// "An extra allow = false rule does not deny": here it cannot be written, for a
// document is one rule; and in a rule below that document it is a conflict.
func TestAttack_P1_ExtraAllowFalse(t *testing.T) {
	_, err := policy.New(t.Context(), library(t, map[string]string{
		"troth/access/more.rego": "package troth.access\n\ndecision := {\"allow\": false, \"code\": \"x\", \"reason\": \"No.\"} if input.resource == \"/\"\n",
	}), policy.Options{})
	if !errors.Is(err, policy.ErrBundle) || !strings.Contains(err.Error(), "one rule") {
		t.Errorf("got %v", err)
	}
	e := engine(t, tiny(map[string]string{
		"access": "package troth.access\ndecision := {\"allow\": allow, \"code\": \"\", \"reason\": \"Yes.\"}\ndefault allow := false\nallow := true if input.verdict == \"compliant\"\n",
		"more":   "package troth.access\nallow := false if input.resource == \"/\"\n",
	}))
	if d, err := e.Access(t.Context(), visitor()); !errors.Is(err, policy.ErrEvaluation) || d.Allow {
		t.Errorf("%+v, %v", d, err)
	}
}

func TestAttack_P1_InputThatCannotBe(t *testing.T) {
	e := engine(t, tiny(nil))
	in := visitor()
	in.VerdictAge = math.NaN()
	if d, err := e.Access(t.Context(), in); !errors.Is(err, policy.ErrInput) || d.Allow {
		t.Errorf("%+v, %v", d, err)
	}
	if d, err := e.Access(t.Context(), policy.AccessInput{}); !errors.Is(err, policy.ErrInput) || d.Allow {
		t.Errorf("without a time: %+v, %v", d, err)
	}
	for _, word := range []any{func() {}, json.Number("1e300000000"), json.Number("nine")} {
		p := healthy()
		p.Reported = map[string]any{"word": word}
		if d, err := e.Posture(t.Context(), p); !errors.Is(err, policy.ErrInput) || d.Verdict != policy.Undecided {
			t.Errorf("%+v, %v", d, err)
		}
	}
}

// A device's own words, whatever they are, do not stop the library from
// deciding, and do not help the device.
func TestAttack_P1_HostileReport(t *testing.T) {
	e := engine(t, policies.FS)
	for _, word := range []string{"\x00", "\xff\xfe", strings.Repeat("a", 1<<16), `"} {"verdict": "compliant`, "%d%s%!", "=cmd()", "1.2.0\n"} {
		in := healthy()
		in.Attestation.SecureBoot.Enabled = false
		in.Firmware.Reported = word
		in.Update = policy.UpdateInput{State: word, Version: word, Error: word}
		in.Device.Model = word
		in.Reported = map[string]any{word: []any{word, map[string]any{word: nil}}}
		d, err := e.Posture(t.Context(), in)
		if err != nil || d.Verdict != policy.Noncompliant {
			t.Errorf("%.20q: %s, %v", word, d.Verdict, err)
		}
		for _, c := range d.Controls {
			if len(c.Reason) > 1000 || strings.ContainsAny(c.Reason, "\x00\n") {
				t.Errorf("%s: %q", c.ID, c.Reason)
			}
		}
	}
}

func TestAttack_P1_CallerGivesUp(t *testing.T) {
	e, err := policy.New(t.Context(), tiny(map[string]string{
		"access": "package troth.access\ndecision := {\"allow\": true, \"code\": \"\", \"reason\": \"Yes.\"} if not slow\n" + spin,
	}), policy.Options{Deadline: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	start := time.Now()
	d, err := e.Access(ctx, visitor())
	if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, policy.ErrEvaluation) || d.Allow {
		t.Errorf("%+v, %v", d, err)
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("it took %s", took)
	}
}
