package api

import (
	"encoding/json"
	"time"
)

// PathDecision is a device's latest recorded posture decision.
const PathDecision = "/v1/devices/{id}/decision"

// Paths of the decision log; an operator.
const (
	PathDecisions      = "/v1/decisions"
	PathLoggedDecision = "/v1/decisions/{id}"
)

// LoggedDecision is one recorded decision. Digests are SHA-256 in hexadecimal.
type LoggedDecision struct {
	ID            string          `json:"id"`
	Kind          string          `json:"kind" doc:"enroll, renew, posture, remediate, access, operator"`
	At            time.Time       `json:"at" doc:"when it was made; of equal ones that are counted, the first"`
	Device        string          `json:"device,omitempty" doc:"id; its name may be masked, so it is not here"`
	Answer        string          `json:"answer" doc:"the verdict, or allow or deny"`
	Policy        string          `json:"policy,omitempty" doc:"digest of the policy bundle; empty: it was refused before policy was asked"`
	Input         string          `json:"input,omitempty" doc:"digest of what policy was given; of equal ones that are counted, to the first"`
	Evidence      string          `json:"evidence,omitempty" doc:"digest of the evidence behind it"`
	Decision      json.RawMessage `json:"decision,omitempty" doc:"as it was recorded"`
	InputDocument []byte          `json:"input_document,omitempty" doc:"JSON: the exact bytes that policy was given, without what it masks; not kept of access and operator"`
}

// DecisionLog is a page of the decision log, newest first.
type DecisionLog struct {
	Decisions []LoggedDecision `json:"decisions"`
	Next      string           `json:"next,omitempty" doc:"the after of the next page; empty: there is none"`
}

// KeptDecision is the latest recorded posture decision of a device with what it
// was made from: whoever has the policy bundle of that digest reaches it again.
type KeptDecision struct {
	Device   string          `json:"device"`
	Name     string          `json:"name,omitempty"`
	Kind     string          `json:"kind" doc:"posture"`
	At       time.Time       `json:"at" doc:"when it was made; later check-ins that say nothing new are not recorded"`
	Policy   string          `json:"policy" doc:"SHA-256 of the policy bundle"`
	Answer   string          `json:"answer" doc:"the verdict"`
	Decision json.RawMessage `json:"decision" doc:"as it was recorded"`
	SHA256   string          `json:"sha256" doc:"digest of the input"`
	Input    []byte          `json:"input" doc:"JSON: the exact bytes that policy was given"`
}
