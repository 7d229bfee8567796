package vault

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl"
	"github.com/hashicorp/hcl/hcl/ast"
)

// acl answers what policies together allow, as Vault does
// (https://developer.hashicorp.com/vault/docs/concepts/policies, "Policy syntax"
// and "Priority matching"). Parameters are not looked at: a path that allows some
// counts as allowed.
type acl struct {
	rules map[string][]string // capabilities by pattern; ["deny"] for none

	// templated are patterns that depend on who asks; they match nothing here.
	templated []string
}

// maxPolicy bounds a policy's text, in bytes; Vault stores no larger ones by
// default.
const maxPolicy = 1 << 20

// add reads one policy in HCL or JSON.
func (a *acl) add(text string) error {
	if len(text) > maxPolicy {
		return errors.New("policy is too long")
	}
	file, err := hcl.Parse(text)
	if err != nil {
		return fmt.Errorf("parse policy: %w", err)
	}
	root, ok := file.Node.(*ast.ObjectList)
	if !ok {
		return errors.New("parse policy: not a list of paths")
	}
	if a.rules == nil {
		a.rules = map[string][]string{}
	}
	for _, item := range root.Filter("path").Items {
		if len(item.Keys) == 0 {
			return errors.New("parse policy: a path without a name")
		}
		pattern, ok := item.Keys[0].Token.Value().(string)
		if !ok {
			return errors.New("parse policy: a path that is no text")
		}
		var rule struct {
			Policy       string   `hcl:"policy"`
			Capabilities []string `hcl:"capabilities"`
		}
		if err := hcl.DecodeObject(&rule, item.Val); err != nil {
			return fmt.Errorf("parse policy: path %q: %w", pattern, err)
		}
		a.rule(strings.TrimPrefix(pattern, "/"), append(rule.Capabilities, oldCapabilities(rule.Policy)...))
	}
	return nil
}

// oldCapabilities are those of a rule in the form of Vault before 0.5.
func oldCapabilities(policy string) []string {
	switch policy {
	case "deny":
		return []string{"deny"}
	case "read":
		return []string{"read", "list"}
	case "write":
		return []string{"create", "read", "update", "delete", "list"}
	case "sudo":
		return []string{"create", "read", "update", "delete", "list", "sudo"}
	}
	return nil
}

// rule adds a rule: of one pattern in several policies the capabilities add up,
// and a denial wins.
func (a *acl) rule(pattern string, capabilities []string) {
	if strings.Contains(pattern, "{{") {
		a.templated = append(a.templated, pattern)
		return
	}
	have := a.rules[pattern]
	if slices.Contains(have, "deny") || slices.Contains(capabilities, "deny") {
		a.rules[pattern] = []string{"deny"}
		return
	}
	for _, capability := range capabilities {
		if !slices.Contains(have, capability) {
			have = append(have, capability)
		}
	}
	a.rules[pattern] = have
}

// allows returns the capabilities on a path; none for a denied one.
func (a *acl) allows(path string) []string {
	best := ""
	capabilities, found := a.rules[path]
	if !found || isPattern(path) {
		capabilities = nil
		for pattern, granted := range a.rules {
			if isPattern(pattern) && matches(pattern, path) && (best == "" || outranks(pattern, best)) {
				best, capabilities = pattern, granted
			}
		}
	}
	if slices.Contains(capabilities, "deny") {
		return nil
	}
	return capabilities
}

func isPattern(pattern string) bool {
	return strings.HasSuffix(pattern, "*") || segments(pattern) > 0
}

// segments counts the wildcards that stand for one segment of a path.
func segments(pattern string) int {
	count := 0
	for _, segment := range strings.Split(pattern, "/") {
		if segment == "+" {
			count++
		}
	}
	return count
}

// matches: + is any one segment, * at the end any rest.
func matches(pattern, path string) bool {
	pattern, prefix := strings.CutSuffix(pattern, "*")
	want, have := strings.Split(pattern, "/"), strings.Split(path, "/")
	if len(have) < len(want) || (!prefix && len(have) != len(want)) {
		return false
	}
	for i, segment := range want {
		last := prefix && i == len(want)-1
		if segment != "+" && segment != have[i] && !(last && strings.HasPrefix(have[i], segment)) {
			return false
		}
	}
	return true
}

// outranks reports whether of two matching patterns p decides.
func outranks(p, q string) bool {
	if a, b := firstWildcard(p), firstWildcard(q); a != b {
		return a > b
	}
	if a, b := strings.HasSuffix(p, "*"), strings.HasSuffix(q, "*"); a != b {
		return b
	}
	if a, b := segments(p), segments(q); a != b {
		return a < b
	}
	if len(p) != len(q) {
		return len(p) > len(q)
	}
	return p > q
}

func firstWildcard(pattern string) int {
	position := 0
	for _, segment := range strings.Split(pattern, "/") {
		if segment == "+" {
			return position
		}
		position += len(segment) + 1
	}
	return len(pattern) - 1 // of the * at the end
}
