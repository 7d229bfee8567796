package policy

import (
	"fmt"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/format"
)

// Format writes a Rego module as opa fmt does.
func Format(name string, content []byte) ([]byte, error) {
	formatted, err := format.SourceWithOpts(name, content, format.Opts{RegoVersion: ast.RegoV1})
	if err != nil {
		return nil, fmt.Errorf("%w: format %s: %w", ErrBundle, name, err)
	}
	return formatted, nil
}
