package fleet_test

import (
	"strings"
	"testing"

	"troth/internal/fleet"
)

func TestScope(t *testing.T) {
	s, err := fleet.ParseScope("site=lyon,line=3")
	if err != nil || s.String() != "line=3,site=lyon" {
		t.Fatalf("%v, %v", s, err)
	}
	for _, tt := range []struct {
		labels map[string]string
		in     bool
	}{
		{nil, false},
		{map[string]string{"site": "lyon"}, false},
		{map[string]string{"site": "lyon", "line": "4"}, false},
		{map[string]string{"site": "Lyon", "line": "3"}, false},
		{map[string]string{"site": "lyon", "line": "3", "more": "x"}, true},
	} {
		if s.Matches(tt.labels) != tt.in {
			t.Errorf("%v: want %v", tt.labels, tt.in)
		}
	}
	if none, err := fleet.ParseScope(""); err != nil || len(none) != 0 || !none.Matches(nil) {
		t.Errorf("no scope: %v, %v", none, err)
	}
}

func TestScopeRefused(t *testing.T) {
	for _, text := range []string{
		"site", "site=", "=lyon", "=", ",", "site=lyon,", ",site=lyon", "site=a=b", "site = lyon", "site=ly on", `site="lyon"`,
		"site=lyon,site=lyon", "site=lyon,site=oslo", "site=lyon\x00", "site=lyon\n", "site=lyön", "site!=lyon", "site=*",
		strings.Repeat("a", 64) + "=b", "a=" + strings.Repeat("b", 64), strings.Repeat("a=b,", 16) + "c=d", strings.Repeat("x", 1<<20),
	} {
		if s, err := fleet.ParseScope(text); fleet.CodeOf(err) != "scope_malformed" || !fleet.IsKind(err, fleet.Invalid) {
			t.Errorf("%.60q: %v, %v", text, s, err)
		}
	}
}

func FuzzParseScope(f *testing.F) {
	for _, seed := range []string{"", "site=lyon", "site=lyon,line=3", "a=b,a=c", "=", "a=b=c", "\xff=b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := fleet.ParseScope(text)
		if err != nil {
			return
		}
		again, err := fleet.ParseScope(s.String())
		if err != nil || again.String() != s.String() || len(s) > 16 || !s.Matches(s) {
			t.Errorf("%q: %v, %v, %v", text, s, again, err)
		}
		if (text == "") != (len(s) == 0) {
			t.Errorf("%q is the scope %v", text, s)
		}
	})
}
