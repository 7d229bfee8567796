package vault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"
)

// State is how a piece of the set-up was found, and what became of it.
type State string

// States of a Step.
const (
	Unchanged State = "unchanged" // as it should be
	Missing   State = "missing"   // not there, and not made: a dry run
	Created   State = "created"   // made now
	Differs   State = "differs"   // not as it should be, and left so
	Repaired  State = "repaired"  // changed back now
	Waiting   State = "waiting"   // for what somebody else has to do; Note says what
)

// Step is one piece of the set-up.
type Step struct {
	What        string       `json:"what"`
	Path        string       `json:"path"` // in Vault's API
	State       State        `json:"state"`
	Differences []Difference `json:"differences,omitempty"`
	Note        string       `json:"note,omitempty"`
}

// Difference is one field that is not as it should be.
type Difference struct {
	Field string `json:"field"`
	Have  string `json:"have"`
	Want  string `json:"want"`
}

// kind is how a piece is read and written.
type kind int

const (
	kindPlain    kind = iota // read and written at one path
	kindSettings             // always there: unset means missing
	kindMount                // a secrets engine or an auth method
	kindPolicy
	kindKey // a Transit key: some of its fields are for ever
)

// piece is one object in Vault and what it should be.
type piece struct {
	what   string
	kind   kind
	path   string
	fields []field
}

// field is one value that a piece should have. A time.Duration stands for
// seconds.
type field struct {
	name string
	want any
	code string // of Examine's finding
	why  string // a sentence after "field is X, not Y: "
	more bool   // what is larger than want is as good
	lax  bool   // what is smaller than want, and not zero, is as good
}

func (p piece) data() map[string]any {
	data := map[string]any{}
	for _, f := range p.fields {
		data[f.name] = sent(f.want)
	}
	return data
}

func sent(want any) any {
	if d, ok := want.(time.Duration); ok {
		return seconds(d)
	}
	return want
}

func seconds(d time.Duration) string { return fmt.Sprintf("%ds", int64(d/time.Second)) }

// read returns what is there, nil for nothing.
func (p piece) read(ctx context.Context, client *api.Client) (map[string]any, error) {
	switch p.kind {
	case kindMount:
		return readMount(ctx, client, p.path)
	case kindPolicy:
		text, err := readPolicy(ctx, client, strings.TrimPrefix(p.path, "sys/policies/acl/"))
		if err != nil || text == "" {
			return nil, err
		}
		return map[string]any{"policy": text}, nil
	default:
		answer, err := client.Logical().ReadWithContext(ctx, p.path)
		if err != nil || answer == nil {
			return nil, absent(err)
		}
		return answer.Data, nil
	}
}

// absent turns Vault's "there is no such thing" into nothing.
func absent(err error) error {
	var answer *api.ResponseError
	if errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound {
		return nil
	}
	return err
}

func readPolicy(ctx context.Context, client *api.Client, name string) (string, error) {
	answer, err := client.Logical().ReadWithContext(ctx, "sys/policies/acl/"+name)
	if err != nil || answer == nil {
		return "", absent(err)
	}
	text, _ := answer.Data["policy"].(string)
	return text, nil
}

// readMount reads a secrets engine's or an auth method's type and limit.
func readMount(ctx context.Context, client *api.Client, path string) (map[string]any, error) {
	table, name, _ := strings.Cut(strings.TrimPrefix(path, "sys/"), "/")
	answer, err := client.Logical().ReadWithContext(ctx, "sys/"+table)
	if err != nil || answer == nil {
		return nil, err
	}
	mount, ok := answer.Data[name+"/"].(map[string]any)
	if !ok {
		return nil, nil
	}
	settings, _ := mount["config"].(map[string]any)
	return map[string]any{"type": mount["type"], "max_lease_ttl": settings["max_lease_ttl"]}, nil
}

// compare lists the fields of have that are not as they should be.
func (p piece) compare(have map[string]any) []Difference {
	var differences []Difference
	for _, f := range p.fields {
		if !f.fits(have[f.name]) {
			differences = append(differences, Difference{Field: f.name, Have: show(have[f.name]), Want: show(f.want)})
		}
	}
	return differences
}

func (f field) fits(have any) bool {
	switch want := f.want.(type) {
	case bool:
		got, _ := have.(bool)
		return got == want
	case time.Duration:
		return f.fitsNumber(number(have), int64(want/time.Second))
	case int:
		return f.fitsNumber(number(have), int64(want))
	case []string:
		got := list(have)
		return slices.Equal(sorted(got), sorted(want))
	case string:
		got, _ := have.(string)
		return strings.TrimSpace(got) == strings.TrimSpace(want)
	}
	return false
}

func (f field) fitsNumber(have, want int64) bool {
	return have == want || (f.more && have > want) || (f.lax && have < want && have > 0)
}

// number reads what Vault writes of numbers and durations.
func number(v any) int64 {
	switch v := v.(type) {
	case json.Number:
		n, err := v.Int64()
		if err == nil {
			return n
		}
	case string:
		if d, err := time.ParseDuration(v); err == nil {
			return int64(d / time.Second)
		}
	case float64:
		return int64(v)
	}
	return 0
}

func list(v any) []string {
	var texts []string
	items, _ := v.([]any)
	for _, item := range items {
		texts = append(texts, fmt.Sprint(item))
	}
	return texts
}

func sorted(texts []string) []string {
	texts = slices.Clone(texts)
	for i, text := range texts {
		// Vault leaves the length out of a network of one address.
		texts[i] = strings.TrimSuffix(strings.TrimSuffix(text, "/32"), "/128")
	}
	slices.Sort(texts)
	return texts
}

// show writes a value for people.
func show(v any) string {
	switch v := v.(type) {
	case nil:
		return "unset"
	case time.Duration:
		return seconds(v)
	case []string:
		return "[" + strings.Join(v, " ") + "]"
	case []any:
		return "[" + strings.Join(list(v), " ") + "]"
	case string:
		if strings.Contains(v, "\n") {
			return fmt.Sprintf("%d lines", len(strings.Split(strings.TrimSpace(v), "\n")))
		}
		if v == "" {
			return "unset"
		}
		return v
	}
	return fmt.Sprint(v)
}

// settle makes a piece what it should be, as far as options allow.
func (p piece) settle(ctx context.Context, client *api.Client, options Options) (Step, error) {
	step := Step{What: p.what, Path: p.path, State: Unchanged}
	have, err := p.read(ctx, client)
	if err != nil {
		return step, fmt.Errorf("read %s: %w", p.path, err)
	}
	differences := p.compare(have)
	if have != nil && len(differences) == 0 {
		return step, nil
	}
	if have == nil || p.unset(differences) {
		step.State = Missing
		if options.DryRun {
			return step, nil
		}
		step.State = Created
		err := p.create(ctx, client)
		if err != nil && p.kind == kindMount && p.there(ctx, client) {
			// Somebody else was setting up the same at the same moment.
			step.State, err = Unchanged, nil
		}
		return step, err
	}
	step.State, step.Differences = Differs, differences
	for _, d := range differences {
		if p.kind == kindMount && d.Field == "type" {
			return step, fmt.Errorf("%s is already a mount of type %s", p.path, d.Have)
		}
		if p.kind == kindKey && d.Field != "deletion_allowed" && d.Field != "auto_rotate_period" {
			step.Note = "a key's " + d.Field + " is for ever: have a new key made, and let this one go"
			return step, nil
		}
	}
	if options.DryRun || !options.Repair {
		return step, nil
	}
	step.State = Repaired
	return step, p.repair(ctx, client)
}

// there reports whether the piece is in Vault as it should be.
func (p piece) there(ctx context.Context, client *api.Client) bool {
	have, err := p.read(ctx, client)
	return err == nil && have != nil && len(p.compare(have)) == 0
}

// unset reports whether settings that are always there were never touched.
func (p piece) unset(differences []Difference) bool {
	return p.kind == kindSettings && !slices.ContainsFunc(differences, func(d Difference) bool {
		return d.Have != "unset" && d.Have != "false" && d.Have != "[]"
	})
}

func (p piece) create(ctx context.Context, client *api.Client) error {
	data := p.data()
	switch p.kind {
	case kindMount:
		data["config"] = map[string]any{"max_lease_ttl": data["max_lease_ttl"]}
		delete(data, "max_lease_ttl")
	case kindKey:
		// Deletion is forbidden from the start; Vault takes no word for that here.
		delete(data, "deletion_allowed")
	}
	_, err := client.Logical().WriteWithContext(ctx, p.path, data)
	return err
}

func (p piece) repair(ctx context.Context, client *api.Client) error {
	data, path := p.data(), p.path
	switch p.kind {
	case kindMount:
		path += "/tune"
		delete(data, "type")
	case kindKey:
		path += "/config"
		for name := range data {
			if name != "deletion_allowed" && name != "auto_rotate_period" {
				delete(data, name)
			}
		}
	}
	_, err := client.Logical().WriteWithContext(ctx, path, data)
	return err
}
