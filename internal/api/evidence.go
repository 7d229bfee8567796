package api

import "time"

// PathEvidence is a device's latest evidence.
const PathEvidence = "/v1/devices/{id}/evidence"

// KeptEvidence is the latest verified evidence of a device, whole: whoever has it
// can appraise it again without the service.
type KeptEvidence struct {
	Device     string    `json:"device"`
	Name       string    `json:"name,omitempty"`
	Model      string    `json:"model"`
	Lifecycle  string    `json:"lifecycle"`
	Verdict    string    `json:"verdict"`
	VerifiedAt time.Time `json:"verified_at" doc:"when the service verified it"`
	SHA256     string    `json:"sha256" doc:"digest of the document"`
	Document   []byte    `json:"document" doc:"JSON: quote, signature, key, PCR values, what was bound, and logs by digest"`
	Content    []Log     `json:"content" doc:"the logs that the document names"`
}
