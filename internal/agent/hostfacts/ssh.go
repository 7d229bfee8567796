package hostfacts

import (
	"io/fs"
	"path"
	"slices"
	"strings"

	"troth/internal/api"
)

// sshSettings are those that count, with OpenSSH's own defaults, strongest value
// first (sshd_config(5)).
var sshSettings = []struct {
	name, otherwise string
	strongest       []string
}{
	{"permitrootlogin", "prohibit-password", []string{"no", "forced-commands-only", "prohibit-password", "yes"}},
	{"passwordauthentication", "yes", []string{"no", "yes"}},
	{"kbdinteractiveauthentication", "yes", []string{"no", "yes"}},
}

// ssh reads the configuration of an OpenSSH server. Another server, or a
// configuration that is not for us to read, leaves it unknown.
func (h Host) ssh() api.SSHFacts {
	main, err := h.text("etc/ssh/sshd_config")
	switch {
	case err != nil && !h.missing("etc/ssh/sshd_config"):
		return api.SSHFacts{}
	case err != nil:
		for _, other := range []string{"usr/sbin/sshd", "usr/sbin/dropbear", "usr/bin/dropbear"} {
			if !h.missing(other) {
				return api.SSHFacts{}
			}
		}
		return api.SSHFacts{Known: true}
	}
	c := sshConfig{first: map[string]string{}, matched: map[string][]string{}}
	if !h.readSSH(&c, main, 0) {
		return api.SSHFacts{}
	}
	return api.SSHFacts{Known: true, Installed: true, RootLogin: c.weakest(0), Passwords: c.weakest(1), Keyboard: c.weakest(2)}
}

// sshConfig is what was read so far.
type sshConfig struct {
	first   map[string]string   // outside of Match: the first value counts
	matched map[string][]string // in Match blocks: each may
	inMatch bool
}

const maxIncludes = 16

// readSSH follows one file and those that it includes; false: not all of it can be read.
func (h Host) readSSH(c *sshConfig, text string, depth int) bool {
	if depth > maxIncludes {
		return false
	}
	for line := range strings.Lines(text) {
		key, value := sshLine(line)
		switch key {
		case "match":
			c.inMatch = true
		case "include":
			for _, pattern := range strings.Fields(value) {
				if !h.includeSSH(c, pattern, depth) {
					return false
				}
			}
		default:
			c.set(key, value)
		}
	}
	return true
}

func (h Host) includeSSH(c *sshConfig, pattern string, depth int) bool {
	pattern = strings.Trim(pattern, `"`)
	if !path.IsAbs(pattern) {
		pattern = "/etc/ssh/" + pattern
	}
	// A directory that may not be read matches nothing, which is not the same as
	// being empty.
	dir := path.Dir(pattern)[1:]
	if _, err := h.list(dir); err != nil && !h.missing(dir) {
		return false
	}
	files, err := fs.Glob(h.Root, pattern[1:])
	if err != nil {
		return false
	}
	slices.Sort(files)
	for _, name := range files {
		text, err := h.text(name)
		// A Match block ends with the file that it is in.
		outer := c.inMatch
		if err != nil || !h.readSSH(c, text, depth+1) {
			return false
		}
		c.inMatch = outer
	}
	return true
}

// sshLine is a line's keyword, in lower case and by its present name, and its
// value.
func sshLine(line string) (key, value string) {
	line = strings.TrimSpace(line)
	if line == "" || line[0] == '#' {
		return "", ""
	}
	at := strings.IndexAny(line, " \t=")
	if at < 0 {
		return strings.ToLower(line), ""
	}
	key, value = strings.ToLower(line[:at]), strings.Trim(line[at:], " \t=")
	if key == "challengeresponseauthentication" {
		key = "kbdinteractiveauthentication"
	}
	return key, value
}

func (c *sshConfig) set(key, value string) {
	value, _, _ = strings.Cut(value, "#")
	value = strings.ToLower(strings.Trim(strings.TrimSpace(value), `"`))
	if value == "without-password" {
		value = "prohibit-password"
	}
	if c.inMatch {
		c.matched[key] = append(c.matched[key], value)
	} else if _, there := c.first[key]; !there {
		c.first[key] = value
	}
}

// weakest is the value of a setting that lets in the most; one that is not known
// counts as the weakest.
func (c *sshConfig) weakest(setting int) string {
	s := sshSettings[setting]
	value, there := c.first[s.name]
	if !there {
		value = s.otherwise
	}
	rank := 0
	for _, v := range append(slices.Clone(c.matched[s.name]), value) {
		at := slices.Index(s.strongest, v)
		if at < 0 {
			at = len(s.strongest) - 1
		}
		rank = max(rank, at)
	}
	return s.strongest[rank]
}
