package fleet

import (
	"encoding/json"
	"slices"
	"time"
)

// Outcome is what a control said of a device.
type Outcome string

// The outcomes of a control. Only Pass and NotApplicable do not count against a
// device.
const (
	Pass          Outcome = "pass"
	Fail          Outcome = "fail"
	Errored       Outcome = "error"
	NotApplicable Outcome = "not_applicable"
)

// Severity ranks controls and alerts.
type Severity string

// The severities.
const (
	Critical Severity = "critical"
	High     Severity = "high"
	Medium   Severity = "medium"
	Low      Severity = "low"
)

// Control is one requirement as it was decided for one device.
type Control struct {
	ID          string              `json:"id"`
	Title       string              `json:"title"`
	Severity    Severity            `json:"severity"`
	Outcome     Outcome             `json:"outcome"`
	Reason      string              `json:"reason"`
	Since       *time.Time          `json:"since,omitempty"`       // failing since
	EnforcedAt  *time.Time          `json:"enforced_at,omitempty"` // a failure counts from here on
	Advisory    bool                `json:"advisory,omitempty"`    // the finding is told and counts for no verdict
	Remediation string              `json:"remediation,omitempty"`
	Reported    bool                `json:"reported,omitempty"` // it rests on the device's own words
	Frameworks  map[string][]string `json:"frameworks,omitempty"`
}

// Failing reports whether the control is a finding.
func (c Control) Failing() bool { return c.Outcome != Pass && c.Outcome != NotApplicable }

// Enforced reports whether the finding counts at the instant now.
func (c Control) Enforced(now time.Time) bool {
	return c.Failing() && !c.Advisory && (c.EnforcedAt == nil || !now.Before(*c.EnforcedAt))
}

// Posture is the latest appraised state of a device.
type Posture struct {
	Device      DeviceID        `json:"device"`
	At          time.Time       `json:"at"`
	Verdict     Verdict         `json:"verdict"`
	Controls    []Control       `json:"controls"`
	Attestation json.RawMessage `json:"attestation"` // attest.Result
	Reported    json.RawMessage `json:"reported"`    // the device's own words
	Decision    string          `json:"decision"`    // id of the recorded Decision with these outcomes
	Evidence    string          `json:"evidence"`    // digest of the evidence blob behind that decision
}

// FailingSince maps each failing control to the first instant of its failure.
func (p Posture) FailingSince() map[string]time.Time {
	since := map[string]time.Time{}
	for _, c := range p.Controls {
		if c.Failing() && c.Since != nil {
			since[c.ID] = *c.Since
		}
	}
	return since
}

// noAnswer is the reason of every control where policy gave no answer at all.
const noAnswer = "Policy gave no answer."

// Undecide are the controls of p as they are kept when policy gives no answer on
// the device: each is an error, and keeps since when it fails, so that no grace
// begins anew.
func (p Posture) Undecide() []Control {
	controls := slices.Clone(p.Controls)
	for i := range controls {
		controls[i].Outcome, controls[i].Reason = Errored, noAnswer
	}
	return controls
}

// NothingDecided reports whether policy gave no answer on the device at all.
func (p Posture) NothingDecided() bool {
	answered := func(c Control) bool { return c.Reason != noAnswer }
	return p.Verdict == Undecided && !slices.ContainsFunc(p.Controls, answered)
}

// SameOutcomes reports whether q says nothing that p did not say: same verdict,
// same outcome and reason for each control.
func (p Posture) SameOutcomes(q Posture) bool {
	if p.Verdict != q.Verdict || len(p.Controls) != len(q.Controls) {
		return false
	}
	for i, c := range p.Controls {
		d := q.Controls[i]
		if c.ID != d.ID || c.Outcome != d.Outcome || c.Reason != d.Reason {
			return false
		}
	}
	return true
}

// Decision is a policy's answer with what is needed to reach it again: the
// digests name the policy bundle, the input (both as evaluated) and the evidence
// behind the input.
type Decision struct {
	ID       string // unique
	Kind     string // enroll, renew, posture, remediate
	Device   DeviceID
	At       time.Time
	Policy   string // SHA-256, hexadecimal
	Input    string // SHA-256, hexadecimal; also the digest of a Blob
	Evidence string // SHA-256, hexadecimal; also the digest of a Blob
	Answer   string // verdict, or allow, deny
	Document json.RawMessage
}

// Blob is content named by its digest, so that a thousand identical boots are
// stored once.
type Blob struct {
	Digest  string // SHA-256 of Content, hexadecimal
	Content []byte
}
