package policy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Posture decides the verdict on a device. With an error, Verdict is Undecided;
// the controls are those that answered, so that what is known is not lost.
func (e *Engine) Posture(ctx context.Context, in PostureInput) (PostureDecision, error) {
	q, err := e.ask(in)
	return e.posture(ctx, q, err)
}

func (e *Engine) posture(ctx context.Context, q question, err error) (PostureDecision, error) {
	d := PostureDecision{Meta: q.meta, Verdict: Undecided, Controls: []ControlResult{}}
	if err != nil {
		return d, err
	}
	answer, err := e.answer(ctx, q)
	if err != nil {
		return d, err
	}
	r := answer.read("decision")
	verdict := r.word("verdict", Compliant, Noncompliant, Undecided)
	results := r.objects("controls")
	if err := r.done(); err != nil {
		return d, fmt.Errorf("decide %s: %w", q.kind, err)
	}
	d.Controls, err = e.results(results, q.meta.At)
	if err == nil {
		err = consistent(verdict, d.Controls, q.meta.At)
	}
	if err != nil {
		return d, fmt.Errorf("decide %s: %w", q.kind, err)
	}
	d.Verdict = verdict
	return d, nil
}

// results gives each control of the bundle its answer, sorted by id. A control
// that did not answer, or answered twice or wrongly, has the outcome Errored.
func (e *Engine) results(answers []object, now time.Time) ([]ControlResult, error) {
	var errs []error
	results := make([]ControlResult, 0, len(e.controls))
	answered := map[string]bool{}
	for _, o := range answers {
		c, err := e.result(o, now)
		switch {
		case err != nil:
			errs = append(errs, err)
		case answered[c.ID]:
			errs = append(errs, fmt.Errorf("%w: %s answered twice", ErrInconsistent, c.ID))
			results = slices.DeleteFunc(results, func(r ControlResult) bool { return r.ID == c.ID })
		default:
			results = append(results, c)
		}
		answered[c.ID] = true
	}
	for _, m := range e.controls {
		if slices.ContainsFunc(results, func(r ControlResult) bool { return r.ID == m.ID }) {
			continue
		}
		if !answered[m.ID] {
			errs = append(errs, fmt.Errorf("%w: control %s", ErrUndefined, m.ID))
		}
		results = append(results, m.result(Errored, "The control gave no answer that can be used.", now))
	}
	slices.SortFunc(results, func(a, b ControlResult) int { return cmp.Compare(a.ID, b.ID) })
	return results, errors.Join(errs...)
}

// result reads one answer. What a control is (title, severity, frameworks,
// remediation) comes from its metadata and from nowhere else.
func (e *Engine) result(o object, now time.Time) (ControlResult, error) {
	r := o.read("control")
	id := r.text("id")
	i, known := e.byID[id]
	if r.where = "control " + id; r.err == nil && !known {
		r.fail("the bundle has no such control")
	}
	outcome := r.word("outcome", Pass, Fail, Errored, NotApplicable)
	reason := r.text("reason")
	advisory := r.flag("advisory")
	since, enforced := r.instant("since"), r.instant("enforced_at")
	if err := r.done(); err != nil {
		return ControlResult{ID: id}, err
	}
	c := e.controls[i].result(outcome, reason, now)
	if c.Failing() != (since != nil) || (c.Failing() && !advisory) != (enforced != nil) || advisory && !c.Failing() {
		return c, fmt.Errorf("%w: control %s: %s goes ill with its times", ErrInconsistent, id, outcome)
	}
	if c.Failing() && (since.After(now) || enforced != nil && enforced.Before(*since)) {
		return c, fmt.Errorf("%w: control %s: its times are out of order", ErrInconsistent, id)
	}
	c.Since, c.EnforcedAt, c.Advisory = since, enforced, advisory
	return c, nil
}

// consistent refuses a verdict that its own controls do not bear out.
func consistent(verdict string, controls []ControlResult, now time.Time) error {
	if verdict != Compliant {
		return nil
	}
	if len(controls) == 0 {
		return fmt.Errorf("%w: compliant with no control", ErrInconsistent)
	}
	for _, c := range controls {
		if c.Outcome == Errored && !c.Advisory || c.Enforced(now) {
			return fmt.Errorf("%w: compliant although %s has the outcome %s", ErrInconsistent, c.ID, c.Outcome)
		}
	}
	return nil
}
