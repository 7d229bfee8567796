package policy

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// frameworks are those that reports know; see KnownFrameworks.
const frameworks = `ETSI EN 303 645
NISTIR 8259A
NIST SP 800-213A
NIST SP 800-193
IEC 62443-4-2
EU CRA`

// KnownFrameworks are the names under which controls are mapped to what they serve.
// A bundle adds its own in config.lint.frameworks, a list of names.
func KnownFrameworks() []string { return strings.Split(frameworks, "\n") }

// Lint looks for what compiles and yet is not as it should be: sorted by place,
// empty if there is nothing. A bundle that does not compile has the problems of
// Check and no others. The rules, by the names in Problem.Rule:
//
//	format              a module is not formatted as opa fmt does
//	package-path        a package is not named as its directory, tests with _test
//	control-conditional a rule of controls has a condition: where it does not hold,
//	                    the control gives no answer
//	control-default     what a control finds is a rule that ends in no unconditional
//	                    else and has no default
//	control-frameworks  a control serves no framework, or one that nobody knows
//	control-tests       a control lacks a test test_<id>_pass…, _fail… or _missing…
func Lint(ctx context.Context, fsys fs.FS) ([]Problem, error) {
	b, err := load(fsys)
	if err != nil {
		return Problems(err), nil
	}
	e, err := New(ctx, fsys, Options{})
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		return Problems(err), nil
	}
	sources, err := read(fsys)
	if err != nil {
		return nil, err
	}
	l := linter{bundle: b, controls: e.Controls(), found: []Problem{}}
	for _, s := range sources {
		l.source(s)
	}
	l.rules()
	l.frameworks()
	l.tests()
	slices.SortFunc(l.found, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.Message, b.Message))
	})
	return l.found, nil
}

type linter struct {
	bundle   *bundle
	controls []ControlMeta
	found    []Problem
}

func (l *linter) add(rule, file string, line int, form string, args ...any) {
	l.found = append(l.found, Problem{Rule: rule, File: file, Line: line, Message: fmt.Sprintf(form, args...)})
}

func (l *linter) source(s source) {
	if path.Ext(s.path) != moduleSuffix {
		return
	}
	if formatted, err := Format(s.path, s.content); err == nil && !bytes.Equal(formatted, s.content) {
		l.add("format", s.path, firstDifference(formatted, s.content), "not formatted: troth policy fmt does it")
	}
	m, test := l.bundle.modules[s.path], false
	if m == nil {
		m, test = l.bundle.tests[s.path], true
	}
	want := "data." + strings.ReplaceAll(path.Dir(s.path), "/", ".")
	if test {
		want += "_test"
	}
	if got := m.Package.Path.String(); got != want {
		l.add("package-path", s.path, m.Package.Location.Row, "the package is %s and belongs into a directory of that name; here it would be %s",
			strings.TrimPrefix(got, "data."), strings.TrimPrefix(want, "data."))
	}
}

func firstDifference(a, b []byte) int {
	x, y := bytes.Split(a, []byte("\n")), bytes.Split(b, []byte("\n"))
	for i := range y {
		if i >= len(x) || !bytes.Equal(x[i], y[i]) {
			return i + 1
		}
	}
	return len(y)
}

// rules looks at how controls are written.
func (l *linter) rules() {
	total := map[string]bool{} // rule of the package: always has a value
	var controls []*ast.Rule
	for _, m := range l.bundle.modules {
		if m.Package.Path.String() != "data.troth.posture" {
			continue
		}
		for _, r := range m.Rules {
			name := r.Head.Ref()[0].Value.String()
			if name == "controls" {
				controls = append(controls, r)
			} else if len(r.Head.Args) == 0 && r.Head.Key == nil {
				total[name] = total[name] || r.Default || unconditional(r)
			}
		}
	}
	for _, r := range controls {
		if !isTrue(r.Body) {
			l.add("control-conditional", r.Location.File, r.Location.Row, "the control has a condition, and where that does not hold it gives no answer: have it find not_applicable")
		}
		ast.WalkVars(r.Head.Key, func(v ast.Var) bool {
			if always, ok := total[v.String()]; ok && !always {
				l.add("control-default", r.Location.File, r.Location.Row, "%s has no default: end it in an unconditional else := missing, so that missing facts are an error", v)
			}
			return false
		})
	}
}

// unconditional reports whether a rule, or the last of its elses, has no condition.
func unconditional(r *ast.Rule) bool {
	for r.Else != nil {
		r = r.Else
	}
	return isTrue(r.Body)
}

func isTrue(b ast.Body) bool {
	return len(b) == 0 || len(b) == 1 && b[0].Equal(ast.NewExpr(ast.BooleanTerm(true)))
}

func (l *linter) frameworks() {
	known := KnownFrameworks()
	config, _ := l.bundle.data["config"].(map[string]any)
	settings, _ := config["lint"].(map[string]any)
	own, _ := settings["frameworks"].([]any)
	for _, name := range own {
		if text, ok := name.(string); ok {
			known = append(known, text)
		}
	}
	for _, c := range l.controls {
		if len(c.Frameworks) == 0 {
			l.add("control-frameworks", c.File, c.Line, "control %s serves no framework", c.ID)
		}
		for name := range c.Frameworks {
			if !slices.Contains(known, name) {
				l.add("control-frameworks", c.File, c.Line, "control %s: nobody knows the framework %q (known: %s; a bundle adds its own in config.lint.frameworks)",
					c.ID, name, strings.Join(known, ", "))
			}
		}
	}
}

func (l *linter) tests() {
	var names []string
	for _, m := range l.bundle.tests {
		for _, r := range m.Rules {
			names = append(names, r.Head.Ref()[0].Value.String())
		}
	}
	for _, c := range l.controls {
		base := "test_" + strings.ReplaceAll(c.ID, "-", "_") + "_"
		for _, suffix := range []string{"pass", "fail", "missing"} {
			if !slices.ContainsFunc(names, func(n string) bool { return strings.HasPrefix(strings.Trim(n, `"`), base+suffix) }) {
				l.add("control-tests", c.File, c.Line, "control %s has no test %s", c.ID, base+suffix)
			}
		}
	}
}
