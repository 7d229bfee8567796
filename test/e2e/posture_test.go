package e2e

import (
	"bytes"
	"net/http"
	"os"
	"strings"
	"testing"

	"troth/attest/attesttest"
	"troth/internal/api"
	"troth/internal/fleet"
)

func TestAttack_Q3_ReplayedNonce(t *testing.T) {
	t.Parallel()
	a := borrow(t)
	if a.nonce == nil {
		t.Fatal("the last check-in gave no nonce")
	}
	var used api.CheckInRequest
	_, err := a.checkIn(func(v *visit) { v.after = func(r *api.CheckInRequest) { used = *r } })
	if err != nil {
		t.Fatal(err)
	}
	before := a.service.kept(t, a.id)
	_, err = a.send(used) // the very request again
	wantCode(t, err, "nonce_replayed")
	_, err = a.checkIn(func(v *visit) { v.Nonce = used.Nonce }) // fresh evidence over a used nonce
	wantCode(t, err, "nonce_replayed")
	same(t, "after a replay", before, a.service.kept(t, a.id))

	// An older nonce that was never used does not outlive a later one that was.
	older := must(a.ask())(t).Nonce
	a.mustCheckIn("compliant")
	before = a.service.kept(t, a.id)
	_, err = a.checkIn(func(v *visit) { v.Nonce = older })
	wantCode(t, err, "nonce_replayed")
	same(t, "after an old nonce", before, a.service.kept(t, a.id))
}

func TestAttack_Q3_NonceThatIsNotOurs(t *testing.T) {
	t.Parallel()
	a, b := borrow(t), newAttacker(t, everyones(t))
	b.enroll()
	before := a.service.kept(t, a.id)
	fresh := must(a.ask())(t).Nonce
	for name, nonce := range map[string][]byte{
		"of another device": must(b.ask())(t).Nonce,
		"one bit changed":   append([]byte{fresh[0] ^ 1}, fresh[1:]...),
		"time moved":        append(bytes.Repeat([]byte{0x7f}, 8), fresh[8:]...),
		"cut":               fresh[:len(fresh)-1],
		"one byte":          {0},
	} {
		if _, err := a.checkIn(func(v *visit) { v.Nonce = nonce }); api.CodeOf(err) != "nonce_invalid" {
			t.Errorf("nonce %s: %v", name, err)
		}
	}
	same(t, "after foreign nonces", before, a.service.kept(t, a.id))
}

// A good device that quotes for a bad one: what it signs names neither the bad
// one's nonce, nor its key, nor is it signed by its AK.
func TestAttack_Q6_EvidenceRelayedOverAnotherConnection(t *testing.T) {
	t.Parallel()
	good, bad := borrow(t), newAttacker(t, everyones(t))
	bad.enroll()
	bad.mustCheckIn("compliant")
	goodBefore, badBefore := good.service.kept(t, good.id), bad.service.kept(t, bad.id)

	// Honest evidence of the good device, over the bad one's connection.
	honest := api.CheckInRequest{Nonce: good.nonce, Evidence: good.quote(good.statement("checkin", good.nonce, selection()))}
	_, err := bad.send(honest)
	wantCode(t, err, "nonce_invalid")

	// The good device in league with the bad one: it quotes over the bad one's
	// nonce and names the bad one, as well as it can.
	nonce := must(bad.ask())(t).Nonce
	for name, claim := range map[string]func(*statement){
		"as itself":          func(*statement) {},
		"as the bad one":     func(s *statement) { s.DeviceID = bad.id },
		"with the bad's key": func(s *statement) { s.DeviceID, s.ClientKey = bad.id, bad.clientKey() },
	} {
		s := good.statement("checkin", nonce, selection())
		claim(&s)
		if _, err := bad.send(api.CheckInRequest{Nonce: nonce, Evidence: good.quote(s)}); api.CodeOf(err) != "signature_invalid" {
			t.Errorf("relayed %s: %v", name, err)
		}
	}
	same(t, "of the device that relays", badBefore.withoutAlarm(), bad.service.kept(t, bad.id).withoutAlarm())
	same(t, "of the device that is relayed", goodBefore, good.service.kept(t, good.id))
	good.mustCheckIn("compliant")
	bad.mustCheckIn("compliant")
}

// A credential taken from one device is of no use without the TPM that holds
// its key, and with another device's key it is not a credential.
func TestAttack_Q6_CertificateOfAnotherDevice(t *testing.T) {
	t.Parallel()
	victim, thief := borrow(t), newAttacker(t, everyones(t))
	before := victim.service.kept(t, victim.id)
	if err := thief.present(victim.credential).Do(t.Context(), http.MethodPost, api.PathNonce, nil, nil); err == nil || api.CodeOf(err) != "" {
		t.Fatalf("TLS accepts a certificate without its key: %v", err)
	}
	err := thief.anyone.Do(t.Context(), http.MethodPost, api.PathNonce, nil, nil)
	wantCode(t, err, "certificate_required")
	same(t, "of the device whose certificate was stolen", before, victim.service.kept(t, victim.id))
}

// An old state of a TPM put back: its counters go back.
func TestAttack_Q7_TPMStateRolledBack(t *testing.T) {
	t.Parallel()
	s := everyones(t)
	a := newAttacker(t, s)
	a.enroll()
	a.mustCheckIn("compliant")
	state, saved := a.dir, t.TempDir()
	if err := a.chip.PowerOff(); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(saved, os.DirFS(state)); err != nil {
		t.Fatal(err)
	}
	a.boot(factory)
	a.mustCheckIn("compliant")
	a.boot(factory)
	a.mustCheckIn("compliant")
	if err := a.chip.PowerOff(); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(state+".old", os.DirFS(saved)); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(state); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(state+".old", state); err != nil {
		t.Fatal(err)
	}
	a.boot(factory)
	a.mustCheckIn("noncompliant")
	if _, found := a.failing()["clock-monotonic"]; !found {
		t.Fatalf("the reset count went back and no control says so: %v", a.failing())
	}
	if _, open := s.kept(t, a.id).open("control:clock-monotonic"); !open {
		t.Fatal("no alert is open")
	}
}

// A measurement that no log tells of.
func TestAttack_L3_UnexplainedPCR(t *testing.T) {
	t.Parallel()
	s := everyones(t)
	a := newAttacker(t, s)
	a.enroll()
	a.mustCheckIn("compliant")
	extend(t, a, 12)
	a.mustCheckIn("noncompliant")
	if reason := a.failing()["no-unexplained-pcrs"]; !strings.Contains(reason, "12") {
		t.Fatalf("PCR 12 is not named: %v", a.failing())
	}
	if yes, code := s.may(t, a.id); yes || code != "device_noncompliant" {
		t.Fatalf("/authz says %v, %s", yes, code)
	}
	a.boot(factory)
	a.mustCheckIn("compliant")
	if k := s.kept(t, a.id); len(k.Alerts) != 1 || k.Alerts[0].State != fleet.AlertResolved {
		t.Fatalf("one resolved alert should be left: %+v", k.Alerts)
	}
}

// A PCR that the log covers, extended once more: the log does not lead there.
func TestAttack_L3_PCRExtendedBeyondTheLog(t *testing.T) {
	t.Parallel()
	s := everyones(t)
	a := newAttacker(t, s)
	a.enroll()
	a.mustCheckIn("compliant")
	before := s.kept(t, a.id)
	extend(t, a, 4)
	_, err := a.checkIn()
	wantCode(t, err, "event_log_mismatch")
	same(t, "after a log that falls short", before.withoutAlarm(), s.kept(t, a.id).withoutAlarm())
	// Without logs the quote verifies, and the verdict is no.
	out := must(a.checkIn(func(v *visit) { v.eventLog, v.ima = nil, nil }))(t)
	if out.Verdict != "noncompliant" || out.Lifecycle != "quarantined" {
		t.Fatalf("verdict %s, lifecycle %s", out.Verdict, out.Lifecycle)
	}
}

// A device with an altered boot loader is caught, quarantined, refused, and may
// still check in; only a person lets it back.
func TestAlteredBootLoader(t *testing.T) {
	t.Parallel()
	s := everyones(t)
	a, neighbour := newAttacker(t, s), borrow(t)
	a.enroll()
	a.mustCheckIn("compliant")
	if yes, code := s.may(t, a.id); !yes {
		t.Fatalf("before: %s", code)
	}
	a.powerCycle()
	image := attesttest.NewImage(model, factory)
	image.BootLoader = append(bytes.Clone(image.BootLoader), "implant"...)
	a.logs = must(attesttest.Boot(a.link, attesttest.PlatformFor(model), image))(t)
	out := a.mustCheckIn("noncompliant")
	if out.Lifecycle != "quarantined" || out.Firmware != "" {
		t.Fatalf("lifecycle %s, firmware %q", out.Lifecycle, out.Firmware)
	}
	a.mustCheckIn("noncompliant")
	k := s.kept(t, a.id)
	if alert, open := k.open("control:firmware-known"); !open || alert.Count != 1 || len(k.Alerts) != 1 {
		t.Fatalf("one alert, once, is wanted: %+v", k.Alerts)
	}
	a.refusedInQuarantine()
	neighbour.mustCheckIn("compliant")

	// Mended: compliant again, and still quarantined.
	a.boot(factory)
	a.mustCheckIn("compliant")
	a.refusedInQuarantine()
	s.move(t, a.id, "release")
	a.mustCheckIn("compliant")
	a.hold(must(a.renew())(t)) // the old certificate is revoked for others
	if yes, code := s.may(t, a.id); !yes {
		t.Fatalf("released: %s", code)
	}
}

// refusedInQuarantine tries what a quarantined device may not do.
func (a *attacker) refusedInQuarantine() {
	a.t.Helper()
	if yes, code := a.service.may(a.t, a.id); yes || code != "device_quarantined" {
		a.t.Fatalf("/authz says %v, %s", yes, code)
	}
	before := a.service.kept(a.t, a.id)
	_, err := a.renew()
	wantCode(a.t, err, "renewal_refused")
	after := a.service.kept(a.t, a.id)
	same(a.t, "of a quarantined device", []any{before.Device, len(before.Certificates)}, []any{after.Device, len(after.Certificates)})
	// It may attest anew, which lifts nothing and gives it nothing that others accept.
	a.enroll()
	after = a.service.kept(a.t, a.id)
	if d := after.Device; d.Lifecycle != fleet.Quarantined || d.LifecycleReason != before.Device.LifecycleReason || len(after.live()) > 0 {
		a.t.Fatalf("an enrolment in quarantine: %s because %q, in force %v", d.Lifecycle, d.LifecycleReason, after.live())
	}
	if yes, code := a.service.may(a.t, a.id); yes || code != "device_quarantined" {
		a.t.Fatalf("after an enrolment /authz says %v, %s", yes, code)
	}
}

// A good device stays compliant while its neighbour sends garbage.
func TestAttack_S2_GarbageOfANeighbour(t *testing.T) {
	t.Parallel()
	good, bad := borrow(t), newAttacker(t, everyones(t))
	bad.enroll()
	codes := map[string]bool{}
	for i := range 60 {
		junk := bytes.Repeat([]byte{byte(i), 0xff, 0x80, 0x00}, 200*(i%5+1))
		_, err := bad.checkIn(func(v *visit) {
			v.after = func(r *api.CheckInRequest) {
				switch i % 6 {
				case 0:
					r.Evidence.Quote = junk
				case 1:
					r.Evidence.Signature = junk[:800]
				case 2:
					r.Evidence.Reported = junk
				case 3:
					r.Evidence.EventLog, _ = wireLog(junk)
				case 4:
					r.Evidence.PCRs = api.PCRs{"sha256": {99: "zz"}, string(junk[:9]): {}}
				case 5:
					r.Nonce = junk[:200]
				}
			}
		})
		code := api.CodeOf(err)
		if code == "" || code == "internal" {
			t.Fatalf("garbage of kind %d: %v", i%6, err)
		}
		codes[code] = true
		if i%20 == 0 {
			good.mustCheckIn("compliant")
		}
	}
	if len(codes) < 5 {
		t.Errorf("all garbage gets the same few answers: %v", codes)
	}
	good.mustCheckIn("compliant")
	if yes, code := good.service.may(t, good.id); !yes {
		t.Fatalf("the good device may nothing: %s", code)
	}
	k := bad.service.kept(t, bad.id)
	if alert, open := k.open(fleet.KeyEvidenceRefused); !open || len(k.Alerts) != 1 || alert.Count < 2 {
		t.Fatalf("one alert that counts is wanted: %+v", k.Alerts)
	}
}
