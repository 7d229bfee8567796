package policy

import (
	"context"
	"fmt"
)

// Enroll decides whether a device may have a certificate. With an error, Allow
// is false and Code is CodePolicy.
func (e *Engine) Enroll(ctx context.Context, in EnrollInput) (EnrollDecision, error) {
	q, err := e.ask(in)
	return e.enroll(ctx, q, err)
}

func (e *Engine) enroll(ctx context.Context, q question, err error) (EnrollDecision, error) {
	var life int64
	a, err := e.permission(ctx, q, err, func(r *reader) { life = r.seconds("certificate_lifetime_seconds") })
	return EnrollDecision{q.meta, a.allow, a.code, a.reason, granted(a, life)}, err
}

// Renew decides whether a device may have a new certificate for its old one.
// With an error, Allow is false and Code is CodePolicy.
func (e *Engine) Renew(ctx context.Context, in RenewInput) (RenewDecision, error) {
	q, err := e.ask(in)
	return e.renew(ctx, q, err)
}

func (e *Engine) renew(ctx context.Context, q question, err error) (RenewDecision, error) {
	var life int64
	var rotate bool
	a, err := e.permission(ctx, q, err, func(r *reader) {
		life, rotate = r.seconds("certificate_lifetime_seconds"), take[bool](r, "rotate_key")
	})
	return RenewDecision{q.meta, a.allow, a.code, a.reason, granted(a, life), a.allow && rotate}, err
}

// granted is the lifetime of a certificate that is allowed.
func granted(a permission, life int64) int64 {
	if !a.allow {
		return 0
	}
	return life
}

// Access decides whether a device may do something. With an error, Allow is
// false and Code is CodePolicy.
func (e *Engine) Access(ctx context.Context, in AccessInput) (AccessDecision, error) {
	q, err := e.ask(in)
	return e.access(ctx, q, err)
}

func (e *Engine) access(ctx context.Context, q question, err error) (AccessDecision, error) {
	a, err := e.permission(ctx, q, err, nil)
	return AccessDecision{q.meta, a.allow, a.code, a.reason}, err
}

// Operator decides whether an operator may do something. With an error, Allow
// is false and Code is CodePolicy.
func (e *Engine) Operator(ctx context.Context, in OperatorInput) (OperatorDecision, error) {
	q, err := e.ask(in)
	return e.operator(ctx, q, err)
}

func (e *Engine) operator(ctx context.Context, q question, err error) (OperatorDecision, error) {
	a, err := e.permission(ctx, q, err, nil)
	return OperatorDecision{q.meta, a.allow, a.code, a.reason}, err
}

// permission is the part that enroll, renew, access and operator decisions share.
type permission struct {
	allow        bool
	code, reason string
}

// permission takes the shared part of a decision, and has more take the rest; nil:
// there is none.
func (e *Engine) permission(ctx context.Context, q question, err error, more func(*reader)) (permission, error) {
	refused := permission{code: CodePolicy, reason: "The policy could not be evaluated, so nothing is allowed."}
	if err != nil {
		return refused, err
	}
	answer, err := e.answer(ctx, q)
	if err != nil {
		return refused, err
	}
	r := answer.read("decision")
	p := permission{allow: take[bool](r, "allow"), code: take[string](r, "code"), reason: r.text("reason")}
	if more != nil {
		more(r)
	}
	if err := r.done(); err != nil {
		return refused, fmt.Errorf("decide %s: %w", q.kind, err)
	}
	if p.allow != (p.code == "") {
		return refused, fmt.Errorf("decide %s: %w: allow is %t and the code of the denial is %q", q.kind, ErrInconsistent, p.allow, p.code)
	}
	return p, nil
}
