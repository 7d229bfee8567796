package decision

import (
	"context"
	"errors"
	"time"

	"troth/internal/fleet"
	"troth/policy"
)

// OperatorPolicy decides what operators may do.
type OperatorPolicy interface {
	Operator(ctx context.Context, in policy.OperatorInput) (policy.OperatorDecision, error)
}

// Operators is a policy whose refusals of operators are recorded. What it allows
// is in the audit trail, as soon as it does something.
type Operators struct {
	Policy OperatorPolicy
	Log    *Recorder
	Now    func() time.Time
}

// Operator implements operator.Policy.
func (o Operators) Operator(ctx context.Context, in policy.OperatorInput) (policy.OperatorDecision, error) {
	d, err := o.Policy.Operator(ctx, in)
	if err == nil && d.Allow {
		return d, nil
	}
	code := d.Code
	if err != nil {
		code = "policy_error"
	}
	return d, errors.Join(err, o.Log.Record(ctx, fleet.Ruling{
		Kind: string(policy.KindOperator), Operator: in.Operator, Role: in.Role, Action: in.Action, Resource: in.Resource,
		Code: code, At: o.Now(), Policy: d.Policy, Input: d.Input,
	}))
}
