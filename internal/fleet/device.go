package fleet

import (
	"regexp"
	"time"
)

// DeviceID is the lower-case hexadecimal SHA-256 of the public area of the
// device's endorsement key: one TPM is one device.
type DeviceID string

var deviceID = regexp.MustCompile(`^[0-9a-f]{64}$`)

// Valid reports whether the id has the form of a device id.
func (id DeviceID) Valid() bool { return deviceID.MatchString(string(id)) }

// Short is the first twelve digits, for people.
func (id DeviceID) Short() string {
	if len(id) < 12 {
		return string(id)
	}
	return string(id[:12])
}

// Lifecycle is where a device stands between its registration and its end.
type Lifecycle string

// The states of a device's life.
const (
	Pending     Lifecycle = "pending"     // registered, has never enrolled
	Active      Lifecycle = "active"      // enrolled
	Quarantined Lifecycle = "quarantined" // enrolled; access and renewal are refused
	Retired     Lifecycle = "retired"     // for ever
)

// Verdict is what the service holds of a device's compliance. Only Compliant
// ever passes.
type Verdict string

// The verdicts.
const (
	Compliant    Verdict = "compliant"
	Noncompliant Verdict = "noncompliant"
	Undecided    Verdict = "error"   // could not be decided
	Unknown      Verdict = "unknown" // no fresh posture
)

// Presence says whether a device keeps its appointments.
type Presence string

// The presences.
const (
	Online  Presence = "online"
	Offline Presence = "offline"
)

// Clock is what a TPM last said about its own time (TPMS_CLOCK_INFO, TPM 2.0
// Library part 2, section 10.11.1).
type Clock struct {
	ResetCount   uint32 `json:"reset_count"`
	RestartCount uint32 `json:"restart_count"`
	Clock        uint64 `json:"clock"` // milliseconds
	Safe         bool   `json:"safe"`
}

// Device is one TPM and what the service knows of the machine around it.
type Device struct {
	ID              DeviceID
	Name            string // unique among devices that are not retired; empty: none
	Model           string // hardware model
	Labels          map[string]string
	Lifecycle       Lifecycle
	LifecycleReason string
	LifecycleAt     time.Time
	RegisteredAt    time.Time // zero if nobody registered it beforehand
	EnrolledAt      time.Time // zero while pending
	Manufacturer    string    // whose root the EK certificate led to; empty: none
	EKPublic        []byte    // TPMT_PUBLIC
	EKCertificate   []byte    // DER; nil if the TPM has none
	EKKey           string    // ek.KeyID, unique: no two devices share an EK's key; empty: not known
	DevID           DevID     // what the manufacturer certified beside the EK
	AKPublic        []byte    // TPMT_PUBLIC of the attestation key in force
	TLSPublic       []byte    // PKIX SPKI of the TLS key in force

	Verdict         Verdict
	VerdictAt       time.Time // when the verdict was last reached
	VerdictSince    time.Time // since when it has been this one
	FreshUntil      time.Time // after this instant the verdict is no longer believed
	LastSeen        time.Time
	NextCheckIn     time.Time // when it said it would come back
	LastNonce       int64     // issue time (microseconds, Unix) of the last nonce it used up
	FirmwareVersion string    // proven by PCRs; empty: matches no published release
	FirmwareCounter uint64
	Clock           Clock

	Revision int64 // of the stored row; 0: not stored yet
}

// Believed is the verdict that may be acted on at the instant now: a verdict
// past its freshness is Unknown, whether or not a sweep has noticed yet.
func (d Device) Believed(now time.Time) Verdict {
	if d.Verdict == "" || now.After(d.FreshUntil) {
		return Unknown
	}
	return d.Verdict
}

// PresenceAt says whether the device kept its last appointment, with the grace
// of one more interval.
func (d Device) PresenceAt(now time.Time) Presence {
	if d.LastSeen.IsZero() {
		return Offline
	}
	if now.After(d.NextCheckIn.Add(d.NextCheckIn.Sub(d.LastSeen))) {
		return Offline
	}
	return Online
}

// Register makes a pending device known before it has ever been seen.
func Register(id DeviceID, name, model string, labels map[string]string, now time.Time) (Device, error) {
	if !id.Valid() {
		return Device{}, Errorf(Invalid, "invalid_ek_hash", "an EK hash has 64 lower-case hexadecimal digits, not %q", string(id))
	}
	return Device{
		ID: id, Name: name, Model: model, Labels: labels,
		Lifecycle: Pending, LifecycleAt: now, RegisteredAt: now, LifecycleReason: "registered",
		Verdict: Unknown, VerdictSince: now,
	}, nil
}

// Quarantine refuses the device access and renewal until it is released.
// Quarantining it again changes nothing.
func (d Device) Quarantine(reason string, now time.Time) (Device, error) {
	switch d.Lifecycle {
	case Quarantined:
		return d, nil
	case Active:
		return d.move(Quarantined, reason, now), nil
	default:
		return d, d.wrongState("quarantined")
	}
}

// Release ends a quarantine.
func (d Device) Release(reason string, now time.Time) (Device, error) {
	if d.Lifecycle != Quarantined {
		return d, d.wrongState("released")
	}
	return d.move(Active, reason, now), nil
}

// Retire ends a device's life. Retiring it again changes nothing.
func (d Device) Retire(reason string, now time.Time) (Device, error) {
	if d.Lifecycle == Retired {
		return d, nil
	}
	d.Verdict, d.VerdictSince, d.FreshUntil = Unknown, now, time.Time{}
	return d.move(Retired, reason, now), nil
}

// Expire gives up a verdict that is no longer fresh.
func (d Device) Expire(now time.Time) (Device, bool) {
	if d.Lifecycle != Active && d.Lifecycle != Quarantined {
		return d, false
	}
	if d.Verdict == Unknown || !now.After(d.FreshUntil) {
		return d, false
	}
	d.Verdict, d.VerdictSince = Unknown, now
	return d, true
}

func (d Device) move(to Lifecycle, reason string, now time.Time) Device {
	d.Lifecycle, d.LifecycleReason, d.LifecycleAt = to, reason, now
	return d
}

func (d Device) wrongState(wish string) error {
	return Errorf(Conflict, "wrong_lifecycle", "device %s is %s and cannot be %s", d.ID.Short(), d.Lifecycle, wish)
}
