package device_test

import (
	"encoding/json"
	"testing"
	"time"

	"troth/internal/fleet"
)

func TestDecision(t *testing.T) {
	service, s := newService(t)
	input := blob(`{"now":"2026-11-24T09:00:00Z"}`)
	d := fleet.Device{ID: id("abcdef"), Name: "pump", Model: "edge", Lifecycle: fleet.Active}
	decision := fleet.Decision{ID: "D1", Kind: "posture", Device: d.ID, At: now.Add(-time.Hour), Policy: "aa", Input: input.Digest, Answer: "compliant", Document: json.RawMessage(`{"verdict":"compliant"}`)}
	posture := fleet.Posture{Device: d.ID, At: now, Verdict: fleet.Compliant, Attestation: json.RawMessage("{}"), Reported: json.RawMessage("{}"), Decision: "D1"}
	apply(t, s, fleet.Change{Devices: []fleet.Device{d}, Posture: &posture, Decisions: []fleet.Decision{decision}, Blobs: []fleet.Blob{input}})
	for _, key := range []string{"pump", "abcdef", string(d.ID)} {
		got, err := service.Decision(t.Context(), key)
		if err != nil || got.Device.ID != d.ID || string(got.Input) != string(input.Content) || got.Decision.ID != "D1" || got.Decision.Answer != "compliant" {
			t.Errorf("%s: %+v, %v", key, got, err)
		}
	}
}

func TestNoDecision(t *testing.T) {
	service, s := newService(t)
	pending := fleet.Device{ID: id("abcdef"), Name: "new", Lifecycle: fleet.Pending}
	d := fleet.Device{ID: id("fedcba"), Name: "undone", Lifecycle: fleet.Active}
	posture := fleet.Posture{Device: d.ID, At: now, Verdict: fleet.Undecided, Attestation: json.RawMessage("{}"), Reported: json.RawMessage("{}"), Decision: "gone"}
	apply(t, s, fleet.Change{Devices: []fleet.Device{pending}})
	apply(t, s, fleet.Change{Devices: []fleet.Device{d}, Posture: &posture})
	for key, code := range map[string]string{"new": "decision_not_found", "undone": "decision_not_found", "nobody": "device_not_found"} {
		if _, err := service.Decision(t.Context(), key); !fleet.IsKind(err, fleet.NotFound) || fleet.CodeOf(err) != code {
			t.Errorf("%s: %v, want %s", key, err, code)
		}
	}
}
