package policy_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
	"testing/fstest"

	"troth/policy"
)

const sees = `package troth.posture
decision := {"verdict": "compliant", "controls": controls}
controls contains {"id": "a", "outcome": "pass", "reason": json.marshal({"reported": object.get(input, "reported", "none"), "device": input.device})} if true
`

// masking is a bundle with a control that tells what it sees, and masks.
func masking(masks string) fstest.MapFS {
	files, _ := tiny(map[string]string{"posture": strings.Replace(sees, "controls contains", "# METADATA\n# title: A\n# description: A.\n# scope: rule\n# custom:\n#   id: a\n#   severity: low\n#   remediation: none\ncontrols contains", 1)}).(fstest.MapFS)
	files["config/data.json"] = &fstest.MapFile{Data: []byte(`{"mask": ` + masks + `}`)}
	return files
}

// TestAttack_P5_MaskedBeforeItIsDecided: what a bundle masks is in no document that
// is stored, policy does not see it, and the same document leads to the same
// decision again.
func TestAttack_P5_MaskedBeforeItIsDecided(t *testing.T) {
	e := engine(t, masking(`["/reported/users", "/reported/disks/serial", "/reported/a~1b", "/reported/not/there", "/device/labels/owner", "/device/name"]`))
	in := policy.PostureInput{
		Now:    now,
		Device: policy.DeviceInput{ID: "d", Name: "Ada's meter", Labels: map[string]string{"owner": "ada@example.org", "site": "lyon"}},
		Reported: map[string]any{
			"users": []any{"ada"}, "a/b": "hunter2", "big": 1e30, "uptime": 9007199254740993.0,
			"disks": []any{map[string]any{"serial": "S1", "size": 7}, map[string]any{"serial": "S2"}, "S3"},
		},
	}
	d, err := e.Posture(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	kept := string(d.Document())
	for _, secret := range []string{"ada", "Ada", "hunter2", "S1", "S2"} {
		if strings.Contains(kept, secret) || strings.Contains(d.Controls[0].Reason, secret) {
			t.Errorf("%q is kept:\n%s\n%s", secret, kept, d.Controls[0].Reason)
		}
	}
	for _, fact := range []string{"lyon", "S3", `"size":7`, "1e+30"} {
		if !strings.Contains(kept, fact) {
			t.Errorf("%q is masked, too: %s", fact, kept)
		}
	}
	if sum := sha256.Sum256(d.Document()); d.Input != hex.EncodeToString(sum[:]) {
		t.Error("the decision names another input than it keeps")
	}
	again, err := e.Replay(t.Context(), policy.KindPosture, d.Document())
	if err != nil || again.(policy.PostureDecision).Controls[0].Reason != d.Controls[0].Reason || again.Digests().Input != d.Input {
		t.Errorf("decided again: %+v, %v", again, err)
	}
	if in.Reported["users"] == nil || in.Device.Name == "" {
		t.Error("the caller's own input was changed")
	}
}

// TestMasksThatAreRefused: a fact that the service established is no secret, and a
// policy without it would pass what it should not.
func TestMasksThatAreRefused(t *testing.T) {
	for _, masks := range []string{
		`"x"`, `{}`, `[1]`, `[""]`, `["/attestation/verified"]`, `["/device/lifecycle"]`, `["/reported"]`, `["/reported/"]`, `["/device/names"]`,
		`["/device/name/x"]`, `["reported/x"]`, `["/now"]`, `[` + strings.Repeat(`"/reported/x",`, 64) + `"/reported/x"]`,
	} {
		if _, err := policy.New(t.Context(), masking(masks), policy.Options{}); !errors.Is(err, policy.ErrBundle) {
			t.Errorf("%.40s: %v", masks, err)
		}
	}
}
