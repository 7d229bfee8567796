package policy_test

import (
	"bytes"
	"io/fs"
	"path"
	"strings"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage/inmem"

	"troth/policies"
	"troth/policy"
)

// BenchmarkPosture is the whole of a decision: canonical input, digest,
// evaluation, checks.
func BenchmarkPosture(b *testing.B) {
	e, in := engine(b, policies.FS), healthy()
	b.ReportAllocs()
	for b.Loop() {
		if d, err := e.Posture(b.Context(), in); err != nil || d.Verdict != policy.Compliant {
			b.Fatal(d.Verdict, err)
		}
	}
}

// BenchmarkBareQuery is OPA's own part of it: the same query of the same
// modules, over an input that is parsed already.
func BenchmarkBareQuery(b *testing.B) {
	var options []func(*rego.Rego)
	err := fs.WalkDir(policies.FS, "troth", func(name string, d fs.DirEntry, err error) error {
		if err != nil || path.Ext(name) != ".rego" || strings.HasSuffix(name, "_test.rego") {
			return err
		}
		content, err := fs.ReadFile(policies.FS, name)
		options = append(options, rego.Module(name, string(content)))
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	options = append(options, rego.Query("data.troth.posture.decision"), rego.Store(inmem.NewFromObject(map[string]any{})))
	query, err := rego.New(options...).PrepareForEval(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	document, err := policy.Document(healthy())
	if err != nil {
		b.Fatal(err)
	}
	input, err := ast.ValueFromReader(bytes.NewReader(document))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if rs, err := query.Eval(b.Context(), rego.EvalParsedInput(input)); err != nil || len(rs) != 1 {
			b.Fatal(err)
		}
	}
}

func BenchmarkAccess(b *testing.B) {
	e, in := engine(b, policies.FS), visitor()
	b.ReportAllocs()
	for b.Loop() {
		if d, err := e.Access(b.Context(), in); err != nil || !d.Allow {
			b.Fatal(d, err)
		}
	}
}

func BenchmarkNew(b *testing.B) {
	for b.Loop() {
		engine(b, policies.FS)
	}
}
