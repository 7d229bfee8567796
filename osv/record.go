package osv

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
)

// Record is what Parse keeps of an OSV record. Its JSON form is again an OSV
// record, which Parse reads as the same one.
type Record struct {
	ID        string    `json:"id"`
	Modified  time.Time `json:"modified"`
	Published time.Time `json:"published,omitzero"`
	Withdrawn time.Time `json:"withdrawn,omitzero"` // zero: it stands
	// Aliases are other names of the same vulnerability; Upstream those of which
	// this record is a distribution's view.
	Aliases  []string   `json:"aliases,omitempty"`
	Upstream []string   `json:"upstream,omitempty"`
	Summary  string     `json:"summary,omitempty"` // hostile text without control characters
	Scores   []Score    `json:"severity,omitempty"`
	Affected []Affected `json:"affected,omitempty"`
	Words    words      `json:"database_specific,omitzero"`
}

// Score is a severity as a record gives it: Type is CVSS_V2, CVSS_V3, CVSS_V4 with
// a vector, or another with a word.
type Score struct {
	Type  string `json:"type"`
	Score string `json:"score"`
}

// Affected is one package with the versions that have the vulnerability.
type Affected struct {
	Package  Package  `json:"package,omitzero"`
	Scores   []Score  `json:"severity,omitempty"`
	Ranges   []Range  `json:"ranges,omitempty"`
	Versions []string `json:"versions,omitempty"`
	// Words are what ecosystems and databases say of severity in their own words.
	Ecosystem words `json:"ecosystem_specific,omitzero"`
	Words     words `json:"database_specific,omitzero"`
}

// Package is a package as OSV names it.
type Package struct {
	Ecosystem string `json:"ecosystem,omitempty"` // "Debian:12": with the release that is meant
	Name      string `json:"name,omitempty"`
	PURL      string `json:"purl,omitempty"`
}

// Range is a line of versions with what happened on it.
type Range struct {
	Type   string  `json:"type"` // SEMVER, ECOSYSTEM, GIT
	Events []Event `json:"events"`
}

// Event is where a vulnerability begins or ends; one field is set.
type Event struct {
	Introduced   string `json:"introduced,omitempty"` // "0": before every version
	Fixed        string `json:"fixed,omitempty"`
	LastAffected string `json:"last_affected,omitempty"`
	Limit        string `json:"limit,omitempty"` // "*": none
}

// words takes one word of severity out of an object that a database may fill as
// it likes, and ignores the rest, whatever it is.
type words struct {
	Severity string `json:"severity,omitempty"`
}

// UnmarshalJSON never fails: what is not understood says nothing.
func (w *words) UnmarshalJSON(text []byte) error {
	var all map[string]json.RawMessage
	_ = json.Unmarshal(text, &all) // where it is no object, it has no word
	for _, key := range []string{"severity", "urgency", "priority", "ubuntu_priority"} {
		var word string
		if json.Unmarshal(all[key], &word) == nil && severityOf(word) != Unrated {
			w.Severity = word
			return nil
		}
	}
	return nil
}

var idPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:+-]*$`)

// Parse reads one record. Unknown fields are ignored, as the schema asks. Errors
// wrap ErrRecord.
func Parse(text []byte) (Record, error) {
	if len(text) > MaxRecordBytes {
		return Record{}, fmt.Errorf("%w: more than %d bytes", ErrRecord, MaxRecordBytes)
	}
	var r Record
	if err := json.Unmarshal(text, &r); err != nil {
		return Record{}, fmt.Errorf("%w: %w", ErrRecord, err)
	}
	r.Summary = plain(r.Summary)
	r.Modified, r.Published, r.Withdrawn = r.Modified.UTC(), r.Published.UTC(), r.Withdrawn.UTC()
	if err := r.validate(); err != nil {
		return Record{}, fmt.Errorf("%w: %w", ErrRecord, err)
	}
	return r, nil
}

// Names are the ID and all other names of the vulnerability, each once.
func (r Record) Names() []string {
	names := slices.Concat([]string{r.ID}, r.Aliases, r.Upstream)
	slices.Sort(names[1:])
	return slices.Compact(names)
}

func (r Record) validate() error {
	if !validID(r.ID) {
		return fmt.Errorf("its id is not 1 to %d letters, digits and . _ : + -", maxID)
	}
	if r.Modified.IsZero() {
		return fmt.Errorf("it does not say when it was modified")
	}
	if year := r.Modified.Year(); year < 1970 || year > 9999 {
		return fmt.Errorf("it was modified in the year %d", year)
	}
	if len(r.Aliases)+len(r.Upstream) > maxNames {
		return fmt.Errorf("it has more than %d other names", maxNames)
	}
	for _, name := range slices.Concat(r.Aliases, r.Upstream) {
		if !validID(name) {
			return fmt.Errorf("another name of it is not 1 to %d letters, digits and . _ : + -", maxID)
		}
	}
	if len(r.Affected) > maxAffected {
		return fmt.Errorf("it affects more than %d packages", maxAffected)
	}
	if err := validScores(r.Scores); err != nil {
		return err
	}
	events, versions := 0, 0
	for _, a := range r.Affected {
		for _, line := range a.Ranges {
			events += len(line.Events)
		}
		versions += len(a.Versions)
		if events > maxEvents || versions > maxVersions {
			return fmt.Errorf("it has more than %d events or %d versions", maxEvents, maxVersions)
		}
		if err := a.validate(); err != nil {
			return err
		}
	}
	return nil
}

func (a Affected) validate() error {
	for _, s := range []string{a.Package.Ecosystem, a.Package.Name, a.Package.PURL} {
		if !validWord(s) {
			return errWord("package")
		}
	}
	for _, v := range a.Versions {
		if !validWord(v) {
			return errWord("version")
		}
	}
	for _, line := range a.Ranges {
		if !validWord(line.Type) {
			return errWord("type of a range")
		}
		for _, e := range line.Events {
			for _, v := range []string{e.Introduced, e.Fixed, e.LastAffected, e.Limit} {
				if !validWord(v) {
					return errWord("version")
				}
			}
		}
	}
	return validScores(a.Scores)
}

func validScores(scores []Score) error {
	if len(scores) > maxNames {
		return fmt.Errorf("it has more than %d scores", maxNames)
	}
	for _, s := range scores {
		if !validWord(s.Type) || !validWord(s.Score) {
			return errWord("score")
		}
	}
	return nil
}

func errWord(what string) error {
	return fmt.Errorf("a %s has more than %d bytes, or control characters", what, maxWord)
}

func validID(s string) bool { return len(s) <= maxID && idPattern.MatchString(s) }

func validWord(s string) bool {
	return len(s) <= maxWord && !strings.ContainsFunc(s, unicode.IsControl)
}

// plain is a text for people on one line.
func plain(s string) string {
	s = strings.Join(strings.FieldsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }), " ")
	if runes := []rune(s); len(runes) > maxSummary {
		return string(runes[:maxSummary])
	}
	return s
}
