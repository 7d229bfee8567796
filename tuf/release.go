package tuf

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Bounds of a release's signed metadata.
const (
	MaxReleaseBytes = 64 << 10  // the JSON form of a Release
	MaxCounter      = 1<<53 - 1 // the largest integer that every JSON reader keeps exact
	maxNotes        = 16 << 10
	maxWord         = 128 // model, version
)

// Release is what the targets role signs about one firmware image. It is the
// "custom" field of the image's entry in targets.json (TUF 1.0.31, section
// 4.5), so a device and the verifier read it from metadata that they trust.
type Release struct {
	Name      string     `json:"name"`                // target name, a relative path of plain segments; see ValidName
	Model     string     `json:"model"`               // hardware model that it is for
	Version   string     `json:"version"`             // for people; never compared
	Counter   uint64     `json:"counter"`             // 1 to MaxCounter, grows with every release of the model
	Security  bool       `json:"security,omitempty"`  // fixes a vulnerability
	Notes     string     `json:"notes,omitempty"`     // for people, at most 16 KiB
	Reference *Reference `json:"reference,omitempty"` // what a device's TPM must show once it runs this
	IMA       *IMA       `json:"ima,omitempty"`       // which files may run
	// Minimum is the counter of the release that a device must run, or a later one,
	// to install this; zero: any. Devices below it first need one in between.
	Minimum uint64 `json:"minimum,omitempty"`
	// DowngradeFrom is the highest counter of a release of the model that this one
	// may take the place of, although its own is lower; zero: none.
	DowngradeFrom uint64    `json:"downgrade_from,omitempty"`
	SBOM          *SBOM     `json:"sbom,omitempty"`
	Provenance    *Attached `json:"provenance,omitempty"` // who built it: a sigstore bundle with an in-toto statement
	Signature     *Attached `json:"signature,omitempty"`  // a sigstore bundle with a signature over the image
	Chunks        *Chunks   `json:"chunks,omitempty"`     // what a device that has the release before need not fetch
}

// Reference holds the PCR values that a device quotes once it runs the
// release. The JSON form is that of attest.Reference:
// {"bank":"sha256","pcrs":{"0":"hex"}}.
type Reference struct {
	Bank string            `json:"bank"` // "sha256"
	PCRs map[string]string `json:"pcrs"` // PCR index in decimal, 0 to 23 → 64 lower-case hex digits
}

// SBOM points to the release's bill of materials and pins it by digest.
type SBOM struct {
	Format string `json:"format"`           // for example "cyclonedx+json"
	SHA256 string `json:"sha256"`           // 64 lower-case hex digits
	Target string `json:"target,omitempty"` // its target name, when it is published here
}

// ParseRelease reads a Release from a target's signed custom field. It accepts
// unknown fields, which later versions may add, and nothing that Validate
// refuses. Its errors wrap ErrInvalid.
func ParseRelease(custom []byte) (Release, error) {
	var rel Release
	if len(custom) > MaxReleaseBytes {
		return Release{}, fmt.Errorf("parse release: %w: %d bytes, at most %d", ErrInvalid, len(custom), MaxReleaseBytes)
	}
	dec := json.NewDecoder(bytes.NewReader(custom))
	if err := dec.Decode(&rel); err != nil {
		return Release{}, fmt.Errorf("parse release: %w: %w", ErrInvalid, err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return Release{}, fmt.Errorf("parse release: %w: data after the JSON value", ErrInvalid)
	}
	if err := rel.Validate(); err != nil {
		return Release{}, fmt.Errorf("parse release: %w", err)
	}
	return rel, nil
}

// Validate says what is wrong with a release, or nil. Its errors wrap ErrInvalid.
func (r Release) Validate() error {
	if err := ValidName(r.Name); err != nil {
		return err
	}
	if err := validWord("model", r.Model); err != nil {
		return err
	}
	if err := validWord("version", r.Version); err != nil {
		return err
	}
	if r.Counter < 1 || r.Counter > MaxCounter {
		return fmt.Errorf("%w: counter %d is not in 1 to %d", ErrInvalid, r.Counter, uint64(MaxCounter))
	}
	if len(r.Notes) > maxNotes || !utf8.ValidString(r.Notes) {
		return fmt.Errorf("%w: notes must be UTF-8 of at most %d bytes", ErrInvalid, maxNotes)
	}
	if r.Reference == nil {
		return fmt.Errorf("%w: no reference values: no device could ever prove that it runs this", ErrInvalid)
	}
	if err := r.Reference.Validate(); err != nil {
		return err
	}
	if r.IMA != nil {
		if err := r.IMA.validate(); err != nil {
			return err
		}
	}
	if err := r.validOrder(); err != nil {
		return err
	}
	return r.validBeside()
}

// validOrder refuses a release that no device could install.
func (r Release) validOrder() error {
	switch {
	case r.Minimum > MaxCounter || r.DowngradeFrom > MaxCounter:
		return fmt.Errorf("%w: a counter is at most %d", ErrInvalid, uint64(MaxCounter))
	case r.DowngradeFrom != 0 && r.DowngradeFrom <= r.Counter:
		return fmt.Errorf("%w: it goes back from %d, which is not above its own counter %d", ErrInvalid, r.DowngradeFrom, r.Counter)
	case r.Minimum >= r.Counter && r.Minimum > r.DowngradeFrom:
		return fmt.Errorf("%w: it wants devices to run %d before it, and is %d itself", ErrInvalid, r.Minimum, r.Counter)
	}
	return nil
}

func (r Release) validBeside() error {
	if r.SBOM != nil {
		if err := r.SBOM.validate(); err != nil {
			return err
		}
	}
	if r.Provenance != nil {
		if err := r.Provenance.validate("provenance"); err != nil {
			return err
		}
	}
	if r.Signature != nil {
		if err := r.Signature.validate("signature"); err != nil {
			return err
		}
	}
	if r.Chunks != nil {
		return r.Chunks.validate()
	}
	return nil
}

// mayFollow says whether the release may be published beside one of its model with
// that counter.
func (r Release) mayFollow(counter uint64) bool {
	return counter < r.Counter || counter > r.Counter && counter <= r.DowngradeFrom
}

// unpublished says what is wrong with a release that is to be published, or nil.
func (r Release) unpublished() error {
	if r.IMA != nil && r.IMA.AllowList != nil || r.Provenance != nil || r.Signature != nil || r.Chunks != nil {
		return fmt.Errorf("%w: the places of the targets beside it are filled in by publishing them", ErrInvalid)
	}
	return r.Validate()
}

// Validate checks bank, indexes and digests. An empty set is refused: it would
// match every device. Its errors wrap ErrInvalid.
func (r Reference) Validate() error {
	if r.Bank != "sha256" {
		return fmt.Errorf("%w: reference bank %q is not sha256", ErrInvalid, r.Bank)
	}
	if len(r.PCRs) == 0 {
		return fmt.Errorf("%w: reference values are empty", ErrInvalid)
	}
	for index, value := range r.PCRs {
		n, err := strconv.Atoi(index)
		if err != nil || n < 0 || n > 23 || strconv.Itoa(n) != index {
			return fmt.Errorf("%w: PCR index %q is not in 0 to 23", ErrInvalid, index)
		}
		if !isSHA256(value) {
			return fmt.Errorf("%w: PCR %s is not 64 lower-case hex digits", ErrInvalid, index)
		}
	}
	return nil
}

func (s SBOM) validate() error {
	if err := validWord("SBOM format", s.Format); err != nil {
		return err
	}
	if !isSHA256(s.SHA256) {
		return fmt.Errorf("%w: SBOM digest is not 64 lower-case hex digits", ErrInvalid)
	}
	if s.Target != "" {
		return ValidName(s.Target)
	}
	return nil
}

func isSHA256(s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == 32 && strings.ToLower(s) == s
}

func validWord(what, s string) error {
	if s == "" || len(s) > maxWord || !utf8.ValidString(s) || strings.TrimSpace(s) != s {
		return fmt.Errorf("%w: %s must be 1 to %d bytes without outer spaces", ErrInvalid, what, maxWord)
	}
	if strings.ContainsFunc(s, unicode.IsControl) {
		return fmt.Errorf("%w: %s has control characters", ErrInvalid, what)
	}
	return nil
}

// ValidName refuses target names that could mean something else to a file
// system, a URL or a shell: it takes relative paths of at most 200 bytes whose
// segments are letters, digits and ._+- and do not begin with a dot. Its
// errors wrap ErrInvalid.
func ValidName(name string) error {
	if name == "" || len(name) > 200 {
		return fmt.Errorf("%w: target name must be 1 to 200 bytes", ErrInvalid)
	}
	for segment := range strings.SplitSeq(name, "/") {
		if segment == "" || segment[0] == '.' || segment[0] == '-' {
			return fmt.Errorf("%w: target name %q has an empty, hidden or option-like segment", ErrInvalid, name)
		}
		for _, c := range []byte(segment) {
			if !plain(c) {
				return fmt.Errorf("%w: target name %q has the byte %q", ErrInvalid, name, c)
			}
		}
	}
	return nil
}

func plain(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("._+-", c) >= 0
}
