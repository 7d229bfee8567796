package policies_test

import (
	"encoding/json"
	"io/fs"
	"slices"
	"testing"

	"troth/policies"
	"troth/policy"
)

// framework is a data file below frameworks.
type framework struct {
	Name    string
	Edition string
	Note    string
	Clauses []struct{ ID, Title string }
}

func frameworks(t *testing.T) map[string]framework {
	t.Helper()
	files, err := fs.Glob(policies.FS, "frameworks/*/data.json")
	if err != nil || len(files) != 6 {
		t.Fatal(files, err)
	}
	byName := map[string]framework{}
	for _, name := range files {
		content, err := fs.ReadFile(policies.FS, name)
		var f framework
		if err == nil {
			err = json.Unmarshal(content, &f)
		}
		if err != nil || f.Name == "" || f.Edition == "" || f.Note == "" {
			t.Fatal(name, err)
		}
		byName[f.Name] = f
	}
	return byName
}

// A control names a framework and a clause that there are.
func TestControlsServeListedClauses(t *testing.T) {
	engine, err := policy.New(t.Context(), policies.FS, policy.Options{})
	if err != nil {
		t.Fatal(err)
	}
	byName := frameworks(t)
	for name, f := range byName {
		seen := map[string]bool{}
		for _, c := range f.Clauses {
			if c.ID == "" || c.Title == "" || seen[c.ID] {
				t.Errorf("%s: clause %q is there twice, or lacks something", name, c.ID)
			}
			seen[c.ID] = true
		}
	}
	for _, control := range engine.Controls() {
		for name, clauses := range control.Frameworks {
			for _, id := range clauses {
				if !slices.ContainsFunc(byName[name].Clauses, func(c struct{ ID, Title string }) bool { return c.ID == id }) {
					t.Errorf("control %s serves %s %s, which is not listed", control.ID, name, id)
				}
			}
		}
	}
}

// What rests on the device's own words is advisory unless somebody asks for it by
// a setting, and no mode is that of a control that there is not.
func TestModes(t *testing.T) {
	var config struct{ Mode map[string]string }
	content, err := fs.ReadFile(policies.FS, "config/controls/data.json")
	if err == nil {
		err = json.Unmarshal(content, &config)
	}
	if err != nil {
		t.Fatal(err)
	}
	engine, err := policy.New(t.Context(), policies.FS, policy.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for id, mode := range config.Mode {
		if _, known := engine.Control(id); !known || mode != "advisory" {
			t.Errorf("%s is %q", id, mode)
		}
	}
	asked := []string{"agent-current", "listeners-listed", "restarted-in-time", "firmware-reported", "update-healthy"}
	for _, c := range engine.Controls() {
		if c.Evidence == policy.EvidenceReported && config.Mode[c.ID] == "" && !slices.Contains(asked, c.ID) {
			t.Errorf("%s rests on the device's own words and counts", c.ID)
		}
	}
}
