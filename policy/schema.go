package policy

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
)

// Schema is the JSON schema (draft 7) of what a kind of decision is asked with
// and of what is recorded of its answer, made from the Go types themselves. No
// field is required: a document that is older than a field lacks it. ok is false
// for a kind that there is not.
func Schema(kind Kind) (input, decision []byte, ok bool) {
	s, ok := specOf(kind)
	if !ok {
		return nil, nil, false
	}
	return render(kind, "input", s.input), render(kind, "decision", s.decision), true
}

func render(kind Kind, what string, of any) []byte {
	schema := schemaOf(reflect.TypeOf(of))
	schema["$schema"] = "http://json-schema.org/draft-07/schema#"
	schema["title"] = fmt.Sprintf("%s of a decision of the kind %s", what, kind)
	text, err := json.MarshalIndent(schema, "", "  ")
	if err != nil {
		panic(err) // maps, slices and strings have a JSON form
	}
	return append(text, '\n')
}

// schemaOf follows encoding/json: what it would write of a value of the type.
func schemaOf(t reflect.Type) map[string]any {
	switch {
	case t == reflect.TypeFor[time.Time]():
		return map[string]any{"type": "string", "format": "date-time"}
	case t.Kind() == reflect.Pointer:
		return schemaOf(t.Elem())
	case t.Implements(reflect.TypeFor[json.Marshaler]()), t.Kind() == reflect.Interface:
		return map[string]any{} // anything
	case t.Implements(reflect.TypeFor[encoding.TextMarshaler]()):
		return map[string]any{"type": "string"}
	}
	switch t.Kind() {
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.String:
		return map[string]any{"type": "string"}
	case reflect.Float32, reflect.Float64:
		return map[string]any{"type": "number"}
	case reflect.Slice, reflect.Array:
		if t.Elem().Kind() == reflect.Uint8 {
			return map[string]any{"type": "string", "contentEncoding": "base64"}
		}
		return map[string]any{"type": "array", "items": schemaOf(t.Elem())}
	case reflect.Map:
		return map[string]any{"type": "object", "additionalProperties": schemaOf(t.Elem())}
	case reflect.Struct:
		properties := map[string]any{}
		addFields(properties, t)
		return map[string]any{"type": "object", "properties": properties, "additionalProperties": false}
	default:
		return map[string]any{"type": "integer"}
	}
}

func addFields(properties map[string]any, t reflect.Type) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "" && f.Type.Kind() == reflect.Struct:
			addFields(properties, f.Type)
		case !f.IsExported() || name == "-":
		case name == "":
			properties[f.Name] = schemaOf(f.Type)
		default:
			properties[name] = schemaOf(f.Type)
		}
	}
}

// schemas tells the type checker what input is: in package troth.<kind> and below,
// the input of that kind; in any other, one of all of them.
func schemas() *ast.SchemaSet {
	set := ast.NewSchemaSet()
	var all []any
	for _, s := range specs() {
		schema := schemaOf(reflect.TypeOf(s.input))
		set.Put(schemaRef(s.kind), schema)
		all = append(all, schema)
	}
	set.Put(ast.SchemaRootRef, map[string]any{"anyOf": all})
	return set
}

func schemaRef(kind Kind) ast.Ref {
	return ast.MustParseRef("schema." + string(kind))
}

// checkInput compiles the modules as far as the types, with what input is. It is
// apart from the compilation that decides, so that schemas change nothing of what
// a policy sees of its own annotations.
func checkInput(b *bundle) error {
	modules := map[string]*ast.Module{}
	annotated := map[string]bool{} // packages with an annotation for them and all below
	for name, m := range b.modules {
		modules[name] = m
		for _, a := range m.Annotations {
			if err := selfContained(a); err != nil {
				return fmt.Errorf("%s: %w", a.Location, err)
			}
			if a.Scope == "subpackages" {
				annotated[m.Package.Path.String()] = true
			}
		}
	}
	for _, kind := range Kinds() {
		pkg := "data.troth." + string(kind)
		if annotated[pkg] {
			continue // its author says what input is there, or leaves it open
		}
		m, err := ast.ParseModuleWithOpts("", fmt.Sprintf(
			"# METADATA\n# scope: subpackages\n# schemas:\n#   - input: schema.%s\npackage troth.%s\n", kind, kind),
			ast.ParserOptions{ProcessAnnotation: true, RegoVersion: ast.RegoV1})
		if err != nil {
			return fmt.Errorf("annotate %s: %w", pkg, err)
		}
		modules["schema of "+string(kind)] = m
	}
	c := ast.NewCompiler().
		WithCapabilities(capabilities()).
		WithSchemas(schemas()).
		WithUseTypeCheckAnnotations(true).
		WithEnablePrintStatements(false).
		WithOnlyStagesUpTo(ast.StageCheckTypes)
	if c.Compile(modules); !c.Failed() {
		return nil
	}
	return fmt.Errorf("check against the schemas of input: %w", ordered(c.Errors))
}

// selfContained refuses a schema that refers to something outside of itself, which
// the compiler would read: a file of this machine, or an address.
func selfContained(a *ast.Annotations) error {
	var outside func(any) bool
	outside = func(v any) bool {
		switch v := v.(type) {
		case []any:
			return slices.ContainsFunc(v, outside)
		case map[string]any:
			for key, below := range v {
				text, isText := below.(string)
				if isText && (key == "$id" || key == "id" || key == "$ref" && !strings.HasPrefix(text, "#")) || outside(below) {
					return true
				}
			}
		}
		return false
	}
	for _, s := range a.Schemas {
		if s.Definition != nil && outside(*s.Definition) {
			return fmt.Errorf("the schema of %s refers to something outside of itself", s.Path)
		}
	}
	return nil
}

// ordered sorts errors by place, so that the same bundle is refused in the same
// words.
func ordered(errs ast.Errors) ast.Errors {
	sorted := slices.Clone(errs)
	slices.SortStableFunc(sorted, func(a, b *ast.Error) int {
		switch {
		case a.Location == nil || b.Location == nil:
			return 0
		default:
			return a.Location.Compare(b.Location)
		}
	})
	return sorted
}
