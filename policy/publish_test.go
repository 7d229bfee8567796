package policy_test

import (
	"bytes"
	"errors"
	"testing"

	"troth/policies"
	"troth/policy"
)

func publisher() policy.PublishInput {
	return policy.PublishInput{
		Now: now, Evidence: "e3b0c442", Where: policy.AtPublish, Publisher: "ada",
		Release:   policy.ReleaseInput{Target: "gw-2.0.img", SHA256: "ab", Length: 3, Model: "gw-100", Version: "2.0", Counter: 2, PCRs: []int{7, 4}},
		Approvals: policy.ApprovalsInput{Role: "targets", Threshold: 1, Keys: []string{"k2", "k1"}},
	}
}

func TestPublish(t *testing.T) {
	d, err := engine(t, policies.FS).Publish(t.Context(), publisher())
	if err != nil || !d.Allow || d.Code != "" || len(d.Requirements) != 1 || !d.Requirements[0].Met {
		t.Errorf("%+v, %v", d, err)
	}
	in := publisher()
	in.Approvals.Keys = nil
	d, err = engine(t, policies.FS).Publish(t.Context(), in)
	if err != nil || d.Allow || d.Code != "approvals_missing" || len(d.Requirements) != 1 || d.Requirements[0].Met {
		t.Errorf("%+v, %v", d, err)
	}
}

// The same facts are the same document, in whatever order they were found.
func TestPublishDocument(t *testing.T) {
	in := publisher()
	in.Vulnerabilities.Found = []policy.VulnerabilityInput{{ID: "CVE-2"}, {ID: "CVE-1"}}
	one, err := policy.Document(in)
	if err != nil {
		t.Fatal(err)
	}
	in.Approvals.Keys, in.Release.PCRs = []string{"k1", "k2"}, []int{4, 7}
	in.Vulnerabilities.Found = []policy.VulnerabilityInput{{ID: "CVE-1"}, {ID: "CVE-2"}}
	two, err := policy.Document(in)
	if err != nil || !bytes.Equal(one, two) || bytes.Contains(one, []byte("null")) {
		t.Errorf("%s\n%s\n%v", one, two, err)
	}
}

func TestPublishRefusesAnswersThatAreNone(t *testing.T) {
	for name, tc := range map[string]struct {
		answer string
		want   error
	}{
		"allowed while something is not met": {`{"allow": true, "code": "", "reason": "Yes.", "requirements": [{"id": "a", "met": false, "reason": "No."}]}`, policy.ErrInconsistent},
		"allowed with a code":                {`{"allow": true, "code": "no", "reason": "Yes.", "requirements": []}`, policy.ErrInconsistent},
		"denied without a code":              {`{"allow": false, "code": "", "reason": "No.", "requirements": []}`, policy.ErrInconsistent},
		"no requirements":                    {`{"allow": true, "code": "", "reason": "Yes."}`, policy.ErrMalformed},
		"met in words":                       {`{"allow": true, "code": "", "reason": "Yes.", "requirements": [{"id": "a", "met": "yes", "reason": "R."}]}`, policy.ErrMalformed},
		"a requirement without an id":        {`{"allow": true, "code": "", "reason": "Yes.", "requirements": [{"met": true, "reason": "R."}]}`, policy.ErrMalformed},
		"more than belongs there":            {`{"allow": true, "code": "", "reason": "Yes.", "requirements": [{"id": "a", "met": true, "reason": "R.", "x": 1}]}`, policy.ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			e := engine(t, tiny(map[string]string{"publish": "package troth.publish\ndecision := " + tc.answer + "\n"}))
			d, err := e.Publish(t.Context(), publisher())
			if !errors.Is(err, tc.want) || d.Allow || d.Code != policy.CodePolicy {
				t.Errorf("%+v, %v", d, err)
			}
		})
	}
}
