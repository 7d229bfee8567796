package api

import (
	"encoding/json"
	"time"
)

// Device is a device as operators see it.
type Device struct {
	ID              string            `json:"id"`
	Name            string            `json:"name,omitempty"`
	Model           string            `json:"model"`
	Labels          map[string]string `json:"labels,omitempty"`
	Lifecycle       string            `json:"lifecycle"`
	LifecycleReason string            `json:"lifecycle_reason,omitempty"`
	Presence        string            `json:"presence"`
	Verdict         string            `json:"verdict"`
	VerdictSince    *time.Time        `json:"verdict_since,omitempty"`
	Firmware        string            `json:"firmware,omitempty"`
	Manufacturer    string            `json:"manufacturer,omitempty"`
	IDevID          *IDevID           `json:"idevid,omitempty" doc:"what its manufacturer certified beside the EK"`
	EnrolledAt      *time.Time        `json:"enrolled_at,omitempty"`
	LastSeen        *time.Time        `json:"last_seen,omitempty"`
	CertificateEnds *time.Time        `json:"certificate_not_after,omitempty"`
	Posture         *Posture          `json:"posture,omitempty" doc:"only for a single device"`
}

// IDevID is what a device's manufacturer says of it by an IDevID or IAK.
type IDevID struct {
	Kind         string `json:"kind,omitempty" doc:"idevid or iak"`
	Manufacturer string `json:"manufacturer,omitempty" doc:"whose root the certificate led to; none: it was not verified"`
	Serial       string `json:"serial,omitempty"`
	Model        string `json:"model,omitempty"`
	Problem      string `json:"problem,omitempty" doc:"why it was not verified, or a warning"`
}

// Posture is the latest appraised posture of a device.
type Posture struct {
	At          time.Time       `json:"at"`
	Verdict     string          `json:"verdict"`
	Controls    []Control       `json:"controls"`
	Attestation json.RawMessage `json:"attestation,omitempty"`
	Reported    json.RawMessage `json:"reported,omitempty"`
	Policy      string          `json:"policy" doc:"digest of the policy bundle"`
	Input       string          `json:"input" doc:"digest of the policy input"`
	Evidence    string          `json:"evidence" doc:"digest of the evidence"`
}

// Control is one control's outcome.
type Control struct {
	ID         string     `json:"id"`
	Title      string     `json:"title"`
	Severity   string     `json:"severity"`
	Outcome    string     `json:"outcome"`
	Reason     string     `json:"reason"`
	Since      *time.Time `json:"since,omitempty"`
	EnforcedAt *time.Time `json:"enforced_at,omitempty"`
	Reported   bool       `json:"reported,omitempty" doc:"it rests on the device's own words"`
	Advisory   bool       `json:"advisory,omitempty" doc:"the finding is told and counts for no verdict"`
}

// DeviceList is a page of devices.
type DeviceList struct {
	Devices []Device `json:"devices"`
	Next    string   `json:"next,omitempty" doc:"cursor of the next page; empty on the last"`
}

// Registration makes one device known before it is seen.
type Registration struct {
	EKHash string            `json:"ek_hash" pattern:"^[0-9a-f]{64}$" doc:"SHA-256 of the EK's TPMT_PUBLIC"`
	Name   string            `json:"name,omitempty" maxLength:"128"`
	Model  string            `json:"model,omitempty" maxLength:"64"`
	Labels map[string]string `json:"labels,omitempty"`
}

// RegistrationRequest registers devices: all of them, or none.
type RegistrationRequest struct {
	Devices []Registration `json:"devices" minItems:"1" maxItems:"10000"`
}

// RegistrationAnswer counts what was registered.
type RegistrationAnswer struct {
	Registered int `json:"registered"`
	Known      int `json:"known" doc:"were there already, unchanged"`
}

// ManufacturerRequest trusts a maker of TPMs.
type ManufacturerRequest struct {
	Name string `json:"name" minLength:"1" maxLength:"64" pattern:"^[A-Za-z0-9][A-Za-z0-9 ._-]*$"`
	PEM  string `json:"pem" maxLength:"1048576" doc:"root and intermediate certificates"`
}

// Manufacturer is a trusted maker of TPMs.
type Manufacturer struct {
	Name    string    `json:"name"`
	PEM     string    `json:"pem"`
	AddedAt time.Time `json:"added_at"`
	AddedBy string    `json:"added_by"`
}

// ManufacturerList is all of them.
type ManufacturerList struct {
	Manufacturers []Manufacturer `json:"manufacturers"`
}

// ReasonRequest carries the reason of an action.
type ReasonRequest struct {
	Reason string `json:"reason" minLength:"1" maxLength:"500"`
}

// Alert is something a person should see.
type Alert struct {
	ID             string     `json:"id"`
	Device         string     `json:"device,omitempty"`
	DeviceName     string     `json:"device_name,omitempty"`
	Subject        string     `json:"subject"`
	Key            string     `json:"key"`
	Title          string     `json:"title"`
	Severity       string     `json:"severity"`
	State          string     `json:"state"`
	Reason         string     `json:"reason"`
	Count          int        `json:"count"`
	OpenedAt       time.Time  `json:"opened_at"`
	LastAt         time.Time  `json:"last_at"`
	AcknowledgedBy string     `json:"acknowledged_by,omitempty"`
	ResolvedAt     *time.Time `json:"resolved_at,omitempty"`
}

// AlertList is a list of alerts, newest first.
type AlertList struct {
	Alerts []Alert `json:"alerts"`
}

// Release is a published firmware release.
type Release struct {
	Target    string         `json:"target"`
	Model     string         `json:"model"`
	Version   string         `json:"version"`
	Counter   uint64         `json:"counter"`
	Security  bool           `json:"security"`
	Notes     string         `json:"notes,omitempty"`
	Length    int64          `json:"length"`
	SHA256    string         `json:"sha256"`
	Reference map[int]string `json:"reference,omitempty"`
	// Minimum is the lowest counter to come from; DowngradeFrom the highest counter
	// that the release may take the place of although its own is lower.
	Minimum       uint64 `json:"minimum,omitempty"`
	DowngradeFrom uint64 `json:"downgrade_from,omitempty"`
	// Refused releases are listed and nothing else: no device installs them.
	Refused       bool   `json:"refused,omitempty"`
	RefusedCode   string `json:"refused_code,omitempty"`
	RefusedReason string `json:"refused_reason,omitempty"`
}

// ReleaseList is all of them.
type ReleaseList struct {
	Releases []Release `json:"releases"`
}

// RolloutRequest proposes a rollout.
type RolloutRequest struct {
	Model             string `json:"model" minLength:"1" maxLength:"64"`
	Version           string `json:"version" minLength:"1" maxLength:"64"`
	Waves             []int  `json:"waves,omitempty" maxItems:"100" doc:"per cent of the devices in each wave"`
	MaxFailurePercent *int   `json:"max_failure_percent,omitempty" minimum:"0" maximum:"100"`
	SoakSeconds       *int   `json:"soak_seconds,omitempty" minimum:"0"`
	TimeoutSeconds    *int   `json:"timeout_seconds,omitempty" minimum:"1"`
	Start             bool   `json:"start,omitempty" doc:"start it at once"`
}

// RolloutPlan changes the plan of a proposed rollout when it is started; empty
// fields keep what was proposed.
type RolloutPlan struct {
	Waves             []int `json:"waves,omitempty" maxItems:"100"`
	MaxFailurePercent *int  `json:"max_failure_percent,omitempty" minimum:"0" maximum:"100"`
	SoakSeconds       *int  `json:"soak_seconds,omitempty" minimum:"0"`
	TimeoutSeconds    *int  `json:"timeout_seconds,omitempty" minimum:"1"`
}

// Rollout is a rollout and how far it is.
type Rollout struct {
	ID                string     `json:"id"`
	Model             string     `json:"model"`
	Version           string     `json:"version"`
	State             string     `json:"state"`
	Reason            string     `json:"reason,omitempty"`
	Wave              int        `json:"wave" doc:"the current one, from 1; 0 before the start"`
	Waves             []int      `json:"waves"`
	MaxFailurePercent int        `json:"max_failure_percent"`
	SoakSeconds       int        `json:"soak_seconds"`
	TimeoutSeconds    int        `json:"timeout_seconds"`
	CreatedBy         string     `json:"created_by"`
	CreatedAt         time.Time  `json:"created_at"`
	StartedBy         string     `json:"started_by,omitempty"`
	StartedAt         *time.Time `json:"started_at,omitempty"`
	EndedAt           *time.Time `json:"ended_at,omitempty"`
	Members           []Member   `json:"members,omitempty" doc:"only for a single rollout"`
}

// Member is a device of a rollout.
type Member struct {
	Device string    `json:"device"`
	Name   string    `json:"name,omitempty"`
	Wave   int       `json:"wave" doc:"from 1"`
	State  string    `json:"state"`
	Reason string    `json:"reason,omitempty"`
	At     time.Time `json:"at"`
}

// RolloutList is a list of rollouts.
type RolloutList struct {
	Rollouts []Rollout `json:"rollouts"`
}

// LoginRequest names the operator who logs in with a bootstrap token.
type LoginRequest struct {
	Operator string `json:"operator" minLength:"1" maxLength:"64" pattern:"^[A-Za-z0-9][A-Za-z0-9@._-]*$"`
}

// TokenRequest makes a token for somebody else.
type TokenRequest struct {
	Operator string `json:"operator" minLength:"1" maxLength:"64" pattern:"^[A-Za-z0-9][A-Za-z0-9@._-]*$"`
	Role     string `json:"role" enum:"admin,security,operator,auditor,viewer,proxy"`
	Scope    string `json:"scope,omitempty" maxLength:"1024" doc:"labels that a device must have, site=lyon,line=3; none: the whole fleet"`
	Hours    int    `json:"hours,omitempty" minimum:"1" maximum:"8760"`
}

// Token is an API token; it is shown once.
type Token struct {
	Token     string    `json:"token"`
	Operator  string    `json:"operator"`
	Role      string    `json:"role"`
	Scope     string    `json:"scope,omitempty" doc:"labels that a device must have; none: the whole fleet"`
	ExpiresAt time.Time `json:"expires_at"`
}

// WhoAmI is who the token belongs to.
type WhoAmI struct {
	Operator  string    `json:"operator"`
	Role      string    `json:"role"`
	Scope     string    `json:"scope,omitempty" doc:"labels that a device must have; none: the whole fleet"`
	ExpiresAt time.Time `json:"expires_at"`
}

// Event is a line of the audit trail.
type Event struct {
	At      time.Time `json:"at"`
	Actor   string    `json:"actor"`
	Action  string    `json:"action"`
	Subject string    `json:"subject"`
	Detail  string    `json:"detail,omitempty"`
}

// EventList is a list of events, newest first.
type EventList struct {
	Events []Event `json:"events"`
}

// Access answers may device D do action A on resource R.
type Access struct {
	Allow    bool   `json:"allow"`
	Reason   string `json:"reason"`
	Device   string `json:"device"`
	Verdict  string `json:"verdict"`
	Policy   string `json:"policy"`
	Input    string `json:"input"`
	Evidence string `json:"evidence,omitempty"`
}
