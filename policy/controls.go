package policy

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
)

// ControlMeta is what a control is, from the METADATA annotation of its rule:
// title and description, and below custom id, theme, severity, grace, remediation,
// evidence and frameworks.
type ControlMeta struct {
	ID          string              `json:"id"` // lower-case words with hyphens, unique in the bundle
	Title       string              `json:"title"`
	Description string              `json:"description"`
	Severity    string              `json:"severity"`             // critical, high, medium, low
	Grace       time.Duration       `json:"grace"`                // how long a failure does not count; zero: it counts at once
	Remediation string              `json:"remediation"`          // none, quarantine, patch
	Frameworks  map[string][]string `json:"frameworks,omitempty"` // framework to the requirements that it serves
	Theme       string              `json:"theme,omitempty"`      // for people: what it is listed under
	// Evidence is what a pass is worth: EvidenceProven, EvidenceReported, or empty
	// where its author does not say.
	Evidence string `json:"evidence,omitempty"`
	File     string `json:"file"` // path in the bundle
	Line     int    `json:"line"`
}

// What a control's pass rests on.
const (
	EvidenceProven   = "proven"   // verified evidence, or the service's own records
	EvidenceReported = "reported" // the device's own words: whoever controls the device can have it pass
)

// Controls are all controls of the bundle, sorted by id. The slice is the
// caller's own; what it holds is not to be changed.
func (e *Engine) Controls() []ControlMeta { return slices.Clone(e.controls) }

// Control is the control with the given id.
func (e *Engine) Control(id string) (ControlMeta, bool) {
	i, ok := e.byID[id]
	if !ok {
		return ControlMeta{}, false
	}
	return e.controls[i], true
}

func (m ControlMeta) result(outcome, reason string, now time.Time) ControlResult {
	c := ControlResult{
		ID: m.ID, Title: m.Title, Severity: m.Severity, Outcome: outcome, Reason: reason,
		Frameworks: m.Frameworks, Remediation: m.Remediation, Reported: m.Evidence == EvidenceReported,
	}
	if c.Failing() {
		c.Since, c.EnforcedAt = &now, &now
	}
	return c
}

var controlID = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)

// controlsOf reads the metadata of each rule named controls in
// data.troth.posture.
func controlsOf(c *ast.Compiler) ([]ControlMeta, error) {
	byID := map[string]ControlMeta{}
	for _, rule := range c.GetRulesExact(ast.MustParseRef("data.troth.posture.controls")) {
		m, err := controlOf(rule, c.GetAnnotationSet())
		if err != nil {
			return nil, fmt.Errorf("%s: %w", rule.Location, err)
		}
		if twin, ok := byID[m.ID]; ok {
			return nil, fmt.Errorf("%s: control %s is already in %s", rule.Location, m.ID, twin.File)
		}
		byID[m.ID] = m
	}
	return slices.SortedFunc(maps.Values(byID), func(a, b ControlMeta) int { return cmp.Compare(a.ID, b.ID) }), nil
}

func controlOf(rule *ast.Rule, set *ast.AnnotationSet) (ControlMeta, error) {
	var m ControlMeta
	scope := set.GetRuleScope(rule)
	if len(scope) != 1 {
		return m, fmt.Errorf("a control has one METADATA annotation of its own, not %d", len(scope))
	}
	m.Title, m.Description = scope[0].Title, scope[0].Description
	m.File, m.Line = rule.Location.File, rule.Location.Row
	if m.Title == "" || m.Description == "" {
		return m, fmt.Errorf("a control has a title and a description")
	}
	return m, m.readCustom(scope[0].Custom)
}

func (m *ControlMeta) readCustom(custom map[string]any) error {
	r := object(custom).read("custom")
	m.ID = r.text("id")
	m.Severity = r.word("severity", "critical", "high", "medium", "low")
	m.Remediation = r.word("remediation", RemedyNone, RemedyQuarantine, RemedyPatch)
	m.Theme = optional(r, "theme")
	m.Evidence = optional(r, "evidence")
	grace, frameworks := any("0s"), any(map[string]any{})
	if v, ok := r.take("grace"); ok {
		grace = v
	}
	if v, ok := r.take("frameworks"); ok {
		frameworks = v
	}
	if err := r.done(); err != nil {
		return err
	}
	if !controlID.MatchString(m.ID) {
		return fmt.Errorf("id %q is not made of lower-case words with hyphens", m.ID)
	}
	if m.Evidence != "" && m.Evidence != EvidenceProven && m.Evidence != EvidenceReported {
		return fmt.Errorf("control %s: evidence is %s or %s, not %q", m.ID, EvidenceProven, EvidenceReported, m.Evidence)
	}
	text, _ := grace.(string)
	var err error
	if m.Grace, err = time.ParseDuration(text); err != nil || m.Grace < 0 {
		return fmt.Errorf("control %s: grace %v is not a duration", m.ID, grace)
	}
	if m.Frameworks, err = readFrameworks(frameworks); err != nil {
		return fmt.Errorf("control %s: %w", m.ID, err)
	}
	return nil
}

// optional is the text at name, empty where there is none.
func optional(r *reader, name string) string {
	if _, ok := r.from[name]; !ok {
		return ""
	}
	return r.text(name)
}

func readFrameworks(v any) (map[string][]string, error) {
	named, ok := v.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("frameworks is a %T", v)
	}
	frameworks := make(map[string][]string, len(named))
	for name, v := range named {
		list, ok := v.([]any)
		if !ok || len(list) == 0 {
			return nil, fmt.Errorf("framework %s has no list of requirements", name)
		}
		for _, item := range list {
			text, ok := item.(string)
			if !ok || text == "" {
				return nil, fmt.Errorf("framework %s: requirement %v is not a text (quote it)", name, item)
			}
			frameworks[name] = append(frameworks[name], text)
		}
	}
	return frameworks, nil
}
