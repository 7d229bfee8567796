package policy

import (
	"context"
	"time"
)

// The steps of a rollout that a RolloutInput asks about.
const (
	RolloutStart   = "start"   // its first wave begins
	RolloutAdvance = "advance" // the next wave begins
)

// RolloutInput asks whether a wave of a rollout may begin.
type RolloutInput struct {
	Now     time.Time    `json:"now"`
	Step    string       `json:"step"` // start, advance
	By      string       `json:"by"`   // the operator; policy or system, where no person asks
	Rollout RolloutFacts `json:"rollout"`
	Devices RolloutCount `json:"devices"`
}

// RolloutFacts are what is rolled out, and how.
type RolloutFacts struct {
	ID                string  `json:"id"`
	Model             string  `json:"model"`
	Version           string  `json:"version"`
	Counter           uint64  `json:"counter"`
	Reason            string  `json:"reason"`              // why it was proposed
	CreatedBy         string  `json:"created_by"`          // an operator, or policy
	Wave              int     `json:"wave"`                // that is to begin, from 0
	Percent           []int   `json:"percent"`             // of all devices, by wave
	MaxFailurePercent int     `json:"max_failure_percent"` // of a wave, before the rollout stops
	Soak              float64 `json:"soak"`                // seconds between two waves
	DeviceTimeout     float64 `json:"device_timeout"`      // seconds
}

// RolloutCount is how the devices of a rollout stand.
type RolloutCount struct {
	Total     int `json:"total"`
	Succeeded int `json:"succeeded"`
	Failed    int `json:"failed"` // and those that went back by themselves
	Skipped   int `json:"skipped"`
}

// RolloutDecision says whether the wave may begin.
type RolloutDecision struct {
	Meta
	Allow  bool   `json:"allow"`
	Code   string `json:"code,omitempty"` // stable, of a denial
	Reason string `json:"reason"`         // a sentence
}

// Answer is allow or deny.
func (d RolloutDecision) Answer() string { return allowed(d.Allow) }

// Rollout decides whether a wave of a rollout may begin. With an error, Allow is
// false and Code is CodePolicy: a wave that waits harms nobody.
func (e *Engine) Rollout(ctx context.Context, in RolloutInput) (RolloutDecision, error) {
	q, err := e.ask(in)
	return e.rollout(ctx, q, err)
}

func (e *Engine) rollout(ctx context.Context, q question, err error) (RolloutDecision, error) {
	a, err := e.permission(ctx, q, err, nil)
	return RolloutDecision{q.meta, a.allow, a.code, a.reason}, err
}

// Rollout decides as Engine.Rollout does.
func (c *Current) Rollout(ctx context.Context, in RolloutInput) (RolloutDecision, error) {
	return c.Load().Rollout(ctx, in)
}

func (in RolloutInput) kind() Kind       { return KindRollout }
func (in RolloutInput) at() time.Time    { return in.Now }
func (in RolloutInput) evidence() string { return "" }

func (in RolloutInput) normal() any {
	in.Now = in.Now.UTC()
	in.Rollout.Percent = list(in.Rollout.Percent)
	return in
}
