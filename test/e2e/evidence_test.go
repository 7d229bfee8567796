package e2e

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"

	"troth/attest/attesttest"
	"troth/attest/tpm"
	"troth/internal/api"
	"troth/internal/fleet"
)

// lie is evidence that does not hold: what is quoted wrongly, or what is sent
// otherwise than it was quoted.
type lie struct {
	name string
	code string
	say  func(*attacker, *statement)    // before the quote; nil: honest
	send func(*attacker, *api.Evidence) // after it; nil: as quoted
}

// refused tells lies at enrolment and at check-ins of an enrolled device, and
// requires that each is refused with its code and changes nothing, and that the
// device's next honest word is believed.
func refused(t *testing.T, lies ...lie) {
	t.Helper()
	a := borrow(t)
	for _, l := range lies {
		t.Run(l.name, func(t *testing.T) {
			a.t = t
			l.atEnrolment(a)
			l.atCheckIn(a)
		})
	}
	a.t = t
	a.mustCheckIn("compliant")
	if alert, open := a.service.kept(t, a.id).open(fleet.KeyEvidenceRefused); open {
		t.Fatalf("the alert is still open after an honest check-in: %+v", alert)
	}
}

func (l lie) atEnrolment(a *attacker) {
	t := a.t
	t.Helper()
	before := a.service.kept(t, a.id)
	c := a.mustBegin()
	plan := a.answer(c)
	if l.say != nil {
		l.say(a, &plan.statement)
	}
	proof := a.proof(plan)
	if l.send != nil {
		l.send(a, &proof.Evidence)
	}
	_, err := a.complete(c.ID, proof)
	wantCode(t, err, l.code)
	same(t, "after a lie at enrolment", before, a.service.kept(t, a.id))
}

func (l lie) atCheckIn(a *attacker) {
	t := a.t
	t.Helper()
	before := a.service.kept(t, a.id)
	_, err := a.checkIn(func(v *visit) {
		nonce := v.Nonce
		if l.say != nil {
			l.say(a, &v.statement)
		}
		v.after = func(r *api.CheckInRequest) {
			r.Nonce = nonce // whatever was quoted
			if l.send != nil {
				l.send(a, &r.Evidence)
			}
		}
	})
	wantCode(t, err, l.code)
	after := a.service.kept(t, a.id)
	same(t, "after a lie at a check-in", before.withoutAlarm(), after.withoutAlarm())
	alert, open := after.open(fleet.KeyEvidenceRefused)
	if !open || !strings.Contains(alert.Reason, l.code) {
		t.Fatalf("no open alert names %s: %+v", l.code, after.Alerts)
	}
}

func TestAttack_Q1_AttestationOfAnotherType(t *testing.T) {
	t.Parallel()
	refused(t, lie{
		name: "certification", code: "quote_type",
		send: func(a *attacker, e *api.Evidence) {
			var err error
			if e.Quote, e.Signature, err = a.tpm.Certify(a.ak, a.tls, []byte("nonce")); err != nil {
				a.t.Fatal(err)
			}
		},
	}, lie{
		// Made up outside of a TPM and signed by a key that may sign anything.
		name: "forged", code: "signature_invalid",
		send: func(a *attacker, e *api.Evidence) { e.Quote = bytes.Replace(e.Quote, []byte{0xff}, []byte{0xfe}, 1) },
	})
}

func TestAttack_Q2_QuoteOfOtherPCRs(t *testing.T) {
	t.Parallel()
	refused(t, lie{
		name: "fewer", code: "selection_mismatch",
		say: func(_ *attacker, s *statement) { s.selection = map[string][]int{"sha256": {0, 1, 2, 3}} },
	}, lie{
		name: "more", code: "selection_mismatch",
		say: func(_ *attacker, s *statement) {
			s.selection = map[string][]int{"sha256": append(selection()["sha256"], 23)}
		},
	}, lie{
		name: "other bank", code: "selection_mismatch",
		say: func(_ *attacker, s *statement) { s.selection = map[string][]int{"sha384": selection()["sha256"]} },
	}, lie{
		name: "resettable instead of boot", code: "selection_mismatch",
		say: func(_ *attacker, s *statement) {
			s.selection = map[string][]int{"sha256": {16, 23}}
		},
	})
}

func TestAttack_Q2_PCRValuesThatWereNotQuoted(t *testing.T) {
	t.Parallel()
	refused(t, lie{
		name: "value edited", code: "pcr_digest_mismatch",
		send: func(_ *attacker, e *api.Evidence) { e.PCRs["sha256"][4] = strings.Repeat("ab", 32) },
	}, lie{
		name: "value added", code: "pcrs_not_quoted",
		send: func(_ *attacker, e *api.Evidence) { e.PCRs["sha256"][23] = strings.Repeat("00", 32) },
	}, lie{
		name: "value left out", code: "pcrs_missing",
		send: func(_ *attacker, e *api.Evidence) { delete(e.PCRs["sha256"], 4) },
	})
}

func TestAttack_Q3_NonceOfAnotherExchange(t *testing.T) {
	t.Parallel()
	refused(t, lie{
		name: "made up", code: "nonce_mismatch",
		say: func(_ *attacker, s *statement) { s.Nonce = bytes.Repeat([]byte{7}, 32) },
	}, lie{
		name: "for another purpose", code: "nonce_mismatch",
		say: func(_ *attacker, s *statement) { s.Purpose += "x" },
	}, lie{
		name: "for another device", code: "nonce_mismatch",
		say: func(_ *attacker, s *statement) { s.DeviceID = strings.Repeat("0", 64) },
	})
}

func TestAttack_Q5_QuoteByAnotherKey(t *testing.T) {
	t.Parallel()
	refused(t, lie{
		name: "another AK of the same TPM", code: "signature_invalid",
		say: func(a *attacker, s *statement) { s.ak = must(a.tpm.CreateAK())(a.t) },
	}, lie{
		name: "the TLS key", code: "signature_invalid",
		say: func(a *attacker, s *statement) { s.ak = a.tls },
	}, lie{
		name: "signature of another hash", code: "signature_scheme",
		send: func(_ *attacker, e *api.Evidence) { e.Signature[3] = 0x0c }, // TPM_ALG_SHA384
	}, lie{
		name: "no signature", code: "signature_malformed",
		send: func(_ *attacker, e *api.Evidence) { e.Signature = []byte{0} },
	})
}

func TestAttack_Q6_EvidenceEditedAfterQuoting(t *testing.T) {
	t.Parallel()
	refused(t, lie{
		name: "reported state", code: "nonce_mismatch",
		send: func(a *attacker, e *api.Evidence) {
			e.Reported = edited(a.t, e.Reported, map[string]any{"firmware": map[string]string{"version": "9.9.9"}})
		},
	}, lie{
		name: "one blank in the reported state", code: "nonce_mismatch",
		send: func(_ *attacker, e *api.Evidence) { e.Reported = append(e.Reported, ' ') },
	}, lie{
		name: "event log left out", code: "nonce_mismatch",
		send: func(_ *attacker, e *api.Evidence) { e.EventLog = nil },
	}, lie{
		name: "another channel's key", code: "nonce_mismatch",
		say: func(_ *attacker, s *statement) { s.ClientKey = bytes.Clone(s.ClientKey[:len(s.ClientKey)-1]) },
	})
}

func TestAttack_L1_EventLogThatDoesNotHold(t *testing.T) {
	t.Parallel()
	other := otherBoot(t)
	refused(t, lie{
		name: "truncated within an event", code: "event_log_malformed",
		say: func(_ *attacker, s *statement) { s.eventLog = s.eventLog[:len(s.eventLog)-5] },
	}, lie{
		name: "truncated before the last event", code: "event_log_mismatch",
		say: func(_ *attacker, s *statement) { s.eventLog = s.eventLog[:len(s.eventLog)-lastEvent] },
	}, lie{
		name: "truncated after the first event", code: "event_log_not_quoted",
		say: func(_ *attacker, s *statement) { s.eventLog = s.eventLog[:headerSize(s.eventLog)] },
	}, lie{
		name: "of another boot", code: "event_log_mismatch",
		say: func(_ *attacker, s *statement) { s.eventLog = other.EventLog },
	}, lie{
		name: "data of an event edited", code: "event_data_mismatch",
		say: func(_ *attacker, s *statement) {
			s.eventLog = bytes.Replace(s.eventLog, []byte("Exit Boot Services Invocation"), []byte("Exit Boot Services Invention_"), 1)
		},
	}, lie{
		name: "no log at all, but garbage", code: "event_log_malformed",
		say: func(_ *attacker, s *statement) { s.eventLog = bytes.Repeat([]byte("\xff"), 4096) },
	})
}

// lastEvent is the length of a boot's last event (PFP 10.2.2): PCR, type, count,
// three digests with their algorithms, size, data.
const lastEvent = 3*4 + 3*2 + 20 + 32 + 48 + 4 + len("Exit Boot Services Returned with Success")

// headerSize is the length of the log's first event, which is of the format of
// TPM 1.2 (PFP 10.2.1): PCR, type, SHA-1 digest, size, data.
func headerSize(log []byte) int { return 32 + int(log[28]) + int(log[29])<<8 }

func TestAttack_L5_IMAListThatDoesNotHold(t *testing.T) {
	t.Parallel()
	other := otherBoot(t)
	refused(t, lie{
		name: "shorter than the quote", code: "ima_mismatch",
		say: func(_ *attacker, s *statement) {
			s.ima = s.ima[:bytes.LastIndexByte(s.ima[:len(s.ima)-1], '\n')+1]
		},
	}, lie{
		name: "of another boot", code: "ima_mismatch",
		say: func(_ *attacker, s *statement) { s.ima = other.IMA },
	}, lie{
		name: "a file's name edited", code: "ima_malformed",
		say: func(_ *attacker, s *statement) {
			s.ima = bytes.Replace(s.ima, []byte("/usr/sbin/sshd"), []byte("/usr/sbin/sshx"), 1)
		},
	})
}

// The list may run ahead of the quote: what the kernel measured since is left
// for the next one.
func TestIMAListAheadOfTheQuote(t *testing.T) {
	t.Parallel()
	late := otherBoot(t).IMA
	line := late[bytes.LastIndexByte(late[:len(late)-1], '\n')+1:]
	a := borrow(t)
	out, err := a.checkIn(func(v *visit) { v.ima = append(bytes.Clone(v.ima), line...) })
	if err != nil || out.Verdict != "compliant" {
		t.Fatalf("a list that runs ahead is refused: %+v, %v", out, err)
	}
}

// otherBoot are the logs of another image on another TPM.
func otherBoot(t testing.TB) attesttest.BootLogs {
	t.Helper()
	chip := must(maker(t).NewBareTPM(t.Context(), t.TempDir()+"/tpm"))(t)
	if err := chip.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = chip.Close() }()
	link := must(tpm.Open(chip.Spec()))(t)
	defer func() { _ = link.Close() }()
	return must(attesttest.Boot(link, attesttest.PlatformFor(model), attesttest.NewImage(model, "0.9.0")))(t)
}

// A log that the service does not hold is asked for, and a log is what its
// digest says.
func TestLogsByDigest(t *testing.T) {
	t.Parallel()
	a := borrow(t)
	before := a.service.kept(t, a.id)
	_, err := a.checkIn(func(v *visit) {
		v.eventLog = append(bytes.Clone(v.eventLog), 0)
		v.after = func(r *api.CheckInRequest) { r.Evidence.EventLog.Content = nil }
	})
	wantCode(t, err, "log_required")
	_, err = a.checkIn(func(v *visit) {
		v.after = func(r *api.CheckInRequest) { r.Evidence.IMA.SHA256 = hex.EncodeToString(bytes.Repeat([]byte{1}, 32)) }
	})
	wantCode(t, err, "log_digest_mismatch")
	same(t, "after wrong digests", before, a.service.kept(t, a.id))
	out, err := a.checkIn(func(v *visit) {
		v.after = func(r *api.CheckInRequest) { r.Evidence.EventLog.Content, r.Evidence.IMA.Content = nil, nil }
	})
	if err != nil || out.Verdict != "compliant" {
		t.Fatalf("logs that the service holds are not found: %v, %v", out, err)
	}
}
