package docs_test

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"troth/policies"
	"troth/policy"
)

const controlsFile = "../../docs/controls.md"

const controlsHead = `# Controls of the built-in policies

Made from the metadata of the controls (` + "`go test ./test/docs -run Controls -update`" + `). How to write one, and which settings there are, is in [Writing policies](policy-guide.md).

- **Evidence** says what a pass is worth. *Proven*: it rests on verified evidence, or on the service's own records. *Reported*: it rests on what the device says of itself, bound to its quote and so not changed on the way; whoever controls the device can have it pass. A fact that the agent could not read is not known, and not known is never a pass.
- **Mode** says whether a finding counts for the verdict. *Enforced* ones do, once their grace has passed. *Advisory* ones are reported and count for nothing: no verdict, no alert, no quarantine. ` + "`config/controls/data.json`" + ` of the bundle has the modes; a control that is not there is enforced. To enforce one, take its line out.
- **Clauses** are those that a control truly serves, not ones that it fulfils alone.
`

type framework struct {
	Name, Edition, Note string
	Clauses             []struct{ ID, Title string }
}

// The page of controls says what the bundle holds, and which clauses nothing serves.
func TestControls(t *testing.T) {
	engine, err := policy.New(t.Context(), policies.FS, policy.Options{})
	if err != nil {
		t.Fatal(err)
	}
	page := controlsHead + themes(t, engine.Controls()) + coverage(t, engine.Controls())
	if *update {
		if err := os.WriteFile(controlsFile, []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(controlsFile); err != nil || string(got) != page {
		t.Errorf("docs/controls.md is not what the controls say: go test ./test/docs -run Controls -update (%v)", err)
	}
}

// themes are the themes in the order in which a device is judged.
func themes(t *testing.T, controls []policy.ControlMeta) string {
	t.Helper()
	order := []string{
		"identity and keys", "boot integrity", "runtime integrity", "firmware currency and vulnerabilities", "configuration hardening",
		"network exposure", "credentials and rotation", "data protection", "lifecycle and presence",
	}
	mode := modes(t)
	var b strings.Builder
	counts := map[string]int{}
	for _, c := range controls {
		if !slices.Contains(order, c.Theme) {
			t.Errorf("control %s has the theme %q", c.ID, c.Theme)
		}
		counts[c.Evidence]++
	}
	fmt.Fprintf(&b, "\n%d controls: %d proven, %d reported; %d of them advisory.\n", len(controls), counts[policy.EvidenceProven], counts[policy.EvidenceReported], len(mode))
	for _, theme := range order {
		fmt.Fprintf(&b, "\n## %s\n", strings.ToUpper(theme[:1])+theme[1:])
		for _, c := range controls {
			if c.Theme != theme {
				continue
			}
			how := "enforced"
			if mode[c.ID] != "" {
				how = mode[c.ID]
			}
			grace := ""
			if c.Grace > 0 {
				grace = fmt.Sprintf(", after %d days", int(c.Grace/(24*time.Hour)))
			}
			remedy := ""
			if c.Remediation != policy.RemedyNone {
				remedy = ", remedy: " + c.Remediation
			}
			fmt.Fprintf(&b, "\n### `%s`: %s\n\n%s\n\n*%s, %s, %s%s%s.* %s\n", c.ID, c.Title, strings.TrimSpace(c.Description),
				c.Severity, c.Evidence, how, grace, remedy, clauses(c.Frameworks))
		}
	}
	return b.String()
}

func clauses(frameworks map[string][]string) string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(frameworks)) {
		out = append(out, name+" "+strings.Join(frameworks[name], ", "))
	}
	return strings.Join(out, "; ") + "."
}

func modes(t *testing.T) map[string]string {
	t.Helper()
	var config struct{ Mode map[string]string }
	decode(t, "config/controls/data.json", &config)
	return config.Mode
}

func decode(t *testing.T, name string, to any) {
	t.Helper()
	content, err := fs.ReadFile(policies.FS, name)
	if err == nil {
		err = json.Unmarshal(content, to)
	}
	if err != nil {
		t.Fatal(name, err)
	}
}

// coverage is a table for each framework, and what it leaves open.
func coverage(t *testing.T, controls []policy.ControlMeta) string {
	t.Helper()
	files, err := fs.Glob(policies.FS, "frameworks/*/data.json")
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString("\n# Clauses of the frameworks\n\nTitles are in our own words; the standards' texts count.\n")
	for _, name := range files {
		var f framework
		decode(t, name, &f)
		var rows, open strings.Builder
		covered := 0
		for _, clause := range f.Clauses {
			var by []string
			for _, c := range controls {
				if slices.Contains(c.Frameworks[f.Name], clause.ID) {
					by = append(by, "`"+c.ID+"`")
				}
			}
			if len(by) == 0 {
				fmt.Fprintf(&open, "- %s: %s\n", clause.ID, clause.Title)
				continue
			}
			covered++
			fmt.Fprintf(&rows, "| %s | %s | %s |\n", clause.ID, clause.Title, strings.Join(by, ", "))
		}
		fmt.Fprintf(&b, "\n## %s\n\n%s. %s %d of %d clauses are served.\n\n| clause | about | controls |\n| --- | --- | --- |\n%s", f.Name, f.Edition, f.Note, covered, len(f.Clauses), rows.String())
		if open.Len() > 0 {
			fmt.Fprintf(&b, "\nNot covered by any control:\n\n%s", open.String())
		}
	}
	return b.String()
}
