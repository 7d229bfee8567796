package policy_test

import (
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"os"
	"slices"
	"testing"
	"testing/fstest"

	"troth/policies"
	"troth/policy"
)

// stored is the input of a decision as it was kept before boot facts, warnings
// and judged files were part of it. It is never made anew.
const stored = "testdata/posture-before-boot-facts.json"

var factControls = []string{
	"boot-authorities", "boot-command-line", "boot-dbx", "boot-mok", "boot-option-roms", "boot-sbat", "ima-boot-aggregate", "ima-known-files",
}

// An old document is still decided on, byte for byte: every control that it knew
// of answers as before, and one over facts that it does not have does not apply.
func TestReplayOfAnOldDocument(t *testing.T) {
	document, err := os.ReadFile(stored)
	if err != nil {
		t.Fatal(err)
	}
	got, err := engine(t, policies.FS).Replay(t.Context(), policy.KindPosture, document)
	if err != nil {
		t.Fatal(err)
	}
	d, ok := got.(policy.PostureDecision)
	if !ok || d.Verdict != policy.Compliant || d.Evidence != "e3b0c442" {
		t.Fatalf("%+v", got)
	}
	if sum := sha256.Sum256(document); d.Input != hex.EncodeToString(sum[:]) {
		t.Errorf("the decision names the input %s", d.Input)
	}
	for _, c := range d.Controls {
		want := policy.Pass
		if slices.Contains(factControls, c.ID) {
			want = policy.NotApplicable
		}
		if c.Outcome != want {
			t.Errorf("%s: %s, not %s: %s", c.ID, c.Outcome, want, c.Reason)
		}
	}
}

// Asked for facts that the document does not have, the answer is that it cannot
// be decided: the device neither passed nor failed what nobody asked then.
func TestReplayOfAnOldDocumentUnderStricterSettings(t *testing.T) {
	document, err := os.ReadFile(stored)
	if err != nil {
		t.Fatal(err)
	}
	bundle, ok := library(t, nil).(fstest.MapFS)
	if !ok {
		t.Fatal("not a map")
	}
	bundle["config/boot/data.json"] = &fstest.MapFile{Data: []byte(`{
		"dbx_required": ["d1"], "authorities": ["da"], "option_roms": [], "mok": [], "sbat_level": 2025021800,
		"command_line_required": ["ro"], "command_line_forbidden": ["init="]}`)}
	bundle["config/ima/data.json"] = &fstest.MapFile{Data: []byte(`{"require_allow_list": true, "require_boot_aggregate": true}`)}
	got, err := engine(t, fs.FS(bundle)).Replay(t.Context(), policy.KindPosture, document)
	if err != nil {
		t.Fatal(err)
	}
	d, ok := got.(policy.PostureDecision)
	if !ok || d.Verdict != policy.Undecided {
		t.Fatalf("%+v", got)
	}
	for _, c := range d.Controls {
		want := policy.Pass
		if slices.Contains(factControls, c.ID) {
			want = policy.Errored
		}
		if c.Outcome != want {
			t.Errorf("%s: %s, not %s: %s", c.ID, c.Outcome, want, c.Reason)
		}
	}
}
