package posture_test

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"troth/attest"
	"troth/attest/eventlog"
	"troth/internal/evidence"
	"troth/internal/fleet"
	"troth/internal/posture"
)

// fetches remembers which contents were asked for.
type fetches struct {
	posture.Store
	digests []string
}

func (f *fetches) Blob(ctx context.Context, digest string) ([]byte, error) {
	f.digests = append(f.digests, digest)
	return f.Store.Blob(ctx, digest)
}

func keeping(cache *eventlog.Cache, f *fetches) func(*posture.Config) {
	return func(c *posture.Config) {
		f.Store = c.Store
		c.Store, c.EventLogs = f, cache
	}
}

func newCache(t testing.TB) *eventlog.Cache {
	t.Helper()
	cache, err := eventlog.NewCache(1 << 20)
	if err != nil {
		t.Fatal(err)
	}
	return cache
}

// logByDigest has the device name its event log and not send it.
func logByDigest(c *posture.CheckIn) {
	c.Evidence.EventLog = &evidence.Log{SHA256: c.Evidence.EventLog.SHA256}
}

// logFacts are what the posture records of the event log.
func logFacts(t testing.TB, p fleet.Posture) string {
	t.Helper()
	var r struct {
		EventLog   json.RawMessage `json:"event_log"`
		SecureBoot json.RawMessage `json:"secure_boot"`
	}
	if err := json.Unmarshal(p.Attestation, &r); err != nil {
		t.Fatal(err)
	}
	return string(r.EventLog) + string(r.SecureBoot)
}

// An event log that was verified once is neither fetched nor read again, and says
// the same.
func TestEventLogIsReadOnce(t *testing.T) {
	for name, cache := range map[string]*eventlog.Cache{"kept": newCache(t), "no cache": nil} {
		t.Run(name, func(t *testing.T) {
			var f fetches
			r := newRig(t, good(), keeping(cache, &f))
			first := r.must(fleet.Compliant)
			second, err := r.checkIn(logByDigest)
			if err != nil || second.Posture.Verdict != fleet.Compliant {
				t.Fatalf("verdict %s, %v", second.Posture.Verdict, err)
			}
			if one, two := logFacts(t, first.Posture), logFacts(t, second.Posture); one != two || len(one) < 100 {
				t.Errorf("the log says %s, then %s", one, two)
			}
			digest := logOf(r.logs.EventLog).SHA256
			if fetched := slices.Contains(f.digests, digest); fetched != (cache == nil) {
				t.Errorf("event log fetched: %v", fetched)
			}
		})
	}
}

// A database that lost what the service remembers, or never had it, gets the log
// with the evidence that names it.
func TestHeldLogIsKeptWithItsEvidence(t *testing.T) {
	cache, f := newCache(t), fetches{}
	before := newRig(t, good(), keeping(cache, &f))
	before.must(fleet.Compliant)
	r := newRig(t, good(), keeping(cache, &f)) // another database
	digest := logOf(r.logs.EventLog).SHA256
	if digest != logOf(before.logs.EventLog).SHA256 {
		t.Fatal("the same image booted into another log")
	}
	a, err := r.checkIn(logByDigest)
	if err != nil {
		t.Fatal(err)
	}
	document, err := r.store.Blob(t.Context(), a.Posture.Evidence)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := evidence.Again(t.Context(), r.store, document); err != nil || !again.Verified || !again.EventLog.Replayed {
		t.Errorf("appraised again: %+v, %v", again.Problems, err)
	}
}

// What a device sends is kept by what it is and once a quote stands for it, never
// by what the device says that it is.
func TestEventLogsOfOthersAreNotKept(t *testing.T) {
	cache, f := newCache(t), fetches{}
	r := newRig(t, good(), keeping(cache, &f))
	r.must(fleet.Compliant)
	mine := r.logs.EventLog
	other := unmeasured(mine)
	refused := func(what, code string, change func(*posture.CheckIn)) {
		t.Helper()
		if _, err := r.checkIn(change); fleet.CodeOf(err) != code {
			t.Errorf("%s: %v, want %s", what, err, code)
		}
		if cache.Get(sha256.Sum256(other)) != nil {
			t.Errorf("%s: kept", what)
		}
	}
	refused("another log than the quote's", "nonce_mismatch", func(c *posture.CheckIn) { c.Evidence.EventLog = logOf(other) })
	refused("that log by its digest", "log_required", func(c *posture.CheckIn) {
		c.Evidence.EventLog = &evidence.Log{SHA256: logOf(other).SHA256}
	})
	refused("another log under a kept digest", "log_digest_mismatch", func(c *posture.CheckIn) {
		c.Evidence.EventLog = &evidence.Log{SHA256: logOf(mine).SHA256, Content: other}
	})
	refused("no digest", "log_required", func(c *posture.CheckIn) { c.Evidence.EventLog = &evidence.Log{SHA256: "00"} })
	r.logs.EventLog = other // what the quote stands for
	refused("a kept log that is not the quote's", "nonce_mismatch", func(c *posture.CheckIn) {
		c.Evidence.EventLog = &evidence.Log{SHA256: logOf(mine).SHA256}
	})
}

// unmeasured adds an event that extends nothing.
func unmeasured(log []byte) []byte {
	return append(slices.Clone(log), 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 'n', 'e', 'w', 0)
}

// command has GRUB execute one: measured into PCR 8, and logged.
func (r *rig) command(text string) {
	r.t.Helper()
	r.extend(8, text)
	log, err := eventlog.Parse(r.logs.EventLog)
	if err != nil {
		r.t.Fatal(err)
	}
	le := binary.LittleEndian
	out := le.AppendUint32(le.AppendUint32(le.AppendUint32(r.logs.EventLog, 8), uint32(eventlog.IPL)), uint32(len(log.Banks)))
	for _, bank := range log.Banks {
		h, _ := eventlog.HashOf(bank)
		d := h.New()
		d.Write([]byte(text))
		id := map[string]uint16{"sha1": 4, "sha256": 0xb, "sha384": 0xc, "sha512": 0xd}[bank]
		out = append(le.AppendUint16(out, id), d.Sum(nil)...)
	}
	data := "grub_cmd: " + text + "\x00"
	r.logs.EventLog = append(le.AppendUint32(out, uint32(len(data))), data...)
}

// BenchmarkUnchangedCheckIn appraises the evidence of a check-in with a log of 100
// events that the service holds, of a device without IMA, with the log's reading
// kept and without. "whole" is all of the check-in, with policy and database.
func BenchmarkUnchangedCheckIn(b *testing.B) {
	for _, kept := range []bool{false, true} {
		name, cache := "read anew", (*eventlog.Cache)(nil)
		if kept {
			name, cache = "kept", newCache(b)
		}
		r := newRig(b, good(), func(c *posture.Config) { c.EventLogs = cache })
		for i := len(mustParse(b, r.logs.EventLog)); i < 100; i++ {
			r.command(fmt.Sprintf("set number=%d", i))
		}
		if _, err := r.checkIn(func(c *posture.CheckIn) { c.Evidence = r.withEventLog(c.Nonce) }); err != nil {
			b.Fatal(err)
		}
		challenge := []byte("a nonce")
		sent := r.withEventLog(challenge)
		sent.EventLog.Content = nil
		about := evidence.Subject{Purpose: "checkin", Device: r.device, AK: machine.ak.Public, ClientKey: r.key, Nonce: challenge, EventLogs: cache}
		b.Run("evidence/"+name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				a, err := evidence.Appraise(b.Context(), r.store, sent, about)
				if err != nil || a.Result.EventLog.Events != 100 {
					b.Fatal(err)
				}
			}
		})
		b.Run("whole/"+name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				n, err := r.service.Nonce(b.Context(), r.device)
				if err != nil {
					b.Fatal(err)
				}
				c := posture.CheckIn{Device: r.device, ClientKey: r.key, Nonce: n.Nonce, Evidence: r.withEventLog(n.Nonce)}
				c.Evidence.EventLog.Content = nil
				b.StartTimer()
				if _, err := r.service.CheckIn(b.Context(), c); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// withEventLog is evidence of a device that has no IMA list.
func (r *rig) withEventLog(challenge []byte) evidence.Submission {
	r.t.Helper()
	s := r.quote(attest.Binding{
		Purpose: "checkin", Nonce: challenge, DeviceID: string(r.device), ClientKey: r.key, Reported: []byte(r.report),
		EventLog: sha256.Sum256(r.logs.EventLog),
	})
	s.EventLog = logOf(r.logs.EventLog)
	return s
}

func mustParse(t testing.TB, log []byte) []eventlog.Event {
	t.Helper()
	parsed, err := eventlog.Parse(log)
	if err != nil {
		t.Fatal(err)
	}
	return parsed.Events
}
