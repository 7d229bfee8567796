package policy

import (
	"encoding/json"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// tracer keeps of an evaluation's events what explains its answer: which rules were
// entered from which, which of them held, and what they read. It is used once.
type tracer struct {
	input    ast.Value
	data     map[string]any
	compiler *ast.Compiler
	frames   map[uint64]*frame   // by query
	byRule   map[string][]*frame // by the rule's path: the first evaluation, which the others share
}

// frame is the evaluation of one body: of a rule's, or of one inside of it.
type frame struct {
	rule   *ast.Rule // nil: a comprehension, every, not
	held   bool
	failed *ast.Expr
	facts  []FactRead
	calls  []string // rules without arguments that it names
	below  []*frame
}

// Enabled is part of topdown.QueryTracer.
func (t *tracer) Enabled() bool { return true }

// Config is part of topdown.QueryTracer.
func (t *tracer) Config() topdown.TraceConfig { return topdown.TraceConfig{} }

// TraceEvent is part of topdown.QueryTracer.
func (t *tracer) TraceEvent(event topdown.Event) {
	switch event.Op {
	case topdown.EnterOp:
		f := &frame{}
		if above := t.frames[event.ParentID]; above != nil && event.ParentID != event.QueryID {
			above.below = append(above.below, f)
		}
		if rule, ok := event.Node.(*ast.Rule); ok {
			f.rule = rule
			path := rulePath(rule)
			t.byRule[path] = append(t.byRule[path], f)
		}
		t.frames[event.QueryID] = f
	case topdown.ExitOp:
		if f := t.frames[event.QueryID]; f != nil {
			f.held, f.failed = true, nil
		}
	case topdown.FailOp:
		expr, ok := event.Node.(*ast.Expr)
		if f := t.frames[event.QueryID]; ok && f != nil && !f.held {
			f.failed = expr
		}
	case topdown.EvalOp:
		expr, ok := event.Node.(*ast.Expr)
		if f := t.frames[event.QueryID]; ok && f != nil {
			t.read(f, expr, event)
		}
	}
}

func rulePath(r *ast.Rule) string {
	return r.Module.Package.Path.String() + "." + r.Head.Ref().GroundPrefix().String()
}

// read notes what an expression looks at. Closures have events of their own.
func (t *tracer) read(f *frame, expr *ast.Expr, event topdown.Event) {
	ast.NewGenericVisitor(func(x any) bool {
		switch x := x.(type) {
		case *ast.ArrayComprehension, *ast.SetComprehension, *ast.ObjectComprehension, *ast.Every, *ast.With:
			return true
		case ast.Ref:
			t.ref(f, x, event)
		}
		return false
	}).Walk(expr)
}

func (t *tracer) ref(f *frame, ref ast.Ref, event topdown.Event) {
	plugged, ok := event.Plug(ast.NewTerm(ref)).Value.(ast.Ref)
	if !ok {
		return
	}
	switch {
	case len(plugged) < 2:
	case plugged.HasPrefix(ast.InputRootRef):
		known := plugged.ConstantPrefix()
		fact := FactRead{Path: known.String()}
		if v, err := t.input.Find(known[1:]); err == nil {
			fact.Value = valueText(v)
		}
		f.facts = append(f.facts, fact)
	case !plugged.HasPrefix(ast.DefaultRootRef):
	case len(t.compiler.GetRules(plugged.ConstantPrefix())) > 0:
		for _, r := range t.compiler.GetRules(plugged.ConstantPrefix()) {
			if len(r.Head.Args) == 0 {
				f.calls = append(f.calls, rulePath(r))
			}
		}
	default:
		f.facts = append(f.facts, t.setting(plugged.ConstantPrefix()))
	}
}

// setting looks a path up in the bundle's data.
func (t *tracer) setting(ref ast.Ref) FactRead {
	fact := FactRead{Path: ref.String()}
	path, err := storage.NewPathForRef(ref)
	if err != nil {
		return fact
	}
	var at any = t.data
	for _, key := range path {
		object, ok := at.(map[string]any)
		if !ok {
			return fact
		}
		if at, ok = object[key]; !ok {
			return fact
		}
	}
	fact.Value, _ = json.Marshal(at)
	return fact
}

func valueText(v ast.Value) json.RawMessage {
	plain, err := ast.JSON(v)
	if err != nil {
		return nil
	}
	text, err := json.Marshal(plain)
	if err != nil {
		return nil
	}
	return text
}

func (f *frame) step() RuleStep {
	s := RuleStep{Rule: rulePath(f.rule), File: f.rule.Location.File, Line: f.rule.Location.Row, Held: f.held}
	if f.failed != nil && !f.held && f.failed.Location != nil {
		s.Stopped, s.StoppedLine = oneLine(string(f.failed.Location.Text)), f.failed.Location.Row
	}
	return s
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// at are the frames of the rule that stands at a place.
func (t *tracer) at(file string, line int) []*frame {
	var found []*frame
	for _, frames := range t.byRule {
		for _, f := range frames {
			if f.rule.Location.File == file && f.rule.Location.Row == line {
				found = append(found, f)
			}
		}
	}
	return found
}
