package cli

import (
	"bytes"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// hostile reports whether r may move a cursor, hide or reorder what a reader
// sees: control characters (C0, DEL, C1), line separators, directional
// overrides and isolates, invisible characters.
func hostile(r rune) bool {
	return unicode.Is(unicode.Cc, r) || unicode.Is(unicode.Cf, r) || unicode.Is(unicode.Zl, r) || unicode.Is(unicode.Zp, r)
}

// clean makes one harmless line of foreign text: blanks for tabs and line
// ends, nothing for other hostile characters, U+FFFD for what is no UTF-8.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t' || r == '\n' || r == '\r':
			return ' '
		case hostile(r):
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
}

// cleanDocument is clean for a text of many lines: tabs and line feeds stay.
func cleanDocument(b []byte) []byte {
	return bytes.Map(func(r rune) rune {
		if r != '\n' && r != '\t' && hostile(r) {
			return -1
		}
		return r
	}, bytes.ToValidUTF8(b, []byte("\uFFFD")))
}

// escapeJSON writes the hostile characters of a JSON text that JSON itself
// lets stand as \u escapes: programs read the same, terminals do nothing.
func escapeJSON(b []byte) []byte {
	var out bytes.Buffer
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		switch {
		case r == utf8.RuneError && n == 1:
			out.WriteString(`\ufffd`)
		case r < 0x20 || !hostile(r):
			out.Write(b[:n])
		case r > 0xffff:
			high, low := utf16Pair(r)
			fmt.Fprintf(&out, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&out, `\u%04x`, r)
		}
		b = b[n:]
	}
	return out.Bytes()
}

func utf16Pair(r rune) (high, low rune) {
	r -= 0x10000
	return 0xd800 + r>>10, 0xdc00 + r&0x3ff
}

// ago says when t was, or will be, seen from now.
func ago(t, now time.Time) string {
	if t.IsZero() {
		return "never"
	}
	d := now.Sub(t)
	switch {
	case d <= -time.Second:
		return "in " + span(-d)
	case d < time.Second:
		return "now"
	default:
		return span(d) + " ago"
	}
}

func agoOf(t *time.Time, now time.Time) string {
	if t == nil {
		return "never"
	}
	return ago(*t, now)
}

// span is a duration to the unit that matters.
func span(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%dm", d/time.Minute)
	case d < 2*day:
		return fmt.Sprintf("%dh", d/time.Hour)
	case d < 2*365*day:
		return fmt.Sprintf("%dd", d/day)
	default:
		return fmt.Sprintf("%dy", d/(365*day))
	}
}

// short is an identifier for people; the server takes it back as a prefix.
func short(id string) string {
	if len(id) <= 12 {
		return id
	}
	return id[:12]
}

// nameOr is a device's name, or the beginning of its id.
func nameOr(name, id string) string {
	if name != "" {
		return name
	}
	return short(id)
}

func join(words []string) string { return strings.Join(words, " ") }

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
