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

// knownThen are the controls whose facts the document has.
var knownThen = []string{
	"attestation-verified", "certificate-current", "clock-monotonic", "clock-safe", "event-log", "firmware-current", "firmware-known",
	"firmware-latest", "firmware-reported", "ima-list", "ima-no-violations", "no-unexplained-pcrs", "secure-boot", "update-healthy",
}

// factControls are over facts that came later, and do not apply unless asked for.
var factControls = []string{
	"boot-authorities", "boot-command-line", "boot-dbx", "boot-mok", "boot-option-roms", "boot-sbat", "ima-boot-aggregate", "ima-known-files",
}

// An old document is still decided on, byte for byte: every control that it knew
// of answers as before, and one over facts that it does not have never passes. One
// of those that counts leaves the device undecided.
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
	if !ok || d.Evidence != "e3b0c442" {
		t.Fatalf("%+v", got)
	}
	if sum := sha256.Sum256(document); d.Input != hex.EncodeToString(sum[:]) {
		t.Errorf("the decision names the input %s", d.Input)
	}
	verdict := policy.Compliant
	for _, c := range d.Controls {
		switch known := slices.Contains(knownThen, c.ID); {
		case known != (c.Outcome == policy.Pass):
			t.Errorf("%s: %s: %s", c.ID, c.Outcome, c.Reason)
		case slices.Contains(factControls, c.ID) && c.Outcome != policy.NotApplicable:
			t.Errorf("%s: %s, though nobody asks: %s", c.ID, c.Outcome, c.Reason)
		case c.Outcome == policy.Errored && !c.Advisory:
			verdict = policy.Undecided
		}
	}
	if d.Verdict != verdict {
		t.Errorf("verdict %s, not %s", d.Verdict, verdict)
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
		known := slices.Contains(knownThen, c.ID)
		if known != (c.Outcome == policy.Pass) || slices.Contains(factControls, c.ID) && c.Outcome != policy.Errored {
			t.Errorf("%s: %s: %s", c.ID, c.Outcome, c.Reason)
		}
	}
}
