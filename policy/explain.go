package policy

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/rego"
)

// Explanation is a decision with the rules and the facts that led to it.
type Explanation struct {
	Kind     Kind     `json:"kind"`
	Policy   string   `json:"policy"` // digest of the bundle
	Answer   string   `json:"answer"`
	Decision Decision `json:"decision"`
	// Chains lead from what was said to why: of a posture one for each control,
	// sorted by id; of any other decision a single one.
	Chains []Chain `json:"chains"`
}

// Chain is one answer and what led to it.
type Chain struct {
	Control string `json:"control,omitempty"` // id; empty: the decision itself
	Outcome string `json:"outcome"`
	Reason  string `json:"reason"`
	// Enforced: the control fails and counts, or could not be decided.
	Enforced bool `json:"enforced,omitempty"`
	// Rules were tried, in the order of their evaluation; functions are left out.
	Rules []RuleStep `json:"rules"`
	Facts []FactRead `json:"facts"`
}

// RuleStep is one branch of a rule: a body, or one of its elses.
type RuleStep struct {
	Rule string `json:"rule"` // path: data.troth.posture.secure_boot
	File string `json:"file"`
	Line int    `json:"line"`
	Held bool   `json:"held"` // all of its conditions did; of several branches this one was taken
	// Stopped is the condition that did not hold.
	Stopped     string `json:"stopped,omitempty"`
	StoppedLine int    `json:"stopped_line,omitempty"`
}

// FactRead is something of the input or of the bundle's data that was looked at.
type FactRead struct {
	Path  string          `json:"path"`            // input.attestation.verified, data.config.boot
	Value json.RawMessage `json:"value,omitempty"` // missing: it is undefined
}

// Explain decides from a stored Document as Replay does, and says what led to the
// answer. It evaluates without OPA's indexes, so that conditions are seen that an
// index would have skipped: some ten times slower.
func (e *Engine) Explain(ctx context.Context, kind Kind, document []byte) (Explanation, error) {
	d, err := e.Replay(ctx, kind, document)
	if d == nil {
		return Explanation{}, err
	}
	x := Explanation{Kind: kind, Policy: e.Digest(), Answer: d.Answer(), Decision: d, Chains: []Chain{}}
	if e == nil {
		return x, err
	}
	t, traceErr := e.trace(ctx, kind, document, d.Digests())
	if traceErr != nil {
		return x, cmp.Or(err, traceErr)
	}
	if p, ok := d.(PostureDecision); ok {
		for _, c := range p.Controls {
			chain := Chain{Control: c.ID, Outcome: c.Outcome, Reason: c.Reason, Enforced: c.Enforced(p.At)}
			if m, ok := e.Control(c.ID); ok {
				t.follow(&chain, t.at(m.File, m.Line))
			}
			x.Chains = append(x.Chains, chain)
		}
		return x, err
	}
	chain := Chain{Outcome: d.Answer(), Reason: reasonOf(d)}
	t.follow(&chain, t.byRule[kind.document()])
	x.Chains = append(x.Chains, chain)
	return x, err
}

func reasonOf(d Decision) string {
	text, err := json.Marshal(d)
	if err != nil {
		return ""
	}
	var said struct {
		Reason  string   `json:"reason"`
		Actions []Action `json:"actions"`
	}
	_ = json.Unmarshal(text, &said) // what has neither has no reason
	for _, a := range said.Actions {
		said.Reason = strings.TrimSpace(said.Reason + " " + a.Reason)
	}
	return said.Reason
}

func (e *Engine) trace(ctx context.Context, kind Kind, document []byte, m Meta) (*tracer, error) {
	input, err := valueOf(document)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInput, err)
	}
	query, ok := e.queries[kind]
	if !ok {
		return nil, fmt.Errorf("explain %s: %w", kind, ErrUndefined)
	}
	w := e.watch(ctx, explainFactor*e.deadline)
	defer w.stop()
	t := &tracer{
		input: input, data: e.data, compiler: e.compiler,
		frames: map[uint64]*frame{}, byRule: map[string][]*frame{},
	}
	_, err = query.Eval(ctx, rego.EvalParsedInput(input), rego.EvalTime(m.At), rego.EvalQueryTracer(t),
		rego.EvalRuleIndexing(false), rego.EvalExternalCancel(w.cancel), rego.EvalGenerateJSON(plain))
	if err != nil && (ctx.Err() != nil || w.late.Load() || w.large.Load()) {
		return nil, fmt.Errorf("explain %s: %w", kind, ErrTimeout)
	}
	return t, nil // what was seen until an error explains it
}

// explainFactor is how much longer than a decision its explanation may take.
const explainFactor = 30

// follow walks from some frames to all rules that they rest on.
func (t *tracer) follow(c *Chain, from []*frame) {
	c.Rules, c.Facts = []RuleStep{}, []FactRead{}
	seen, read := map[*frame]bool{}, map[string]bool{}
	var walk func(*frame)
	walk = func(f *frame) {
		if seen[f] {
			return
		}
		seen[f] = true
		if f.rule != nil && len(f.rule.Head.Args) == 0 {
			c.Rules = append(c.Rules, f.step())
		}
		for _, fact := range f.facts {
			if !read[fact.Path] {
				read[fact.Path] = true
				c.Facts = append(c.Facts, fact)
			}
		}
		for _, below := range f.below {
			walk(below)
		}
		for _, call := range f.calls {
			for _, g := range t.byRule[call] {
				walk(g)
			}
		}
	}
	for _, f := range from {
		walk(f)
	}
	slices.SortStableFunc(c.Facts, func(a, b FactRead) int { return cmp.Compare(a.Path, b.Path) })
}
