package fleet

import (
	"maps"
	"regexp"
	"slices"
	"strings"
)

// Scope bounds a token to the devices that have all of these labels. An empty
// scope is the whole fleet.
type Scope map[string]string

// Bounds of a scope's text. What it allows in names and values is less than labels
// may hold, so that no quoting is needed.
const (
	maxScope      = 1024 // bytes
	maxScopePairs = 16
)

var scopeWord = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._/-]{0,62}$`)

// ParseScope reads labels like site=lyon,line=3. An empty text is the whole fleet.
// What it does not take is Invalid with the code scope_malformed.
func ParseScope(text string) (Scope, error) {
	if text == "" {
		return nil, nil
	}
	pairs := strings.Split(text[:min(len(text), maxScope+1)], ",")
	if len(text) > maxScope || len(pairs) > maxScopePairs {
		return nil, Errorf(Invalid, "scope_malformed", "a scope has at most %d labels, and %d bytes", maxScopePairs, maxScope)
	}
	s := Scope{}
	for _, pair := range pairs {
		label, value, _ := strings.Cut(pair, "=")
		if !scopeWord.MatchString(label) || !scopeWord.MatchString(value) {
			return nil, Errorf(Invalid, "scope_malformed", "a scope is written site=lyon,line=3: names and values of at most 63 letters, digits and ._/- each, not %q", pair)
		}
		if _, twice := s[label]; twice {
			return nil, Errorf(Invalid, "scope_malformed", "the scope names the label %s twice", label)
		}
		s[label] = value
	}
	return s, nil
}

// String is the scope as ParseScope reads it, its labels sorted.
func (s Scope) String() string {
	var pairs []string
	for _, label := range slices.Sorted(maps.Keys(s)) {
		pairs = append(pairs, label+"="+s[label])
	}
	return strings.Join(pairs, ",")
}

// Matches reports whether a device with the labels is in the scope.
func (s Scope) Matches(labels map[string]string) bool {
	for label, value := range s {
		if got, ok := labels[label]; !ok || got != value {
			return false
		}
	}
	return true
}
