package hostfacts

import (
	"strings"

	"troth/internal/api"
)

// accounts reads passwd(5), and shadow(5) where that is allowed.
func (h Host) accounts() api.AccountFacts {
	a := api.AccountFacts{Superusers: []string{}, Passwordless: []string{}}
	passwd, err := h.text("etc/passwd")
	if err != nil || passwd == "" {
		return a
	}
	shadowed := false
	a.Known = true
	for line := range strings.Lines(passwd) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) < 7 || strings.HasPrefix(f[0], "#") {
			continue
		}
		if f[2] == "0" {
			a.Superusers = append(a.Superusers, f[0])
		}
		switch f[1] {
		case "":
			a.Passwordless = append(a.Passwordless, f[0])
		case "x":
			shadowed = true
		}
	}
	shadow, err := h.text("etc/shadow")
	a.Shadow = err == nil || !shadowed
	for line := range strings.Lines(shadow) {
		if f := strings.Split(strings.TrimSpace(line), ":"); len(f) >= 2 && f[1] == "" && !strings.HasPrefix(f[0], "#") {
			a.Passwordless = append(a.Passwordless, f[0])
		}
	}
	a.Superusers, a.Passwordless = sortedOnce(a.Superusers), sortedOnce(a.Passwordless)
	return a
}
