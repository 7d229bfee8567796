package policy

import "context"

// spec is all that tells one kind of decision from another. A new kind is a line
// in specs, and nothing else has a list of them.
type spec struct {
	kind     Kind
	input    Input    // zero value, for its type
	decision Decision // zero value, for its type
	decide   func(*Engine, context.Context, question, error) (Decision, error)
}

func specs() []spec {
	return []spec{
		{KindEnroll, EnrollInput{}, EnrollDecision{}, by((*Engine).enroll)},
		{KindRenew, RenewInput{}, RenewDecision{}, by((*Engine).renew)},
		{KindPosture, PostureInput{}, PostureDecision{}, by((*Engine).posture)},
		{KindAccess, AccessInput{}, AccessDecision{}, by((*Engine).access)},
		{KindRemediate, RemediateInput{}, RemediateDecision{}, by((*Engine).remediate)},
		{KindOperator, OperatorInput{}, OperatorDecision{}, by((*Engine).operator)},
		{KindPublish, PublishInput{}, PublishDecision{}, by((*Engine).publish)},
		{KindRollout, RolloutInput{}, RolloutDecision{}, by((*Engine).rollout)},
	}
}

// by forgets the type of a decision.
func by[D Decision](decide func(*Engine, context.Context, question, error) (D, error)) func(*Engine, context.Context, question, error) (Decision, error) {
	return func(e *Engine, ctx context.Context, q question, err error) (Decision, error) {
		return decide(e, ctx, q, err)
	}
}

func specOf(kind Kind) (spec, bool) {
	for _, s := range specs() {
		if s.kind == kind {
			return s, true
		}
	}
	return spec{}, false
}

// Kinds are all kinds of decisions.
func Kinds() []Kind {
	kinds := make([]Kind, 0, len(specs()))
	for _, s := range specs() {
		kinds = append(kinds, s.kind)
	}
	return kinds
}

// document is the path of the rule that answers.
func (k Kind) document() string { return "data.troth." + string(k) + ".decision" }
