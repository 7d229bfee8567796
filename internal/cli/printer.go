package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"sigs.k8s.io/yaml"
)

// Formats of an answer.
const (
	formatTable = "table"
	formatJSON  = "json"
	formatYAML  = "yaml"
)

// printer writes answers in the form that was asked for.
type printer struct {
	out    io.Writer
	format string
	now    time.Time
	colour bool
}

func (a *app) printer() printer {
	return printer{
		out: a.Stdout, format: a.flags.format, now: a.Now(),
		colour: terminal(a.Stdout) && a.Getenv("NO_COLOR") == "" && a.Getenv("TERM") != "dumb",
	}
}

// print writes v for programs, or what draw adds to a page for people.
func (p printer) print(v any, draw func(*page)) error {
	var text []byte
	var err error
	switch p.format {
	case formatJSON:
		text, err = jsonText(v)
	case formatYAML:
		text, err = yamlText(v)
	default:
		pg := &page{now: p.now, colour: p.colour}
		draw(pg)
		text = pg.text.Bytes()
	}
	if err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	if _, err := p.out.Write(text); err != nil {
		return fmt.Errorf("write answer: %w", err)
	}
	return nil
}

func jsonText(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return escapeJSON(b.Bytes()), nil
}

// yamlText drops hostile characters that YAML would let stand; those that it
// escapes itself are kept. Raw messages are decoded first, because JSON has
// escapes that YAML does not know.
func yamlText(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var plain any
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	if err := dec.Decode(&plain); err != nil {
		return nil, err
	}
	if b, err = json.Marshal(plain); err != nil {
		return nil, err
	}
	text, err := yaml.JSONToYAML(cleanDocument(b))
	if err != nil {
		return nil, err
	}
	return cleanDocument(text), nil
}

// page is text for people, drawn from tables, fields and lines.
type page struct {
	now    time.Time
	colour bool
	text   bytes.Buffer
}

// line adds one line.
func (p *page) line(format string, args ...any) {
	p.text.WriteString(clean(fmt.Sprintf(format, args...)) + "\n")
}

// gap adds an empty line.
func (p *page) gap() { p.text.WriteByte('\n') }

// fields adds names and values, one pair a line; pairs without a value are left
// out.
func (p *page) fields(pairs ...[2]string) {
	w := tabwriter.NewWriter(&p.text, 0, 4, 2, ' ', 0)
	for _, pair := range pairs {
		if pair[1] != "" {
			_, _ = fmt.Fprintf(w, "%s:\t%s\n", clean(pair[0]), p.paint(clean(pair[1]), pair[1]))
		}
	}
	_ = w.Flush()
}

// table is rows below a header.
type table struct {
	head []string
	rows [][]string
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

// table adds t, or the sentence none where it has no rows.
func (p *page) table(t *table, none string) {
	if len(t.rows) == 0 {
		p.line("%s", none)
		return
	}
	var raw bytes.Buffer
	w := tabwriter.NewWriter(&raw, 0, 4, 2, ' ', 0)
	p.row(w, t.head)
	for _, r := range t.rows {
		p.row(w, r)
	}
	_ = w.Flush()
	for _, l := range strings.SplitAfter(raw.String(), "\n") {
		p.text.WriteString(strings.TrimRight(l, " \n"))
		if strings.HasSuffix(l, "\n") {
			p.text.WriteByte('\n')
		}
	}
}

func (p *page) row(w io.Writer, cells []string) {
	out := make([]string, len(cells))
	for i, c := range cells {
		out[i] = p.paint(clean(c), c)
	}
	_, _ = fmt.Fprintln(w, strings.Join(out, "\t"))
}

// paint colours the words that matter. Every cell gets the same number of
// bytes, painted or not, so that columns stay aligned.
func (p *page) paint(text, word string) string {
	if !p.colour {
		return text
	}
	code := "39" // the terminal's own
	switch word {
	case "compliant", "pass", "completed", "success", "online":
		code = "32"
	case "noncompliant", "fail", "quarantined", "halted", "failure", "critical":
		code = "31"
	case "error", "unknown", "paused", "rolled-back", "high", "offline":
		code = "33"
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}
