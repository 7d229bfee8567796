package posture_test

import (
	"crypto/sha256"
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"

	"troth/attest/attesttest"
	"troth/internal/evidence"
	"troth/internal/fleet"
)

// extend has somebody measure something into a PCR that no log tells of.
func (r *rig) extend(pcr int, what string) {
	r.t.Helper()
	sum := sha256.Sum256([]byte(what))
	_, err := tpm2.PCRExtend{
		PCRHandle: tpm2.AuthHandle{Handle: tpm2.TPMHandle(pcr), Auth: tpm2.PasswordAuth(nil)},
		Digests:   tpm2.TPMLDigestValues{Digests: []tpm2.TPMTHA{{HashAlg: tpm2.TPMAlgSHA256, Digest: sum[:]}}},
	}.Execute(machine.channel)
	if err != nil {
		r.t.Fatal(err)
	}
}

// keptEvidence is what the device's posture names, after a check-in.
func (r *rig) keptEvidence() (digest string, d evidence.Document) {
	r.t.Helper()
	r.clock = r.clock.Add(5 * time.Minute)
	if _, err := r.checkIn(); err != nil {
		r.t.Fatal(err)
	}
	p, err := r.store.Posture(r.t.Context(), r.device)
	if err != nil {
		r.t.Fatal(err)
	}
	content, err := r.store.Blob(r.t.Context(), p.Evidence)
	if err != nil {
		r.t.Fatal(err)
	}
	if err := json.Unmarshal(content, &d); err != nil {
		r.t.Fatal(err)
	}
	return p.Evidence, d
}

// What is kept shows the device as it is: another boot under the same outcomes is
// kept anew. The same boot again is not, nor a list that grew.
func TestAnotherBootIsKept(t *testing.T) {
	image := good()
	image.BootLoader = append([]byte("one bootkit"), image.BootLoader...)
	r := newRig(t, image)
	r.must(fleet.Noncompliant)
	first, one := r.keptEvidence()
	if again, _ := r.keptEvidence(); again != first {
		t.Error("the same boot was kept twice")
	}
	r.measure("a", "b")
	if again, _ := r.keptEvidence(); again != first {
		t.Error("an IMA list that grew was kept under the same outcomes")
	}
	r.logs = boot(t, image)
	if again, _ := r.keptEvidence(); again != first {
		t.Error("the same boot loader was kept again after a reboot")
	}
	image.BootLoader = append([]byte("another bootkit"), good().BootLoader...)
	r.logs = boot(t, image)
	decisions := r.stored().decisions
	second, two := r.keptEvidence()
	if second == first || two.PCRs["sha256"][4] == one.PCRs["sha256"][4] {
		t.Error("another boot loader under the same outcomes was not kept")
	}
	if n := r.stored().decisions; n <= decisions {
		t.Error("the decision on it was not kept")
	}
	if again, _ := r.keptEvidence(); again != second {
		t.Error("it was kept twice")
	}
	r.logs = boot(t, attesttest.NewImage(model, "1.0.0")) // for the tests that follow
}

// A PCR that no log explains may change again and again under one outcome.
func TestAnotherMeasurementIsKept(t *testing.T) {
	r := newRig(t, good())
	r.must(fleet.Compliant)
	r.extend(12, "something")
	first, one := r.keptEvidence()
	r.extend(12, "something else")
	second, two := r.keptEvidence()
	if second == first || one.PCRs["sha256"][12] == two.PCRs["sha256"][12] {
		t.Error("other values of a PCR were not kept")
	}
}

// The log may change where the quoted values do not: events of PCRs that are not
// quoted, and words that were not measured.
func TestAnotherEventLogIsKept(t *testing.T) {
	r := newRig(t, good())
	r.must(fleet.Compliant)
	first, one := r.keptEvidence()
	unmeasured := []byte{0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 'n', 'e', 'w', 0} // EV_NO_ACTION
	r.logs.EventLog = append(r.logs.EventLog, unmeasured...)
	second, two := r.keptEvidence()
	if second == first || one.EventLog == two.EventLog {
		t.Error("another event log was not kept")
	}
}
