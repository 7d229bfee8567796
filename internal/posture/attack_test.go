package posture_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"testing"
	"time"

	"troth/attest/attesttest"
	"troth/internal/evidence"
	"troth/internal/fleet"
	"troth/internal/posture"
)

// TestAttack_Q6_EvidenceIsBound: what was not quoted for this nonce, device, key
// and report is refused, changes nothing of the device, and is told to people.
func TestAttack_Q6_EvidenceIsBound(t *testing.T) {
	r := newRig(t, good())
	r.must(fleet.Compliant)
	before := r.stored()
	tests := []struct {
		name  string
		spoil func(*posture.CheckIn)
		code  string
		alert bool
	}{
		{"an edited report", func(c *posture.CheckIn) { c.Evidence.Reported = []byte(`{"firmware":{"version":"9.9"}}`) }, "nonce_mismatch", true},
		{"another client key", func(c *posture.CheckIn) { c.ClientKey = append(bytes.Clone(c.ClientKey), 0) }, "nonce_mismatch", true},
		{"another event log", func(c *posture.CheckIn) { c.Evidence.EventLog = logOf(c.Evidence.EventLog.Content[:200]) }, "nonce_mismatch", true},
		{"no IMA list", func(c *posture.CheckIn) { c.Evidence.IMA = nil }, "nonce_mismatch", true},
		{"an edited PCR", func(c *posture.CheckIn) { c.Evidence.PCRs["sha256"][4] = c.Evidence.PCRs["sha256"][5] }, "pcr_digest_mismatch", true},
		{"a PCR that was not quoted", func(c *posture.CheckIn) { c.Evidence.PCRs["sha256"][23] = hex.EncodeToString(make([]byte, 32)) }, "", true},
		{"a PCR kept back", func(c *posture.CheckIn) { delete(c.Evidence.PCRs["sha256"], 4) }, "", true},
		{"no signature", func(c *posture.CheckIn) { c.Evidence.Signature = nil }, "", true},
		{"a signature of something else", func(c *posture.CheckIn) { c.Evidence.Quote[len(c.Evidence.Quote)-1] ^= 1 }, "", true},
		{"a PCR in no form", func(c *posture.CheckIn) { c.Evidence.PCRs["sha256"][4] = "xx" }, "pcrs_malformed", false},
		{"a PCR out of range", func(c *posture.CheckIn) { c.Evidence.PCRs["sha256"][99] = "00" }, "pcrs_malformed", false},
		{"a log of another digest", func(c *posture.CheckIn) { c.Evidence.IMA.Content = []byte("10 forged") }, "log_digest_mismatch", false},
		{"a log that is not held", func(c *posture.CheckIn) { c.Evidence.IMA = &evidence.Log{SHA256: hex.EncodeToString(make([]byte, 32))} }, "log_required", false},
		{"a report that is no JSON", func(c *posture.CheckIn) { c.Evidence.Reported = []byte("{") }, "reported_malformed", false},
		{"a report of another form", func(c *posture.CheckIn) { c.Evidence.Reported = []byte(`{"firmware":"1.0.0"}`) }, "reported_malformed", false},
		{"a report that is a list", func(c *posture.CheckIn) { c.Evidence.Reported = []byte(`[]`) }, "reported_malformed", false},
		{"a report without end", func(c *posture.CheckIn) {
			c.Evidence.Reported = append(append([]byte(`"`), bytes.Repeat([]byte("a"), 256<<10)...), '"')
		}, "reported_malformed", false},
	}
	count := 0
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r.t = t
			defer func() { r.t = nil }()
			_, err := r.checkIn(tt.spoil)
			if err == nil || tt.code != "" && fleet.CodeOf(err) != tt.code {
				t.Fatalf("got %v, want %s", err, tt.code)
			}
			s := r.stored()
			if s.device.Revision != before.device.Revision || s.decisions != before.decisions {
				t.Errorf("refused evidence changed the device: %+v", s)
			}
			if tt.alert {
				count++
			}
			if told := slices.Equal(s.open, []string{fleet.KeyEvidenceRefused}); told != (count > 0) {
				t.Errorf("alerts %v", s.open)
			}
		})
	}
	r.t = t
	alerts, err := r.store.Alerts(t.Context(), fleet.AlertFilter{Subject: string(r.device), Open: true})
	if err != nil || len(alerts) != 1 || alerts[0].Count != count {
		t.Errorf("alerts %+v, %v; want one that counts %d", alerts, err, count)
	}
	r.must(fleet.Compliant)
	if s := r.stored(); len(s.open) != 0 {
		t.Errorf("good evidence leaves open %v", s.open)
	}
}

func TestAttack_Q3_NonceIsUsedOnce(t *testing.T) {
	r := newRig(t, good())
	r.must(fleet.Compliant)
	used := r.nonce
	replay := func(c *posture.CheckIn) { c.Nonce, c.Evidence = used, r.evidence(used) }
	if _, err := r.checkIn(replay); fleet.CodeOf(err) != "nonce_replayed" {
		t.Errorf("replayed: %v", err)
	}
	other := r.nonces.Issue(fleet.Device{ID: "other"}, r.clock)
	if _, err := r.checkIn(func(c *posture.CheckIn) { c.Nonce, c.Evidence = other, r.evidence(other) }); fleet.CodeOf(err) != "nonce_invalid" {
		t.Errorf("another device's: %v", err)
	}
	old := r.nonces.Issue(r.stored().device, r.clock)
	r.clock = r.clock.Add(11 * time.Minute)
	if _, err := r.checkIn(func(c *posture.CheckIn) { c.Nonce, c.Evidence = old, r.evidence(old) }); fleet.CodeOf(err) != "nonce_expired" {
		t.Errorf("expired: %v", err)
	}
	if s := r.stored(); len(s.open) != 0 {
		t.Errorf("a nonce that is used up alarms people: %v", s.open)
	}
	if _, err := r.service.Nonce(t.Context(), "nobody"); !fleet.IsKind(err, fleet.NotFound) {
		t.Errorf("a nonce for nobody: %v", err)
	}
	if _, err := r.service.CheckIn(t.Context(), posture.CheckIn{Device: "nobody"}); !fleet.IsKind(err, fleet.NotFound) {
		t.Errorf("a check-in of nobody: %v", err)
	}
}

// TestAttack_Q7_ClockGoesBack: a TPM whose counters are lower than before.
func TestAttack_Q7_ClockGoesBack(t *testing.T) {
	r := newRig(t, good())
	r.must(fleet.Compliant)
	d := r.stored().device
	d.Clock.ResetCount += 100
	r.apply(fleet.Change{Devices: []fleet.Device{d}})
	r.must(fleet.Noncompliant)
	if s := r.stored(); !slices.Equal(s.open, []string{"control:clock-monotonic"}) {
		t.Errorf("alerts %v", s.open)
	}
}

// TestAttack_Q1_QuoteOfAnotherKey: evidence of a TPM that is not this device's.
func TestAttack_Q1_QuoteOfAnotherKey(t *testing.T) {
	r := newRig(t, good())
	r.must(fleet.Compliant)
	d := r.stored().device
	other, err := machine.tpm.CreateAK()
	if err != nil {
		t.Fatal(err)
	}
	d.AKPublic = other.Public
	r.apply(fleet.Change{Devices: []fleet.Device{d}})
	if _, err := r.checkIn(); !fleet.IsKind(err, fleet.Refused) {
		t.Errorf("got %v", err)
	}
	if s := r.stored(); s.device.Verdict != fleet.Compliant || !slices.Equal(s.open, []string{fleet.KeyEvidenceRefused}) {
		t.Errorf("%+v", s)
	}
}

// Logs that the service holds need not be sent again.
func TestLogsAreHeld(t *testing.T) {
	r := newRig(t, good())
	r.must(fleet.Compliant)
	hash := sha256.Sum256(r.logs.EventLog)
	a, err := r.checkIn(func(c *posture.CheckIn) { c.Evidence.EventLog.Content, c.Evidence.IMA.Content = nil, nil })
	if err != nil || a.Posture.Verdict != fleet.Compliant {
		t.Fatalf("%s, %v", a.Posture.Verdict, err)
	}
	if _, err := r.store.Blob(t.Context(), hex.EncodeToString(hash[:])); err != nil {
		t.Errorf("the event log is not kept: %v", err)
	}
}

// A device that hides its logs fails what needs them, and passes nothing.
func TestAttack_L3_NoLogs(t *testing.T) {
	r := newRig(t, good())
	r.logs = attesttest.BootLogs{}
	a, err := r.checkIn(func(c *posture.CheckIn) { c.Evidence = r.withoutLogs(c.Nonce) })
	if err != nil {
		t.Fatal(err)
	}
	found := findings(a.Posture)
	for _, control := range []string{"event-log", "ima-list", "no-unexplained-pcrs", "secure-boot"} {
		if found[control] == "" {
			t.Errorf("%s passes without a log: %v", control, sorted(found))
		}
	}
	if a.Posture.Verdict != fleet.Noncompliant {
		t.Errorf("verdict %s", a.Posture.Verdict)
	}
}
