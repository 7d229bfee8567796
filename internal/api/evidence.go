package api

import (
	"encoding/json"
	"fmt"
	"time"
)

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

// Logs finds the event log and the whole IMA list among the content; nil where the
// document names none.
func (k KeptEvidence) Logs() (eventLog, ima []byte, err error) {
	var names struct {
		EventLog  string   `json:"event_log"`
		IMA       string   `json:"ima"`
		IMAFrom   int      `json:"ima_from"`
		IMABefore []string `json:"ima_before"`
	}
	if err := json.Unmarshal(k.Document, &names); err != nil {
		return nil, nil, fmt.Errorf("read evidence: %w", err)
	}
	content := map[string][]byte{}
	for _, l := range k.Content {
		content[l.SHA256] = l.Content
	}
	eventLog = content[names.EventLog]
	if names.IMA == "" {
		return eventLog, nil, nil
	}
	ima = []byte{}
	if names.IMAFrom > 0 {
		for _, name := range names.IMABefore {
			ima = append(ima, content[name]...)
		}
	}
	return eventLog, append(ima, content[names.IMA]...), nil
}
