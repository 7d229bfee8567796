// Package sbom reads bills of materials: CycloneDX (ECMA-424) as JSON, within
// bounds.
package sbom

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	cyclonedx "github.com/CycloneDX/cyclonedx-go"
)

// Bounds of a bill of materials.
const (
	MaxBytes      = 32 << 20
	MaxComponents = 100_000 // nested ones included
	maxDepth      = 64      // of JSON values in each other
)

// ErrMalformed says that it is no bill of materials that is read here, or past a bound.
var ErrMalformed = errors.New("malformed bill of materials")

// Facts is what a bill of materials is judged by.
type Facts struct {
	Spec       string // version of CycloneDX, for example 1.6
	Components int    // nested ones included; not the image itself
	Identified int    // of them, those with a package URL
}

// Read reads a document to its end. Errors wrap ErrMalformed.
func Read(document []byte) (Facts, error) {
	if len(document) > MaxBytes {
		return Facts{}, fmt.Errorf("%w: more than %d bytes", ErrMalformed, MaxBytes)
	}
	if err := bounded(document); err != nil {
		return Facts{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	var bom cyclonedx.BOM
	if err := cyclonedx.NewBOMDecoder(bytes.NewReader(document), cyclonedx.BOMFileFormatJSON).Decode(&bom); err != nil {
		return Facts{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if bom.BOMFormat != cyclonedx.BOMFormat {
		return Facts{}, fmt.Errorf("%w: bomFormat is %.40q, not %s", ErrMalformed, bom.BOMFormat, cyclonedx.BOMFormat)
	}
	if bom.SpecVersion < cyclonedx.SpecVersion1_2 {
		return Facts{}, fmt.Errorf("%w: CycloneDX has a JSON form from version 1.2 on", ErrMalformed)
	}
	facts := Facts{Spec: bom.SpecVersion.String()}
	err := facts.count(bom.Components)
	return facts, err
}

func (f *Facts) count(components *[]cyclonedx.Component) error {
	if components == nil {
		return nil
	}
	for _, c := range *components {
		if c.Name == "" {
			return fmt.Errorf("%w: a component has no name", ErrMalformed)
		}
		f.Components++
		if c.PackageURL != "" {
			f.Identified++
		}
		if err := f.count(c.Components); err != nil {
			return err
		}
	}
	return nil
}

// bounded walks the document before it is taken into memory: a component that is
// three bytes long in it is hundreds there.
func bounded(document []byte) error {
	dec := json.NewDecoder(bytes.NewReader(document))
	var open []level
	components := 0
	for {
		token, err := dec.Token()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		delim, _ := token.(json.Delim)
		if delim == ']' || delim == '}' {
			open = open[:len(open)-1]
			continue
		}
		key := ""
		if len(open) > 0 {
			if key = open[len(open)-1].next(token); key == "" {
				continue // the token was a key
			}
		}
		if delim == 0 {
			continue
		}
		open = append(open, level{object: delim == '{', name: key})
		if delim == '{' && strings.EqualFold(key, "[]components") { // as encoding/json finds fields
			components++
		}
		if len(open) > maxDepth || components > MaxComponents {
			return fmt.Errorf("more than %d components, or values %d deep", MaxComponents, maxDepth)
		}
	}
}

// level is an object or array that is being walked.
type level struct {
	object bool
	name   string // of the field that it is the value of; [] and that of the array for an element
	key    string // of the field whose value comes next; empty: a key comes next
}

// next takes a token inside of the level: it names the value that the token
// begins, or is empty for a key.
func (l *level) next(token json.Token) string {
	if !l.object {
		return "[]" + l.name
	}
	if l.key == "" {
		key, _ := token.(string)
		l.key = "." + key
		return ""
	}
	name := l.key[1:]
	l.key = ""
	if name == "" {
		return "?"
	}
	return name
}
