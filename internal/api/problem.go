package api

import (
	"fmt"
	"time"
)

// ProblemType is the media type of a Problem (RFC 9457).
const ProblemType = "application/problem+json"

// Problem is the one form in which the service says no.
type Problem struct {
	Type      string   `json:"type"`   // always about:blank; Code tells problems apart
	Title     string   `json:"title"`  // of the status
	Status    int      `json:"status"` // HTTP status
	Code      string   `json:"code"`   // stable, for programs
	Detail    string   `json:"detail"` // a sentence that a person can act on
	RequestID string   `json:"request_id,omitempty"`
	Errors    []string `json:"errors,omitempty"` // one per invalid field

	// RetryAfter is how long the server asks to be left alone (RFC 9110, section
	// 10.2.3); zero where it does not say.
	RetryAfter time.Duration `json:"-"`
}

func (p *Problem) Error() string {
	s := fmt.Sprintf("%s (%s)", p.Detail, p.Code)
	for _, e := range p.Errors {
		s += "; " + e
	}
	return s
}
