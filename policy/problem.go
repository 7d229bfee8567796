package policy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"strconv"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// Problem is one thing that is wrong with a bundle.
type Problem struct {
	// Rule names the check: those of Lint, those of OPA's compiler
	// (rego-type-error, …), or bundle for what makes the whole unusable.
	Rule    string `json:"rule"`
	File    string `json:"file,omitempty"` // path in the bundle
	Line    int    `json:"line,omitempty"` // from 1
	Message string `json:"message"`
}

func (p Problem) String() string {
	if p.File == "" {
		return fmt.Sprintf("%s (%s)", p.Message, p.Rule)
	}
	return fmt.Sprintf("%s:%d: %s (%s)", p.File, p.Line, p.Message, p.Rule)
}

// Checked is what a service would say of a bundle, before its tests.
type Checked struct {
	Policy   string    `json:"policy,omitempty"` // digest; empty where the files cannot be read as a bundle
	OK       bool      `json:"ok"`
	Problems []Problem `json:"problems"`
	Controls int       `json:"controls"`
}

// Check compiles a bundle exactly as New does and tells each problem by its place.
// It returns an error only where the context ends.
func Check(ctx context.Context, fsys fs.FS) (Checked, error) {
	c := Checked{Problems: []Problem{}}
	b, err := load(fsys)
	if err == nil {
		c.Policy = b.digest
	}
	e, err := New(ctx, fsys, Options{})
	if ctx.Err() != nil {
		return c, ctx.Err()
	}
	if err != nil {
		c.Problems = Problems(err)
		return c, nil
	}
	c.OK, c.Controls = true, len(e.Controls())
	return c, nil
}

var place = regexp.MustCompile(`([^\s:]+\.(?:rego|json)):(\d+)?:? ?`)

// Problems are the problems behind the error of New, Test or Lint, by their places
// where they have one.
func Problems(err error) []Problem {
	if err == nil {
		return nil
	}
	var many ast.Errors
	if errors.As(err, &many) {
		problems := make([]Problem, 0, len(many))
		for _, e := range many {
			p := Problem{Rule: strings.ReplaceAll(e.Code, "_", "-"), Message: e.Message}
			if e.Location != nil {
				p.File, p.Line = e.Location.File, e.Location.Row
			}
			if e.Details != nil {
				p.Message += details(e.Message, e.Details.Lines())
			}
			problems = append(problems, p)
		}
		return problems
	}
	p := Problem{Rule: "bundle", Message: strings.TrimPrefix(err.Error(), ErrBundle.Error()+": ")}
	if m := place.FindStringSubmatch(p.Message); m != nil {
		p.File = m[1]
		p.Line, _ = strconv.Atoi(m[2])
		p.Message = strings.Replace(p.Message, m[0], "", 1)
	}
	return []Problem{p}
}

// details makes one line of OPA's: have, want. Its drawing of a marker below the
// source is left out.
func details(message string, lines []string) string {
	var kept []string
	for _, l := range lines {
		if l = strings.TrimSpace(l); strings.Trim(l, "^~ ") != "" && !strings.HasSuffix(message, l) {
			kept = append(kept, l)
		}
	}
	if len(kept) == 0 {
		return ""
	}
	return " (" + strings.Join(kept, "; ") + ")"
}
