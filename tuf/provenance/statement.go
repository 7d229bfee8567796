package provenance

import "fmt"

// Predicate types of SLSA provenance.
const (
	SLSA1  = "https://slsa.dev/provenance/v1"
	SLSA02 = "https://slsa.dev/provenance/v0.2"
)

// Types of in-toto statements.
const (
	statement1  = "https://in-toto.io/Statement/v1"
	statement01 = "https://in-toto.io/Statement/v0.1"
)

// Statement is what a verified statement says of an image. Builder, BuildType and
// Source are the signer's words, and empty for a predicate that is no SLSA
// provenance.
type Statement struct {
	Signer
	PredicateType string
	Builder       string // id of the builder
	BuildType     string
	// Source is what it was built from: the first of resolvedDependencies (SLSA v1),
	// or configSource (v0.2); a URI.
	Source string
}

// Provenance verifies a bundle with an in-toto statement, and that the image with
// the given SHA-256 is among its subjects. Errors wrap ErrMalformed, ErrUntrusted
// or ErrUnverified.
func (t *Trust) Provenance(text, digest []byte) (s Statement, err error) {
	defer recovered(&err)
	b, err := parse(text)
	if err != nil {
		return Statement{}, err
	}
	if b.GetDsseEnvelope() == nil {
		return Statement{}, fmt.Errorf("read provenance: %w: the bundle holds a signature, and no statement", ErrMalformed)
	}
	result, signer, err := t.verify(b, digest)
	if err != nil {
		return Statement{}, err
	}
	if result.Statement == nil {
		return Statement{}, fmt.Errorf("read provenance: %w: there is no statement", ErrMalformed)
	}
	if kind := result.Statement.GetType(); kind != statement1 && kind != statement01 {
		return Statement{}, fmt.Errorf("read provenance: %w: a statement of type %.100q", ErrMalformed, kind)
	}
	s = Statement{Signer: signer, PredicateType: result.Statement.GetPredicateType()}
	s.read(result.Statement.GetPredicate().AsMap())
	return s, nil
}

func (s *Statement) read(predicate map[string]any) {
	switch s.PredicateType {
	case SLSA1:
		s.Builder = text(predicate, "runDetails", "builder", "id")
		s.BuildType = text(predicate, "buildDefinition", "buildType")
		definition, _ := predicate["buildDefinition"].(map[string]any)
		if from, _ := definition["resolvedDependencies"].([]any); len(from) > 0 {
			first, _ := from[0].(map[string]any)
			s.Source = text(first, "uri")
		}
	case SLSA02:
		s.Builder = text(predicate, "builder", "id")
		s.BuildType = text(predicate, "buildType")
		s.Source = text(predicate, "invocation", "configSource", "uri")
	}
}

// text is the string at a path; empty where there is none.
func text(m map[string]any, path ...string) string {
	for _, key := range path[:len(path)-1] {
		m, _ = m[key].(map[string]any)
	}
	s, _ := m[path[len(path)-1]].(string)
	return s
}
