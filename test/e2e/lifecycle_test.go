package e2e

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"troth/internal/api"
	"troth/internal/fleet"
)

func TestQuarantinedByAPerson(t *testing.T) {
	t.Parallel()
	s := everyones(t)
	a := newAttacker(t, s)
	a.enroll()
	a.mustCheckIn("compliant")
	s.move(t, a.id, "quarantine")
	a.refusedInQuarantine()
	a.mustCheckIn("compliant") // it may still prove that it is well
	a.refusedInQuarantine()
	s.move(t, a.id, "release")
	a.mustCheckIn("compliant")
	a.hold(must(a.renew())(t)) // the old certificate is revoked for others
	if yes, code := s.may(t, a.id); !yes {
		t.Fatalf("released: %s", code)
	}
}

func TestRetired(t *testing.T) {
	t.Parallel()
	s := everyones(t)
	a := newAttacker(t, s)
	a.enroll()
	a.mustCheckIn("compliant")
	extend(t, a, 13)
	a.mustCheckIn("noncompliant") // leaves an open alert
	c := a.mustBegin()            // and an open challenge
	proof := a.proof(a.answer(c))
	s.move(t, a.id, "retire")

	k := s.kept(t, a.id)
	if len(k.live()) > 0 || k.in("revoked") != 1 {
		t.Fatalf("certificates of a retired device live: %+v", k.Certificates)
	}
	for _, alert := range k.Alerts {
		if alert.State != fleet.AlertResolved {
			t.Fatalf("an alert about a retired device is open: %+v", alert)
		}
	}
	if yes, code := s.may(t, a.id); yes || code != "certificate_revoked" {
		t.Fatalf("/authz says %v, %s", yes, code)
	}
	_, err := a.checkIn()
	wantCode(t, err, "certificate_revoked")
	_, err = a.renew()
	wantCode(t, err, "certificate_revoked")
	err = a.client.Do(t.Context(), http.MethodGet, api.PathTUF+"metadata/1.root.json", nil, nil)
	wantCode(t, err, "certificate_revoked")
	_, err = a.complete(c.ID, proof)
	wantCode(t, err, "device_retired")
	k.Challenges = 0 // answered, in vain
	same(t, "of a retired device", k, s.kept(t, a.id))
	_, err = a.tryEnroll()
	wantCode(t, err, "device_retired")
	for _, action := range []string{"release", "quarantine"} {
		err := s.admin.Do(t.Context(), http.MethodPost, api.Path(api.PathDeviceAction, a.id, action), api.ReasonRequest{Reason: "come back"}, nil)
		wantCode(t, err, "wrong_lifecycle")
	}
	same(t, "of a retired device", k, s.kept(t, a.id))

	// Its name is free again.
	other := newAttacker(t, s)
	other.name = a.name
	other.enroll()
}

// A stranger and a device cannot act as an operator.
func TestAttack_S1_OperatorRoutesWithoutToken(t *testing.T) {
	t.Parallel()
	a := borrow(t)
	before := a.service.kept(t, a.id)
	for name, client := range map[string]*api.Client{"nobody": a.anyone, "a device": a.client} {
		for _, path := range []string{api.PathDevices, api.PathAuthz + "?device=" + a.id + "&action=x"} {
			var p *api.Problem
			err := client.Do(t.Context(), http.MethodGet, path, nil, nil)
			if !errors.As(err, &p) || p.Status != http.StatusUnauthorized {
				t.Errorf("GET %s by %s: %v", path, name, err)
			}
		}
		err := client.Do(t.Context(), http.MethodPost, api.Path(api.PathDeviceAction, a.id, "retire"), api.ReasonRequest{Reason: "x"}, nil)
		if api.CodeOf(err) == "" {
			t.Fatalf("%s retired a device: %v", name, err)
		}
	}
	same(t, "after calls without a token", before, a.service.kept(t, a.id))
}

// A device that falls silent is no longer believed by the deadline, people are
// told once, and its return settles it.
func TestAttack_Q4_SilentDevice(t *testing.T) {
	t.Parallel()
	s := newService(t, quick)
	a := newAttacker(t, s)
	a.enroll()
	a.mustCheckIn("compliant")
	said := time.Now()
	eventually(t, 10*time.Second, "the silent device is unknown, and an alert is open", func() (string, bool) {
		d := s.device(t, a.id)
		alert, open := s.kept(t, a.id).open(fleet.KeySilent)
		if d.Verdict != "compliant" && time.Since(said) < 2*time.Second {
			t.Fatalf("the verdict lapsed before its time: %s", d.Verdict)
		}
		return d.Verdict + ", " + d.Presence, d.Verdict == "unknown" && d.Presence == "offline" && open && alert.Count == 1
	})
	if yes, code := s.may(t, a.id); yes || code != "verdict_unknown" {
		t.Fatalf("/authz says %v, %s", yes, code)
	}
	_, err := a.renew()
	wantCode(t, err, "renewal_refused")
	time.Sleep(2 * time.Second) // two more sweeps
	if k := s.kept(t, a.id); len(k.Alerts) != 1 || k.Alerts[0].Count != 1 || k.Device.Verdict != fleet.Unknown {
		t.Fatalf("one alert, once, is wanted: %+v", k.Alerts)
	}
	a.mustCheckIn("compliant")
	if _, open := s.kept(t, a.id).open(fleet.KeySilent); open {
		t.Fatal("the device is back, and the alert is still open")
	}
	if yes, code := s.may(t, a.id); !yes {
		t.Fatalf("back: %s", code)
	}
}
