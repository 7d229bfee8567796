package api

import (
	"encoding/json"
	"time"
)

// PathDecision is a device's latest recorded posture decision.
const PathDecision = "/v1/devices/{id}/decision"

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
