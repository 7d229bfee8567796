package policy

import (
	"bytes"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"
)

// FuzzValueOf compares with OPA's own reader: the same value, or the same refusal.
// (In the package itself, for a value of OPA is no part of its API.)
func FuzzValueOf(f *testing.F) {
	for _, seed := range []string{
		`{}`, `[]`, `null`, ` { "a" : [ 1 , -2.5, true, false, null, "x" ] , "b" : { } } `, `"\u00e4\n\"\\"`, `{"a":1,"a":2}`, `{"":""}`,
		`1e5`, `{"x":1e300000000}`, "\"\xff\"", `"\ud800"`, `{} {}`, `{`, ``, `[1,]`, `123456789012345678901234567890123456789`, `-0`, `[[[["deep"]]]]`, `{"é":"ü\t"}`, "\u2028",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, document []byte) {
		want, wrong := ast.ValueFromReader(bytes.NewReader(document))
		got, err := valueOf(document)
		if (err == nil) != (wrong == nil) {
			t.Fatalf("%q: %v, and OPA says %v", document, err, wrong)
		}
		if err == nil && (got.Compare(want) != 0 || got.String() != want.String() || got.Hash() != want.Hash()) {
			t.Fatalf("%q: %v, not %v", document, got, want)
		}
	})
}
