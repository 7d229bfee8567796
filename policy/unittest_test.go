package policy_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"troth/policies"
	"troth/policy"
)

func TestTest(t *testing.T) {
	report, err := policy.Test(t.Context(), library(t, map[string]string{
		"acme/acme.rego": "package acme\n\ndefault x := false\n\nx if input.y == 1\n\nz := 3 if input.y == 2\n",
		"acme/acme_test.rego": `package acme_test

import data.acme

test_passes if acme.x with input as {"y": 1}

test_fails if acme.x with input as {"y": 7}

test_errs if to_number("x") == 1

todo_test_later if true

test_cases[name] if {
	some name, y in {"one": 1, "two": 2}
	acme.x with input as {"y": y}
}
`,
	}))
	if err != nil {
		t.Fatal(err)
	}
	outcomes, messages := map[string]string{}, map[string]string{}
	for _, r := range report.Results {
		if r.Package == "data.acme_test" {
			outcomes[r.Name], messages[r.Name] = r.Outcome, r.Message
			if r.File != "acme/acme_test.rego" || r.Line == 0 {
				t.Errorf("%+v", r)
			}
		}
	}
	for name, want := range map[string]string{
		"test_passes": "pass", "test_fails": "fail", "test_errs": "error", "todo_test_later": "skip", "test_cases": "fail",
	} {
		if outcomes[name] != want {
			t.Errorf("%s: %s, want %s", name, outcomes[name], want)
		}
	}
	if !strings.Contains(messages["test_errs"], "to_number") || !strings.Contains(messages["test_cases"], "two") {
		t.Errorf("messages: %v", messages)
	}
	if report.OK() || report.Failed != 3 || report.Skipped != 1 || report.Passed < 100 {
		t.Errorf("%d passed, %d failed, %d skipped", report.Passed, report.Failed, report.Skipped)
	}
	if report.Coverage <= 90 || report.Coverage >= 100 {
		t.Errorf("coverage %.2f", report.Coverage)
	}
	found := false
	for _, u := range report.Uncovered {
		found = found || u.File == "acme/acme.rego" && u.From == 7
	}
	if !found {
		t.Errorf("uncovered: %+v", report.Uncovered)
	}
	if report.Policy == "" || report.Policy == engine(t, policies.FS).Digest() {
		t.Errorf("digest %q", report.Policy)
	}
}

func TestTestWithoutTestsIsNotOK(t *testing.T) {
	report, err := policy.Test(t.Context(), tiny(nil))
	if err != nil || report.OK() {
		t.Errorf("%+v, %v", report, err)
	}
}

func TestTestEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := policy.Test(ctx, policies.FS); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
