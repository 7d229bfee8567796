package policy

import (
	"encoding/json"
	"fmt"
	"time"
)

// Input is the facts behind one decision: an EnrollInput, RenewInput, PostureInput,
// AccessInput, RemediateInput or OperatorInput.
type Input interface {
	kind() Kind
	at() time.Time
	evidence() string
	normal() any // a copy with one spelling for each meaning
}

// EnrollInput asks whether a device may have a certificate.
type EnrollInput struct {
	Now                 time.Time        `json:"now"`
	Evidence            string           `json:"evidence"` // SHA-256 of the evidence, hexadecimal
	Device              DeviceInput      `json:"device"`
	EK                  EKInput          `json:"ek"`
	IDevID              IDevIDInput      `json:"idevid"`
	Registered          bool             `json:"registered"`           // the EK's hash was registered beforehand
	RequireRegistration bool             `json:"require_registration"` // the service enrols registered devices only
	Attestation         AttestationInput `json:"attestation"`
}

// RenewInput asks whether a device may have a new certificate for the one that
// it shows.
type RenewInput struct {
	Now         time.Time          `json:"now"`
	Evidence    string             `json:"evidence"` // SHA-256 of the evidence behind the verdict, hexadecimal; empty: none
	Device      DeviceInput        `json:"device"`
	Verdict     string             `json:"verdict"`     // compliant, noncompliant, error, unknown (also: stale)
	VerdictAge  float64            `json:"verdict_age"` // seconds since it was reached
	Failing     []string           `json:"failing"`     // ids of the controls that the last posture fails, sorted
	Certificate RenewedCertificate `json:"certificate"`
	NewKey      bool               `json:"new_key"` // the request brings a new key, certified by the AK
}

// RenewedCertificate is the certificate that is to be renewed.
type RenewedCertificate struct {
	NotBefore  time.Time `json:"not_before"`
	NotAfter   time.Time `json:"not_after"`
	Restricted bool      `json:"restricted"` // it was good for the device routes alone: the device was in quarantine
	KeyAge     float64   `json:"key_age"`    // seconds since the service first saw its key
	RotateKey  bool      `json:"rotate_key"` // an operator wants the key replaced
}

// DeviceInput is what the service holds of a device.
type DeviceInput struct {
	ID        string            `json:"id"`
	Name      string            `json:"name"`
	Model     string            `json:"model"` // hardware model
	Labels    map[string]string `json:"labels"`
	Lifecycle string            `json:"lifecycle"` // empty (never seen), pending, active, quarantined, retired
	Firmware  string            `json:"firmware"`  // version proven by PCRs; empty: none
}

// EKInput is how the endorsement key is vouched for.
type EKInput struct {
	Certificate  bool   `json:"certificate"`  // the device showed an EK certificate
	Verified     bool   `json:"verified"`     // it leads to a trusted manufacturer
	Manufacturer string `json:"manufacturer"` // the name of that manufacturer's root
	Problem      string `json:"problem"`      // code of why it is not verified (package attest/ek)
}

// IDevIDInput is what the device's manufacturer certified beside the EK: an IDevID
// or IAK in the same TPM.
type IDevIDInput struct {
	Given        bool   `json:"given"`        // the device showed one
	Verified     bool   `json:"verified"`     // it leads to a trusted manufacturer, and its key is in the TPM of the EK
	Kind         string `json:"kind"`         // idevid, iak; empty: none that can be read
	Manufacturer string `json:"manufacturer"` // the name of that manufacturer's root
	Serial       string `json:"serial"`       // of the device, in the manufacturer's words
	Model        string `json:"model"`        // likewise
	Problem      string `json:"problem"`      // code of why it is not verified (packages attest/idevid, attest)
}

// FirmwareInput compares the proven firmware with what was published for the
// device's model.
type FirmwareInput struct {
	Known                 bool   `json:"known"`          // the PCRs match a published release
	Version               string `json:"version"`        // of that release
	Counter               uint64 `json:"counter"`        // of that release
	Reported              string `json:"reported"`       // version in the device's own words
	Mismatches            []int  `json:"mismatches"`     // PCRs that differ from the release it should be
	LatestVersion         string `json:"latest_version"` // empty: nothing published for the model
	LatestCounter         uint64 `json:"latest_counter"`
	LatestSecurityCounter uint64 `json:"latest_security_counter"` // highest of a security release; zero: none

	Vulnerabilities ReleaseVulnerabilitiesInput `json:"vulnerabilities"` // of the proven release
}

// UpdateInput is where the device's last update stands, in its own words.
type UpdateInput struct {
	State   string `json:"state"` // empty: none
	Version string `json:"version"`
	Error   string `json:"error"`
}

// PreviousInput is what the posture before this one said. The zero value: there
// was none.
type PreviousInput struct {
	Clock   ClockInput `json:"clock"`
	Verdict string     `json:"verdict"`
}

// CertificateInput is the client certificate that the device used.
type CertificateInput struct {
	NotBefore time.Time `json:"not_before,omitzero"`
	NotAfter  time.Time `json:"not_after,omitzero"`
	KeySince  time.Time `json:"key_since,omitzero"` // when the service first saw its key
}

// EndorsementInput is who vouched for the device when it enrolled.
type EndorsementInput struct {
	Known        bool   `json:"known"`
	Manufacturer string `json:"manufacturer"` // the name of the root that the EK certificate led to; empty: none
	DevID        string `json:"devid"`        // idevid, iak: the device's manufacturer certified it in the same TPM; empty: it did not
}

// PostureInput asks for the verdict on a device.
type PostureInput struct {
	Now          time.Time            `json:"now"`
	Evidence     string               `json:"evidence"` // SHA-256 of the evidence, hexadecimal
	Device       DeviceInput          `json:"device"`
	Attestation  AttestationInput     `json:"attestation"`
	Firmware     FirmwareInput        `json:"firmware"`
	Reported     map[string]any       `json:"reported"` // the device's own words: hostile
	Host         HostInput            `json:"host"`     // likewise, in a known form
	Update       UpdateInput          `json:"update"`
	Previous     PreviousInput        `json:"previous"`
	FailingSince map[string]time.Time `json:"failing_since"` // control id to first failure, of the posture before
	Certificate  CertificateInput     `json:"certificate"`
	Endorsement  EndorsementInput     `json:"endorsement"`
}

// AccessInput asks whether a device may do something.
type AccessInput struct {
	Now                time.Time   `json:"now"`
	Device             DeviceInput `json:"device"`
	Presence           string      `json:"presence"`    // online, offline
	Verdict            string      `json:"verdict"`     // compliant, noncompliant, error, unknown
	VerdictAge         float64     `json:"verdict_age"` // seconds since it was reached
	Action             string      `json:"action"`
	Resource           string      `json:"resource"`
	CertificateRevoked bool        `json:"certificate_revoked"`
}

// RemediateInput asks what to do about a posture. Controls are those of a
// PostureDecision, unchanged.
type RemediateInput struct {
	Now      time.Time       `json:"now"`
	Evidence string          `json:"evidence"`
	Device   DeviceInput     `json:"device"`
	Verdict  string          `json:"verdict"`
	Controls []ControlResult `json:"controls"`
	Firmware FirmwareInput   `json:"firmware"`
}

// OperatorInput asks whether an operator may do something. Now may be left out.
type OperatorInput struct {
	Now      time.Time `json:"now,omitzero"`
	Operator string    `json:"operator"`
	Role     string    `json:"role"`     // admin, security, operator, auditor, viewer, proxy
	Action   string    `json:"action"`   // noun and verb: device.list
	Resource string    `json:"resource"` // id of what is acted on, or empty
	// Scope is the labels that a device must have for the operator to see it or act
	// on it; empty: the whole fleet.
	Scope  map[string]string `json:"scope"`
	Device OperatorDevice    `json:"device"` // what the action is about, if it is one device
}

// OperatorDevice is the device that an operator's action is about.
type OperatorDevice struct {
	ID     string            `json:"id"` // empty: it is not about one device, or there is no such device
	Labels map[string]string `json:"labels"`
}

// Document is the canonical JSON of an input, the exact bytes that are
// evaluated and whose SHA-256 is Meta.Input: fields in the order of their
// declaration, keys of maps sorted, instants in UTC, no null for what is empty.
func Document(in Input) ([]byte, error) {
	if in.at().IsZero() && in.kind() != KindOperator {
		return nil, fmt.Errorf("%w: now is not set", ErrInput)
	}
	document, err := json.Marshal(in.normal())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInput, err)
	}
	return document, nil
}

func (in EnrollInput) kind() Kind    { return KindEnroll }
func (in RenewInput) kind() Kind     { return KindRenew }
func (in PostureInput) kind() Kind   { return KindPosture }
func (in AccessInput) kind() Kind    { return KindAccess }
func (in RemediateInput) kind() Kind { return KindRemediate }
func (in OperatorInput) kind() Kind  { return KindOperator }

func (in EnrollInput) at() time.Time    { return in.Now }
func (in RenewInput) at() time.Time     { return in.Now }
func (in PostureInput) at() time.Time   { return in.Now }
func (in AccessInput) at() time.Time    { return in.Now }
func (in RemediateInput) at() time.Time { return in.Now }
func (in OperatorInput) at() time.Time  { return in.Now }

func (in EnrollInput) evidence() string    { return in.Evidence }
func (in RenewInput) evidence() string     { return in.Evidence }
func (in PostureInput) evidence() string   { return in.Evidence }
func (in AccessInput) evidence() string    { return "" }
func (in RemediateInput) evidence() string { return in.Evidence }
func (in OperatorInput) evidence() string  { return "" }

func (in EnrollInput) normal() any {
	in.Now = in.Now.UTC()
	in.Device = in.Device.normal()
	in.Attestation = in.Attestation.normal()
	return in
}

func (in RenewInput) normal() any {
	in.Now = in.Now.UTC()
	in.Device = in.Device.normal()
	in.Failing = list(in.Failing)
	in.Certificate.NotBefore, in.Certificate.NotAfter = in.Certificate.NotBefore.UTC(), in.Certificate.NotAfter.UTC()
	return in
}

func (in PostureInput) normal() any {
	in.Now = in.Now.UTC()
	in.Device = in.Device.normal()
	in.Attestation = in.Attestation.normal()
	in.Firmware = in.Firmware.normal()
	in.Reported = filled(in.Reported)
	in.Host = in.Host.normal()
	since := make(map[string]time.Time, len(in.FailingSince))
	for id, t := range in.FailingSince {
		since[id] = t.UTC()
	}
	in.FailingSince = since
	in.Certificate.NotAfter = in.Certificate.NotAfter.UTC()
	in.Certificate.NotBefore, in.Certificate.KeySince = in.Certificate.NotBefore.UTC(), in.Certificate.KeySince.UTC()
	return in
}

func (in AccessInput) normal() any {
	in.Now = in.Now.UTC()
	in.Device = in.Device.normal()
	return in
}

func (in RemediateInput) normal() any {
	in.Now = in.Now.UTC()
	in.Device = in.Device.normal()
	in.Firmware = in.Firmware.normal()
	controls := make([]ControlResult, len(in.Controls))
	for i, c := range in.Controls {
		c.Since, c.EnforcedAt = inUTC(c.Since), inUTC(c.EnforcedAt)
		controls[i] = c
	}
	in.Controls = controls
	return in
}

func (in OperatorInput) normal() any {
	in.Now = in.Now.UTC()
	in.Scope, in.Device.Labels = filled(in.Scope), filled(in.Device.Labels)
	return in
}

func (d DeviceInput) normal() DeviceInput {
	d.Labels = filled(d.Labels)
	return d
}

func (f FirmwareInput) normal() FirmwareInput {
	f.Mismatches = list(f.Mismatches)
	f.Vulnerabilities = f.Vulnerabilities.normal()
	return f
}

func filled[V any](m map[string]V) map[string]V {
	if m == nil {
		return map[string]V{}
	}
	return m
}

func inUTC(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	u := t.UTC()
	return &u
}
