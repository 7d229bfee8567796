package osv

import (
	"encoding/json"
	"fmt"
	"io"
)

// SBOM is what a bill of materials says of packages.
type SBOM struct {
	Components []Component // each package URL once
	// Nameless is how many components have no package URL that can be read: nothing
	// is known of them.
	Nameless int
}

type document struct {
	Format     string `json:"bomFormat"`
	Components []part `json:"components"`
}

type part struct {
	Type       string `json:"type"`
	PURL       string `json:"purl"`
	Components []part `json:"components"`
}

// ParseSBOM reads a CycloneDX document (ECMA-424, JSON) to its end. Errors wrap
// ErrSBOM, or are those of r.
func ParseSBOM(r io.Reader) (SBOM, error) {
	text, err := io.ReadAll(io.LimitReader(r, MaxSBOMBytes+1))
	if err != nil {
		return SBOM{}, fmt.Errorf("read bill of materials: %w", err)
	}
	if len(text) > MaxSBOMBytes {
		return SBOM{}, fmt.Errorf("%w: more than %d bytes", ErrSBOM, MaxSBOMBytes)
	}
	var d document
	if err := json.Unmarshal(text, &d); err != nil {
		return SBOM{}, fmt.Errorf("%w: %w", ErrSBOM, err)
	}
	if d.Format != "CycloneDX" {
		return SBOM{}, fmt.Errorf("%w: bomFormat is %.32q", ErrSBOM, d.Format)
	}
	s := SBOM{}
	w := walk{seen: map[string]bool{}, to: &s}
	return s, w.add(d.Components, 0)
}

type walk struct {
	seen  map[string]bool
	count int
	to    *SBOM
}

func (w *walk) add(parts []part, depth int) error {
	if depth > maxNesting {
		return fmt.Errorf("%w: components more than %d deep", ErrSBOM, maxNesting)
	}
	for _, p := range parts {
		if w.count++; w.count > MaxComponents {
			return fmt.Errorf("%w: more than %d components", ErrSBOM, MaxComponents)
		}
		if err := w.add(p.Components, depth+1); err != nil {
			return err
		}
		if p.Type == "file" || w.seen[p.PURL] { // files belong to packages
			continue
		}
		c, err := ParseComponent(p.PURL)
		if err != nil {
			w.to.Nameless++
			continue
		}
		w.seen[p.PURL] = true
		w.to.Components = append(w.to.Components, c)
	}
	return nil
}
