package device_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"troth/internal/fleet"
	"troth/internal/store"
)

func blob(content string) fleet.Blob {
	sum := sha256.Sum256([]byte(content))
	return fleet.Blob{Digest: hex.EncodeToString(sum[:]), Content: []byte(content)}
}

// checkedIn stores a device with a posture and the evidence behind it.
func checkedIn(t *testing.T, s *store.Store, latest string) (fleet.Device, fleet.Blob) {
	t.Helper()
	log, before, list := blob("event log"), blob("entries 1 and 2"), blob("entry 3")
	document := blob(`{"event_log":"` + log.Digest + `","ima":"` + list.Digest + `","ima_from":2,"ima_before":["` + before.Digest +
		`"],"pcrs":{"sha256":{"4":"aa","10":"bb"}}}`)
	d := fleet.Device{ID: id("abcdef"), Name: "pump", Model: "edge", Lifecycle: fleet.Active}
	decision := fleet.Decision{ID: "D1", Kind: "posture", Device: d.ID, At: now.Add(-time.Hour), Evidence: document.Digest, Document: json.RawMessage("{}")}
	posture := fleet.Posture{Device: d.ID, At: now, Verdict: fleet.Compliant, Attestation: json.RawMessage(latest), Reported: json.RawMessage("{}"), Decision: "D1", Evidence: document.Digest}
	apply(t, s, fleet.Change{Devices: []fleet.Device{d}, Posture: &posture, Decisions: []fleet.Decision{decision}, Blobs: []fleet.Blob{log, before, list, document}})
	return d, document
}

func TestEvidence(t *testing.T) {
	for name, latest := range map[string]string{
		"as kept":      `{"pcrs":{"sha256":{"4":"aa","10":"bb"}}}`,
		"more was run": `{"pcrs":{"sha256":{"4":"aa","10":"cc"}}}`,
	} {
		t.Run(name, func(t *testing.T) {
			service, s := newService(t)
			d, document := checkedIn(t, s, latest)
			got, err := service.Evidence(t.Context(), "pump")
			if err != nil {
				t.Fatal(err)
			}
			if got.Device.ID != d.ID || got.Digest != document.Digest || string(got.Document) != string(document.Content) || !got.At.Equal(now.Add(-time.Hour)) {
				t.Errorf("%+v", got)
			}
			for _, content := range []string{"event log", "entries 1 and 2", "entry 3"} {
				if string(got.Content[blob(content).Digest]) != content {
					t.Errorf("%q is missing", content)
				}
			}
			if len(got.Content) != 3 {
				t.Errorf("%d logs", len(got.Content))
			}
		})
	}
}

// What is kept may be a day old: it must not be taken for what the device is now.
func TestEvidenceThatIsOutdated(t *testing.T) {
	for name, tc := range map[string]struct {
		latest string
		alert  string
		code   string
	}{
		"another boot loader since": {`{"pcrs":{"sha256":{"4":"ff","10":"bb"}}}`, "", "evidence_outdated"},
		"another PCR since":         {`{"pcrs":{"sha256":{"4":"aa","5":"aa","10":"bb"}}}`, "", "evidence_outdated"},
		"refused since":             {`{"pcrs":{"sha256":{"4":"aa","10":"bb"}}}`, fleet.KeyEvidenceRefused, "evidence_outdated"},
		"silent since":              {`{"pcrs":{"sha256":{"4":"aa","10":"bb"}}}`, fleet.KeySilent, ""},
	} {
		t.Run(name, func(t *testing.T) {
			service, s := newService(t)
			d, _ := checkedIn(t, s, tc.latest)
			if tc.alert != "" {
				apply(t, s, fleet.Change{Alerts: []fleet.Alert{fleet.Raise(nil, fleet.Alert{Subject: string(d.ID), Device: d.ID, Key: tc.alert, Severity: fleet.Critical, Title: "t", Reason: "r"}, now)}})
			}
			_, err := service.Evidence(t.Context(), string(d.ID))
			if (err == nil) != (tc.code == "") || err != nil && (fleet.CodeOf(err) != tc.code || !fleet.IsKind(err, fleet.Conflict)) {
				t.Errorf("%v, want %q", err, tc.code)
			}
		})
	}
}

func TestNoEvidence(t *testing.T) {
	service, s := newService(t)
	apply(t, s, fleet.Change{Devices: []fleet.Device{{ID: id("abcdef"), Lifecycle: fleet.Pending}}})
	for key, code := range map[string]string{"abcdef": "evidence_not_found", strings.Repeat("0", 64): "not_found", "nobody": "device_not_found"} {
		if _, err := service.Evidence(t.Context(), key); !fleet.IsKind(err, fleet.NotFound) || fleet.CodeOf(err) != code && key != strings.Repeat("0", 64) {
			t.Errorf("%s: %v, want %s", key, err, code)
		}
	}
}
