package cli

import (
	"bufio"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"troth/internal/api"
)

// Bounds of a CSV file of registrations.
const (
	maxCSVBytes   = 8 << 20
	maxCSVDevices = 10000 // of one request
	maxCSVErrors  = 100   // that are told one by one
	maxLabels     = 64
)

// readRegistrations reads a CSV file (RFC 4180) of devices. bad has one line for
// each wrong line of the file, with its number; err says that the file as a
// whole is none.
func readRegistrations(in io.Reader) (devices []api.Registration, bad []string, err error) {
	limited := &io.LimitedReader{R: in, N: maxCSVBytes + 1}
	buffered := bufio.NewReader(limited)
	if bom, _ := buffered.Peek(3); string(bom) == "\ufeff" {
		_, _ = buffered.Discard(3)
	}
	r := csv.NewReader(buffered)
	r.FieldsPerRecord = -1
	columns, err := readHeader(r)
	if err != nil {
		return nil, nil, err
	}
	t := &registrations{columns: columns, lines: map[string]int{}}
	for {
		record, err := r.Read()
		if limited.N == 0 {
			return nil, nil, fmt.Errorf("the file has more than %d bytes", maxCSVBytes)
		}
		if err == io.EOF {
			break
		}
		var syntax *csv.ParseError
		switch {
		case errors.As(err, &syntax):
			t.complain(syntax.StartLine, syntax.Err)
		case err != nil:
			return nil, nil, fmt.Errorf("the file cannot be read: %w", err)
		default:
			line, _ := r.FieldPos(0)
			t.take(line, record)
		}
		if len(t.devices) > maxCSVDevices {
			return nil, nil, fmt.Errorf("the file has more than %d devices: split it", maxCSVDevices)
		}
	}
	if len(t.devices) == 0 && t.wrong == 0 {
		return nil, nil, errors.New("the file has no devices below its header")
	}
	return t.devices, t.complaints(), nil
}

func readHeader(r *csv.Reader) ([]string, error) {
	head, err := r.Read()
	if err == io.EOF {
		return nil, errors.New("the file is empty; its first line must name the columns ek_hash,name,model,labels")
	}
	if err != nil {
		return nil, fmt.Errorf("the header cannot be read: %w", err)
	}
	seen := map[string]bool{}
	for i, name := range head {
		head[i] = strings.ToLower(strings.TrimSpace(name))
		if !slices.Contains([]string{"ek_hash", "name", "model", "labels"}, head[i]) {
			return nil, fmt.Errorf("the first line must name the columns ek_hash,name,model,labels; %s is none of them", quote(name))
		}
		if seen[head[i]] {
			return nil, fmt.Errorf("the column %s is there twice", head[i])
		}
		seen[head[i]] = true
	}
	if !seen["ek_hash"] {
		return nil, errors.New("the column ek_hash is missing")
	}
	return head, nil
}

// registrations collects what the lines of a file say.
type registrations struct {
	columns []string
	devices []api.Registration
	lines   map[string]int // EK hash to the line that has it
	bad     []string
	wrong   int
}

func (t *registrations) complain(line int, err error) {
	t.wrong++
	if len(t.bad) < maxCSVErrors {
		t.bad = append(t.bad, fmt.Sprintf("line %d: %s", line, err))
	}
}

func (t *registrations) complaints() []string {
	if more := t.wrong - len(t.bad); more > 0 {
		return append(t.bad, fmt.Sprintf("and %d more", more))
	}
	return t.bad
}

func (t *registrations) take(line int, record []string) {
	if len(record) != len(t.columns) {
		t.complain(line, fmt.Errorf("has %d fields, the header has %d", len(record), len(t.columns)))
		return
	}
	var d api.Registration
	for i, field := range record {
		field = strings.TrimSpace(field)
		switch t.columns[i] {
		case "ek_hash":
			d.EKHash = field
		case "name":
			d.Name = field
		case "model":
			d.Model = field
		case "labels":
			labels, err := parseLabels(strings.FieldsFunc(field, func(r rune) bool { return r == ';' }))
			if err != nil {
				t.complain(line, err)
				return
			}
			d.Labels = labels
		}
	}
	d, err := checkRegistration(d)
	if err != nil {
		t.complain(line, err)
		return
	}
	if before, twice := t.lines[d.EKHash]; twice {
		t.complain(line, fmt.Errorf("the EK hash is already on line %d", before))
		return
	}
	t.lines[d.EKHash] = line
	t.devices = append(t.devices, d)
}

// checkRegistration refuses what the server would refuse, so that a file is
// mended before anything is sent.
func checkRegistration(d api.Registration) (api.Registration, error) {
	d.EKHash = strings.ToLower(d.EKHash)
	if len(d.EKHash) != 64 || strings.Trim(d.EKHash, "0123456789abcdef") != "" {
		return d, badField("EK hash", d.EKHash, "has not 64 hexadecimal digits")
	}
	if len(d.Name) > 128 || !plain(d.Name) {
		return d, badField("name", d.Name, "is longer than 128 bytes or has control characters")
	}
	if !modelName(d.Model) {
		return d, badField("model", d.Model, "is not made of up to 64 letters, digits, dots, hyphens and underscores")
	}
	if len(d.Labels) > maxLabels {
		return d, fmt.Errorf("there are more than %d labels", maxLabels)
	}
	for k, v := range d.Labels {
		if len(k) > 253 || len(v) > 253 || !plain(k) || !plain(v) {
			return d, badField("label", k, "is longer than 253 bytes or has control characters")
		}
	}
	return d, nil
}

func badField(field, value, problem string) error {
	return fmt.Errorf("the %s %s %s", field, quote(value), problem)
}

// quote shows foreign text in a message, cut and harmless.
func quote(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if r := []rune(s); len(r) > 70 {
		s = string(r[:70]) + "…"
	}
	return fmt.Sprintf("%q", s)
}

func plain(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, hostile)
}

func modelName(s string) bool {
	if s == "" {
		return true
	}
	rest := strings.TrimFunc(s, func(r rune) bool {
		return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("._-", r)
	})
	return len(s) <= 64 && rest == "" && !strings.ContainsRune("._-", rune(s[0]))
}
