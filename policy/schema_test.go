package policy_test

import (
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"troth/policies"
	"troth/policy"
)

var update = flag.Bool("update", false, "write the golden schemas")

// The schemas are made from the Go types; the files show people and reviews what
// changed, and serve editors and opa check.
func TestSchemas(t *testing.T) {
	for _, kind := range policy.Kinds() {
		input, decision, ok := policy.Schema(kind)
		if !ok {
			t.Fatalf("%s has no schema", kind)
		}
		for name, got := range map[string][]byte{"input": input, "decision": decision} {
			file := filepath.Join("schemas", string(kind)+"."+name+".json")
			if *update {
				if err := os.WriteFile(file, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil || string(want) != string(got) {
				t.Errorf("%s is not what the Go types say (go test ./policy -run Schemas -update): %v", file, err)
			}
		}
	}
	if _, _, ok := policy.Schema("weather"); ok {
		t.Error("there is a schema of weather")
	}
}

// Every field of a document is in its schema, and nothing else is allowed.
func TestSchemasHoldEveryField(t *testing.T) {
	for _, in := range []policy.Input{newcomer(), renewer(), healthy(), visitor(), policy.RemediateInput{Now: now}, policy.OperatorInput{Now: now}, policy.RolloutInput{Now: now}} {
		document, err := policy.Document(in)
		if err != nil {
			t.Fatal(err)
		}
		var fields map[string]any
		if err := json.Unmarshal(document, &fields); err != nil {
			t.Fatal(err)
		}
		matched := false
		for _, kind := range policy.Kinds() {
			text, _, _ := policy.Schema(kind)
			var schema map[string]any
			if err := json.Unmarshal(text, &schema); err != nil {
				t.Fatal(err)
			}
			matched = matched || covers(schema, fields)
		}
		if !matched {
			t.Errorf("%T is covered by no schema", in)
		}
	}
}

func covers(schema map[string]any, value any) bool {
	fields, ok := value.(map[string]any)
	properties, described := schema["properties"].(map[string]any)
	if !ok || !described {
		return true
	}
	for name, v := range fields {
		below, ok := properties[name].(map[string]any)
		if !ok || !covers(below, v) {
			return false
		}
	}
	return true
}

func TestPathsThatAreNone(t *testing.T) {
	posture := "package troth.posture\n\n"
	for name, c := range map[string]struct{ file, module, place, names string }{
		"misspelled":       {"troth/posture/x.rego", posture + "p if {\n\tinput.attestaton.verified\n}\n", "troth/posture/x.rego:4", "attestaton"},
		"negated":          {"troth/posture/x.rego", posture + "p if not input.attestation.verfied\n", "troth/posture/x.rego:3", "verfied"},
		"deep":             {"troth/posture/x.rego", posture + "p if {\n\tsome l in input.attestation.boot.boot_loaders\n\tl.digst == \"\"\n}\n", "troth/posture/x.rego:5", "digst"},
		"wrong type":       {"troth/posture/x.rego", posture + "p if input.attestation.verified == \"true\"\n", "troth/posture/x.rego:3", "match error"},
		"another kind's":   {"troth/access/x.rego", "package troth.access\n\np if input.attestation.verified\n", "troth/access/x.rego:3", "attestation"},
		"below the kind":   {"troth/access/site/x.rego", "package troth.access.site\n\np if input.attestation.verified\n", "troth/access/site/x.rego:3", "attestation"},
		"a library's":      {"acme/x.rego", "package acme\n\np if input.attestaton.verified\n", "acme/x.rego:3", "attestaton"},
		"in comprehension": {"acme/x.rego", "package acme\n\np := [x | x := input.devce.id]\n", "acme/x.rego:3", "devce"},
	} {
		_, err := policy.New(t.Context(), library(t, map[string]string{c.file: c.module}), policy.Options{})
		if !errors.Is(err, policy.ErrBundle) || !strings.Contains(err.Error(), c.place) || !strings.Contains(err.Error(), c.names) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := policy.New(t.Context(), library(t, map[string]string{c.file: c.module}), policy.Options{Replay: true}); err != nil {
			t.Errorf("%s: cannot be replayed: %v", name, err)
		}
	}
}

// Paths that lead into what nobody typed, and paths of a kind in a library that
// serves several, are the author's own.
func TestPathsThatMayBe(t *testing.T) {
	_, err := policy.New(t.Context(), library(t, map[string]string{
		"acme/x.rego":          "package acme\n\np if input.attestation.verified\n\nq if input.resource == \"/\"\n\nr if input.device.labels.site == \"kiel\"\n",
		"troth/posture/x.rego": "package troth.posture\n\ns if input.reported.config.ntp.servers[0] == \"a\"\n\nv if input.failing_since[\"secure-boot\"]\n\nw if input.attestation.pcrs[\"4\"] == \"00\"\n",
		// An author who says what input is there is believed.
		"troth/access/x.rego": "# METADATA\n# scope: subpackages\n# schemas:\n#   - input: {type: object}\npackage troth.access\n\nu if input.whatever\n",
	}), policy.Options{})
	if err != nil {
		t.Error(err)
	}
}

// What an annotation says of input stands in the bundle: nothing else is read.
func TestAttack_P2_SchemaElsewhere(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret.json")
	if err := os.WriteFile(secret, []byte(`{"properties": {"passphrase-42": {"type": "string"}}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, schema := range map[string]string{
		"file":   `{"$ref": "file://` + secret + `"}`,
		"nested": `{"properties": {"y": {"items": [{"$ref": "file://` + secret + `#/properties"}]}}}`,
		"base":   `{"$id": "file://` + secret + `", "$ref": "#/properties"}`,
		"path":   `{"$ref": "` + secret + `"}`,
	} {
		_, err := policy.New(t.Context(), library(t, map[string]string{
			"acme/x.rego": "package acme\n\n# METADATA\n# scope: rule\n# schemas:\n#   - input: " + schema + "\nx if input.y\n",
		}), policy.Options{})
		if !errors.Is(err, policy.ErrBundle) || strings.Contains(err.Error(), "passphrase-42") || !strings.Contains(err.Error(), "outside") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A bundle from before a kind of decision serves to reach its own decisions again.
func TestReplayByAnOldBundle(t *testing.T) {
	old := library(t, map[string]string{"troth/renew/renew.rego": "package troth.renew\n"})
	if _, err := policy.New(t.Context(), old, policy.Options{}); !errors.Is(err, policy.ErrBundle) {
		t.Errorf("it would decide: %v", err)
	}
	e, err := policy.New(t.Context(), old, policy.Options{Replay: true})
	if err != nil {
		t.Fatal(err)
	}
	if d, err := e.Posture(t.Context(), healthy()); err != nil || d.Verdict != policy.Compliant {
		t.Errorf("%s, %v", d.Verdict, err)
	}
	if d, err := e.Renew(t.Context(), renewer()); !errors.Is(err, policy.ErrUndefined) || d.Allow {
		t.Errorf("%+v, %v", d, err)
	}
}

func TestBuiltInLibraryFitsTheSchemas(t *testing.T) {
	if _, err := policy.New(t.Context(), policies.FS, policy.Options{}); err != nil {
		t.Error(err)
	}
}
