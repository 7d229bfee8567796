package archive

import (
	"bytes"
	"encoding/json"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// maxRevision bounds the revision, in bytes.
const maxRevision = 128

// manifestJSON is OPA's .manifest.
type manifestJSON struct {
	Revision    string          `json:"revision"`
	Roots       *[]string       `json:"roots"`
	RegoVersion *int            `json:"rego_version,omitempty"`
	Metadata    map[string]any  `json:"metadata,omitempty"`
	Wasm        json.RawMessage `json:"wasm,omitempty"`
}

func parseManifest(text []byte) (Manifest, error) {
	var m manifestJSON
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&m); err != nil {
		return Manifest{}, refuse("%s: %w", manifestName, err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return Manifest{}, refuse("%s: something follows the JSON value", manifestName)
	}
	switch {
	case m.Roots == nil || len(*m.Roots) == 0:
		return Manifest{}, refuse("%s: roots are not declared: name the paths that the bundle is about, as [\"troth\", \"config\"]", manifestName)
	case m.RegoVersion != nil && *m.RegoVersion != 1:
		return Manifest{}, refuse("%s: rego_version %d: policies are written in Rego v1", manifestName, *m.RegoVersion)
	case m.Wasm != nil:
		return Manifest{}, refuse("%s: wasm: compiled policy cannot be examined", manifestName)
	case len(m.Revision) > maxRevision:
		return Manifest{}, refuse("%s: the revision has more than %d bytes", manifestName, maxRevision)
	}
	out := Manifest{Revision: m.Revision}
	for _, root := range *m.Roots {
		root = strings.Trim(root, "/")
		if root == "" || path.Clean(root) != root || strings.HasPrefix(root, "..") {
			return Manifest{}, refuse("%s: root %q is no path: a bundle is never about everything", manifestName, root)
		}
		for _, other := range out.Roots {
			if within(root, other) || within(other, root) {
				return Manifest{}, refuse("%s: roots %s and %s overlap", manifestName, other, root)
			}
		}
		out.Roots = append(out.Roots, root)
	}
	slices.Sort(out.Roots)
	return out, nil
}

// encode writes the manifest for OPA and for us.
func (m Manifest) encode() ([]byte, error) {
	one := 1
	return json.Marshal(manifestJSON{Revision: m.Revision, Roots: &m.Roots, RegoVersion: &one})
}

// within says whether the path is the root or below it.
func within(name, root string) bool { return name == root || strings.HasPrefix(name, root+"/") }

func (m Manifest) covers(name string) bool {
	return slices.ContainsFunc(m.Roots, func(root string) bool { return within(name, root) })
}

// leads says whether a root is below the path.
func (m Manifest) leads(name string) bool {
	return name == "" || slices.ContainsFunc(m.Roots, func(root string) bool { return within(root, name) })
}

// holds refuses a file that says something outside of the roots.
func (m Manifest) holds(name string, content []byte) error {
	if path.Base(name) == dataName {
		return m.holdsData(name, content)
	}
	module, err := ast.ParseModuleWithOpts(name, string(content), ast.ParserOptions{RegoVersion: ast.RegoV1})
	if err != nil {
		return refuse("parse %s: %w", name, err)
	}
	if module == nil {
		return refuse("parse %s: it is empty", name)
	}
	at, err := module.Package.Path.Ptr() // data.troth.posture is data/troth/posture
	if err != nil {
		return refuse("parse %s: %w", name, err)
	}
	at = strings.TrimPrefix(strings.TrimPrefix(at, "data"), "/")
	if !m.covers(at) {
		return refuse("%s: package %s is outside of the declared roots %s", name, strings.ReplaceAll(at, "/", "."), strings.Join(m.Roots, ", "))
	}
	return nil
}

func (m Manifest) holdsData(name string, content []byte) error {
	var value any
	if err := json.Unmarshal(content, &value); err != nil {
		return refuse("parse %s: %w", name, err)
	}
	at := path.Dir(name)
	if at == "." {
		at = ""
	}
	if outside, ok := m.outside(at, value); ok {
		return refuse("%s: data at %q is outside of the declared roots %s", name, outside, strings.Join(m.Roots, ", "))
	}
	return nil
}

// outside finds a path of the value that no root covers.
func (m Manifest) outside(at string, value any) (string, bool) {
	if m.covers(at) {
		return "", false
	}
	object, ok := value.(map[string]any)
	if !ok || !m.leads(at) {
		return at, true
	}
	for key, inner := range object {
		if found, ok := m.outside(strings.TrimPrefix(at+"/"+key, "/"), inner); ok {
			return found, true
		}
	}
	return "", false
}
