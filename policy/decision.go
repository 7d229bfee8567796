package policy

import "time"

// Kind is what is decided.
type Kind string

// The kinds of decisions.
const (
	KindEnroll    Kind = "enroll"
	KindRenew     Kind = "renew"
	KindPosture   Kind = "posture"
	KindAccess    Kind = "access"
	KindRemediate Kind = "remediate"
	KindOperator  Kind = "operator"
	KindRollout   Kind = "rollout"
)

// The verdicts of a PostureDecision. Only Compliant ever passes.
const (
	Compliant    = "compliant"
	Noncompliant = "noncompliant"
	Undecided    = "error" // could not be decided
)

// The outcomes of a control.
const (
	Pass          = "pass"
	Fail          = "fail"
	Errored       = "error"          // could not be decided; counts against the device at once
	NotApplicable = "not_applicable" // says nothing about this device
)

// The remediations that a control can name.
const (
	RemedyNone       = "none"
	RemedyQuarantine = "quarantine"
	RemedyPatch      = "patch"
)

// The kinds of an Action.
const (
	ActQuarantine = "quarantine"
	ActPropose    = "propose_rollout"
	ActStart      = "start_rollout"
)

// CodePolicy is the code of a denial whose cause is not the device or the
// operator but the policy itself: it failed, and so nothing is allowed.
const CodePolicy = "policy_error"

// Decision is what was decided of one kind: EnrollDecision, PostureDecision, …
type Decision interface {
	// Digests is what the decision rests on.
	Digests() Meta
	// Answer is the decision in a word: allow or deny; a verdict; act or nothing.
	Answer() string
}

// Meta is what a decision rests on, so that it can be reached again. All
// digests are SHA-256, lower-case hexadecimal.
type Meta struct {
	Policy   string    `json:"policy"`             // of the bundle; see Engine.Digest
	Input    string    `json:"input"`              // of the input's Document; empty if it has none
	Evidence string    `json:"evidence,omitempty"` // as the input named it
	At       time.Time `json:"at,omitzero"`        // the input's Now

	document string
}

// Document is the input as it was decided on, without what the bundle masks: the
// bytes that Input is the digest of. Empty where the input had none, or the
// decision was read from elsewhere.
func (m Meta) Document() []byte { return []byte(m.document) }

// Digests returns the receiver; it makes each decision that embeds Meta say
// what it rests on.
func (m Meta) Digests() Meta { return m }

// EnrollDecision says whether a device may have a certificate.
type EnrollDecision struct {
	Meta
	Allow  bool   `json:"allow"`
	Code   string `json:"code,omitempty"` // stable, of a denial: unknown_manufacturer, not_registered, …
	Reason string `json:"reason"`         // a sentence
	// Lifetime of the certificate in seconds; zero: the service's own choice.
	Lifetime int64 `json:"certificate_lifetime_seconds,omitempty"`
}

// RenewDecision says whether a device may have a new certificate for the one it
// shows, and whether the old key is good for it.
type RenewDecision struct {
	Meta
	Allow     bool   `json:"allow"`
	Code      string `json:"code,omitempty"` // stable, of a denial
	Reason    string `json:"reason"`         // a sentence
	Lifetime  int64  `json:"certificate_lifetime_seconds,omitempty"`
	RotateKey bool   `json:"rotate_key"` // only with a new key
}

// PostureDecision is the verdict on a device with the controls behind it,
// sorted by id.
type PostureDecision struct {
	Meta
	Verdict  string          `json:"verdict"`
	Controls []ControlResult `json:"controls"`
}

// ControlResult is what one control said of a device.
type ControlResult struct {
	ID       string `json:"id"`
	Title    string `json:"title"`
	Severity string `json:"severity"` // critical, high, medium, low
	Outcome  string `json:"outcome"`
	Reason   string `json:"reason"` // a sentence that names the facts
	// Since is the first instant of the failure; nil unless Outcome is Fail or
	// Errored.
	Since *time.Time `json:"since,omitempty"`
	// Advisory: the finding is told and counts for no verdict.
	Advisory bool `json:"advisory,omitempty"`
	// EnforcedAt is when the failure begins to count, its grace having passed; nil
	// where it never does.
	EnforcedAt  *time.Time          `json:"enforced_at,omitempty"`
	Frameworks  map[string][]string `json:"frameworks,omitempty"` // shared between decisions: not to be changed
	Remediation string              `json:"remediation,omitempty"`
	Reported    bool                `json:"reported,omitempty"` // it rests on the device's own words (EvidenceReported)
}

// Failing reports whether the control is a finding.
func (c ControlResult) Failing() bool { return c.Outcome != Pass && c.Outcome != NotApplicable }

// Enforced reports whether the finding counts at the instant now. One without a
// date counts, unless it is advisory.
func (c ControlResult) Enforced(now time.Time) bool {
	return c.Failing() && !c.Advisory && (c.EnforcedAt == nil || !now.Before(*c.EnforcedAt))
}

// AccessDecision says whether a device may do what it asked for.
type AccessDecision struct {
	Meta
	Allow  bool   `json:"allow"`
	Code   string `json:"code,omitempty"` // stable, of a denial
	Reason string `json:"reason"`         // a sentence
}

// RemediateDecision says what to do about a posture; often nothing.
type RemediateDecision struct {
	Meta
	Actions []Action `json:"actions"`
}

// Action is one thing to do. Doing it twice must change nothing more than doing
// it once.
type Action struct {
	Kind    string `json:"kind"`
	Control string `json:"control"`           // id of the gravest control behind it
	Reason  string `json:"reason"`            // a sentence
	Release string `json:"release,omitempty"` // version to roll out
}

// OperatorDecision says whether an operator may do something.
type OperatorDecision struct {
	Meta
	Allow  bool   `json:"allow"`
	Code   string `json:"code,omitempty"` // stable, of a denial
	Reason string `json:"reason"`         // a sentence
}

// Answer is allow or deny.
func (d EnrollDecision) Answer() string { return allowed(d.Allow) }

// Answer is allow or deny.
func (d RenewDecision) Answer() string { return allowed(d.Allow) }

// Answer is the verdict.
func (d PostureDecision) Answer() string { return d.Verdict }

// Answer is allow or deny.
func (d AccessDecision) Answer() string { return allowed(d.Allow) }

// Answer is act or nothing.
func (d RemediateDecision) Answer() string {
	if len(d.Actions) == 0 {
		return "nothing"
	}
	return "act"
}

// Answer is allow or deny.
func (d OperatorDecision) Answer() string { return allowed(d.Allow) }

func allowed(yes bool) string {
	if yes {
		return "allow"
	}
	return "deny"
}
