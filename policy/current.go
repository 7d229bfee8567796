package policy

import (
	"context"
	"sync/atomic"
)

// Current is the engine that decides at this moment. Another takes its place at
// once and whole: each decision is made by one bundle, and says by which. Safe
// for concurrent use. The zero value has no engine, and decides nothing: every
// answer is the one that grants nothing, with ErrNoBundle.
type Current struct{ engine atomic.Pointer[Engine] }

// NewCurrent returns one that decides by e.
func NewCurrent(e *Engine) *Current {
	c := &Current{}
	c.engine.Store(e)
	return c
}

// Load is the engine that decides now; nil: none. Whoever makes several decisions
// that belong together takes it once.
func (c *Current) Load() *Engine { return c.engine.Load() }

// Swap has e decide from now on, and returns what decided before. Decisions under
// way are made to their end by the engine that they began with.
func (c *Current) Swap(e *Engine) (before *Engine) { return c.engine.Swap(e) }

// Digest is that of the bundle that decides now; empty: there is none.
func (c *Current) Digest() string { return c.Load().Digest() }

// Enroll decides as Engine.Enroll does.
func (c *Current) Enroll(ctx context.Context, in EnrollInput) (EnrollDecision, error) {
	return c.Load().Enroll(ctx, in)
}

// Renew decides as Engine.Renew does.
func (c *Current) Renew(ctx context.Context, in RenewInput) (RenewDecision, error) {
	return c.Load().Renew(ctx, in)
}

// Posture decides as Engine.Posture does.
func (c *Current) Posture(ctx context.Context, in PostureInput) (PostureDecision, error) {
	return c.Load().Posture(ctx, in)
}

// Access decides as Engine.Access does.
func (c *Current) Access(ctx context.Context, in AccessInput) (AccessDecision, error) {
	return c.Load().Access(ctx, in)
}

// Remediate decides as Engine.Remediate does.
func (c *Current) Remediate(ctx context.Context, in RemediateInput) (RemediateDecision, error) {
	return c.Load().Remediate(ctx, in)
}

// Operator decides as Engine.Operator does.
func (c *Current) Operator(ctx context.Context, in OperatorInput) (OperatorDecision, error) {
	return c.Load().Operator(ctx, in)
}
