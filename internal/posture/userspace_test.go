package posture_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"troth/attest"
	"troth/internal/evidence"
	"troth/internal/fleet"
	"troth/internal/posture"
)

// systemd measures a word, and writes the record as its tpm2-util.c does
// (systemd.io/TPM2_PCR_MEASUREMENTS).
func (r *rig) systemd(log []byte, pcr int, kind, text string) []byte {
	r.t.Helper()
	r.extend(pcr, text)
	return fmt.Appendf(log, "\x1e"+`{"pcr":%d,"digests":[{"hashAlg":"sha256","digest":"%x"}],"content_type":"systemd","content":{"string":%q,"bootId":"8d1f5b2c3a4e4d1f9d4b6c7a8e9f0a1b","timestamp":1234567,"eventType":%q}}`+"\n",
		pcr, sha256.Sum256([]byte(text)), text, kind)
}

// withUserspace is evidence with systemd's log.
func (r *rig) withUserspace(challenge, log []byte) evidence.Submission {
	r.t.Helper()
	s := r.quote(attest.Binding{
		Purpose: "checkin", Nonce: challenge, DeviceID: string(r.device), ClientKey: r.key, Reported: []byte(r.report),
		EventLog: sha256.Sum256(r.logs.EventLog), IMA: sha256.Sum256(r.logs.IMA), Userspace: sha256.Sum256(log),
	})
	s.EventLog, s.IMA, s.Userspace = logOf(r.logs.EventLog), logOf(r.logs.IMA), logOf(log)
	return s
}

// What systemd measures after the firmware is explained by its own log: it is
// judged, kept, and appraised again.
func TestUserspaceLog(t *testing.T) {
	r := newRig(t, good())
	log := r.systemd(nil, 11, "phase", "enter-initrd")
	log = r.systemd(log, 15, "machine-id", "machine-id:0123")
	r.must(fleet.Noncompliant) // without it, nobody knows what that was
	send := func(edit func(*evidence.Submission)) (posture.Answer, error) {
		t.Helper()
		r.clock = r.clock.Add(5 * time.Minute)
		return r.checkIn(func(c *posture.CheckIn) {
			c.Evidence = r.withUserspace(c.Nonce, log)
			edit(&c.Evidence)
		})
	}
	a, err := send(func(*evidence.Submission) {})
	if err != nil || a.Posture.Verdict != fleet.Compliant {
		t.Fatalf("%v, %v", err, findings(a.Posture))
	}
	document, err := r.store.Blob(t.Context(), a.Posture.Evidence)
	if err != nil {
		t.Fatal(err)
	}
	again, err := evidence.Again(t.Context(), r.store, document)
	if err != nil || !again.Verified || again.UserspaceLog == nil || again.UserspaceLog.Records != 2 || len(again.EventLog.UnexplainedPCRs) > 0 {
		t.Errorf("kept evidence: %v, %+v, %+v", err, again.Problems, again.UserspaceLog)
	}
	r.sawUserspace(a.Posture, 2)

	// It is held, as other logs are, and grows.
	if a, err = send(func(s *evidence.Submission) { s.Userspace.Content = nil }); err != nil || a.Posture.Verdict != fleet.Compliant {
		t.Errorf("by its digest: %v, %v", err, findings(a.Posture))
	}
	log = r.systemd(log, 11, "phase", "sysinit")
	if _, err = send(func(s *evidence.Submission) { s.Userspace.Content = nil }); fleet.CodeOf(err) != "log_required" {
		t.Errorf("grown, by its digest: %v", err)
	}
	if a, err = send(func(*evidence.Submission) {}); err != nil || a.Posture.Verdict != fleet.Compliant {
		t.Errorf("grown: %v, %v", err, findings(a.Posture))
	}
	r.sawUserspace(a.Posture, 3)
}

// sawUserspace requires that policy was told of the log.
func (r *rig) sawUserspace(p fleet.Posture, records int) {
	r.t.Helper()
	d, err := r.store.Decision(r.t.Context(), p.Decision)
	if err != nil {
		r.t.Fatal(err)
	}
	input, err := r.store.Blob(r.t.Context(), d.Input)
	if err != nil {
		r.t.Fatal(err)
	}
	var in struct {
		Attestation struct {
			Userspace struct {
				Given    bool `json:"given"`
				Replayed bool `json:"replayed"`
				Records  int  `json:"records"`
			} `json:"userspace"`
		} `json:"attestation"`
	}
	if err := json.Unmarshal(input, &in); err != nil {
		r.t.Fatal(err)
	}
	if u := in.Attestation.Userspace; !u.Given || !u.Replayed || u.Records != records {
		r.t.Errorf("policy saw %+v, want %d records", u, records)
	}
}

// A userspace log is bound by the quote, and explains no more than it replays.
func TestAttack_L3_UserspaceLogOfAnother(t *testing.T) {
	r := newRig(t, good())
	log := r.systemd(nil, 11, "phase", "enter-initrd")
	late := fmt.Appendf(nil, "\x1e"+`{"pcr":11,"digests":[{"hashAlg":"sha256","digest":"%x"}],"content_type":"systemd","content":{"string":"late"}}`+"\n", sha256.Sum256([]byte("late")))
	for name, tt := range map[string]struct {
		bound []byte
		edit  func(*evidence.Submission)
		code  string
	}{
		"left out":          {log, func(s *evidence.Submission) { s.Userspace = nil }, "nonce_mismatch"},
		"added to":          {log, func(s *evidence.Submission) { s.Userspace = logOf(append(bytes.Clone(log), late...)) }, "nonce_mismatch"},
		"as the IMA list":   {log, func(s *evidence.Submission) { s.Userspace, s.IMA = s.IMA, s.Userspace }, "nonce_mismatch"},
		"another digest":    {log, func(s *evidence.Submission) { s.Userspace.SHA256 = logOf(late).SHA256 }, "log_digest_mismatch"},
		"without event log": {log, func(s *evidence.Submission) { s.EventLog = nil }, "nonce_mismatch"},
		"of another boot":   {bytes.Replace(log, []byte("enter-initrd"), []byte("enter-system"), 1), func(*evidence.Submission) {}, "userspace_log_data_mismatch"},
		"of others":         {late, func(*evidence.Submission) {}, "userspace_log_mismatch"},
		"cut":               {log[:len(log)-3], func(*evidence.Submission) {}, "userspace_log_malformed"},
	} {
		t.Run(name, func(t *testing.T) {
			r.t = t
			_, err := r.checkIn(func(c *posture.CheckIn) {
				c.Evidence = r.withUserspace(c.Nonce, tt.bound)
				tt.edit(&c.Evidence)
			})
			if fleet.CodeOf(err) != tt.code {
				t.Errorf("%v, want %q", err, tt.code)
			}
		})
	}
}
