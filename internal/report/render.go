package report

import (
	"embed"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"strings"
	"time"
)

//go:embed compliance.html
var templates embed.FS

// WriteJSON writes the whole report as one JSON document.
func (r Compliance) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// WriteCSV writes a line for each device and control (RFC 4180). A cell that a
// spreadsheet would take for a formula is prefixed with an apostrophe.
func (r Compliance) WriteCSV(w io.Writer) error {
	out := csv.NewWriter(w)
	if err := out.Write([]string{"device", "name", "model", "lifecycle", "verdict", "control", "outcome", "reason", "evaluated", "evidence"}); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	for _, l := range r.Lines {
		row := []string{l.Device, l.Name, l.Model, l.Lifecycle, l.Verdict, l.Control, l.Outcome, l.Reason, l.Evaluated.UTC().Format(time.RFC3339), l.Evidence}
		for i := range row {
			row[i] = inert(row[i])
		}
		if err := out.Write(row); err != nil {
			return fmt.Errorf("write report: %w", err)
		}
	}
	out.Flush()
	return out.Error()
}

func inert(cell string) string {
	if cell != "" && strings.ContainsRune("=+-@\t\r", rune(cell[0])) {
		return "'" + cell
	}
	return cell
}

// WriteHTML writes a page that stands alone: no script, no other file.
func (r Compliance) WriteHTML(w io.Writer) error {
	t, err := template.New("compliance.html").Funcs(template.FuncMap{
		"time":  func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") },
		"words": func(s string) string { return strings.ReplaceAll(s, "_", " ") },
		"short": func(s string) string {
			if len(s) > 12 {
				return s[:12]
			}
			return s
		},
	}).ParseFS(templates, "compliance.html")
	if err != nil {
		return fmt.Errorf("parse report template: %w", err)
	}
	return t.Execute(w, htmlView{r, r.devices()})
}

type htmlView struct {
	Compliance
	Devices []deviceView
}

// deviceView groups the lines of one device.
type deviceView struct {
	Line         // of its first control; for the device's own columns
	Lines []Line // all of them
}

func (r Compliance) devices() []deviceView {
	var views []deviceView
	for _, l := range r.Lines {
		if n := len(views); n > 0 && views[n-1].Device == l.Device {
			views[n-1].Lines = append(views[n-1].Lines, l)
			continue
		}
		views = append(views, deviceView{Line: l, Lines: []Line{l}})
	}
	return views
}
