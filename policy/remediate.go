package policy

import (
	"cmp"
	"context"
	"fmt"
	"slices"
)

// Remediate decides what to do about a posture. With an error there are no
// actions: what could not be decided is not a reason to act on a fleet.
func (e *Engine) Remediate(ctx context.Context, in RemediateInput) (RemediateDecision, error) {
	q, err := e.ask(in)
	return e.remediate(ctx, q, err)
}

func (e *Engine) remediate(ctx context.Context, q question, err error) (RemediateDecision, error) {
	d := RemediateDecision{Meta: q.meta, Actions: []Action{}}
	if err != nil {
		return d, err
	}
	answer, err := e.answer(ctx, q)
	if err != nil {
		return d, err
	}
	actions, err := e.actions(answer)
	if err != nil {
		return d, fmt.Errorf("decide %s: %w", q.kind, err)
	}
	d.Actions = append(d.Actions, actions...)
	return d, nil
}

func (e *Engine) actions(answer object) ([]Action, error) {
	r := answer.read("decision")
	var actions []Action
	for _, o := range r.objects("actions") {
		a := o.read("action")
		action := Action{
			Kind:    a.word("kind", ActQuarantine, ActPropose, ActStart),
			Control: a.text("control"),
			Reason:  a.text("reason"),
			Release: take[string](a, "release"),
		}
		if err := a.done(); err != nil {
			return nil, err
		}
		if (action.Kind == ActQuarantine) != (action.Release == "") {
			return nil, fmt.Errorf("%w: %s of the release %q", ErrInconsistent, action.Kind, action.Release)
		}
		actions = append(actions, action)
	}
	slices.SortFunc(actions, func(a, b Action) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Control, b.Control), cmp.Compare(a.Release, b.Release))
	})
	return actions, r.done()
}
