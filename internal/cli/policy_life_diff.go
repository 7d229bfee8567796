package cli

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"troth/internal/api"
	"troth/policy"
	"troth/policy/archive"
)

// fileChange is a file in which two bundles differ.
type fileChange struct {
	File  string   `json:"file"`
	Lines []string `json:"lines"` // as diff prints them, each with "-" or "+" before it
}

// controlDiff is a control in which two bundles differ.
type controlDiff struct {
	ID     string `json:"id"`
	Change string `json:"change"` // added, removed, or what changed
}

type policyDiff struct {
	Controls []controlDiff `json:"controls"`
	Files    []fileChange  `json:"files"`
}

func (a *app) policyDiffCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "diff FROM TO",
		Short: "Show how two bundles differ",
		Long: `Show which controls two bundles do not have in common, which they have otherwise, and
the lines that changed. Each is one of the service's, by its id (active, base), or a
directory. The exit status is 1 if they differ.`,
		Example: "  troth policy diff active 7\n  troth policy diff active ./policies",
		Args:    takes("FROM", "TO"),
		RunE:    a.action(func(ctx context.Context, args []string) error { return a.policyDiff(ctx, args[0], args[1]) }),
	}
}

func (a *app) policyDiff(ctx context.Context, from, to string) error {
	var bundles [2]*archive.Bundle
	for i, name := range []string{from, to} {
		content, err := a.bundleContent(ctx, name)
		if err == nil {
			bundles[i], err = archive.Read(content)
		}
		if err != nil {
			return err
		}
	}
	files, err := diffFiles(bundles[0].FS, bundles[1].FS)
	if err != nil {
		return err
	}
	got := policyDiff{Files: files, Controls: []controlDiff{}}
	if got.Controls, err = diffControls(ctx, bundles[0].FS, bundles[1].FS); err != nil {
		return explainPolicy(err)
	}
	if err := a.printer().print(got, func(p *page) { drawPolicyDiff(p, got) }); err != nil || len(files) == 0 {
		return err
	}
	return a.after(failf(exitNo, "policies_differ", "%d files differ", len(files)))
}

// bundleContent is the archive of a directory, or of a bundle of the service.
func (a *app) bundleContent(ctx context.Context, name string) ([]byte, error) {
	if info, err := os.Stat(name); err == nil && info.IsDir() {
		return packPolicies(name, "", archive.DefaultRoots())
	}
	client, err := a.client()
	if err != nil {
		return nil, err
	}
	var content bytes.Buffer
	if err := client.Copy(ctx, api.Path(api.PathPolicyArchive, name), &content); err != nil {
		return nil, err
	}
	return content.Bytes(), nil
}

func diffControls(ctx context.Context, from, to fs.FS) ([]controlDiff, error) {
	list := []controlDiff{}
	var have [2]map[string]policy.ControlMeta
	for i, fsys := range []fs.FS{from, to} {
		engine, err := policy.New(ctx, fsys, policy.Options{})
		if err != nil {
			return nil, err
		}
		have[i] = map[string]policy.ControlMeta{}
		for _, c := range engine.Controls() {
			have[i][c.ID] = c
		}
	}
	ids := maps.Clone(have[0])
	maps.Copy(ids, have[1])
	for _, id := range slices.Sorted(maps.Keys(ids)) {
		before, was := have[0][id]
		after, is := have[1][id]
		switch {
		case !was:
			list = append(list, controlDiff{id, "added"})
		case !is:
			list = append(list, controlDiff{id, "removed"})
		default:
			if change := controlChanges(before, after); change != "" {
				list = append(list, controlDiff{id, change})
			}
		}
	}
	return list, nil
}

func controlChanges(a, b policy.ControlMeta) string {
	var changes []string
	for _, f := range []struct{ name, from, to string }{
		{"title", a.Title, b.Title}, {"severity", a.Severity, b.Severity}, {"grace", a.Grace.String(), b.Grace.String()},
		{"remediation", a.Remediation, b.Remediation}, {"frameworks", fmt.Sprint(a.Frameworks), fmt.Sprint(b.Frameworks)},
	} {
		if f.from != f.to {
			changes = append(changes, fmt.Sprintf("%s: %s → %s", f.name, f.from, f.to))
		}
	}
	return strings.Join(changes, "; ")
}

func diffFiles(from, to fs.FS) ([]fileChange, error) {
	list := []fileChange{}
	var have [2]map[string]string
	for i, fsys := range []fs.FS{from, to} {
		have[i] = map[string]string{}
		err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			content, err := fs.ReadFile(fsys, name)
			have[i][name] = string(content)
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("read bundle: %w", err)
		}
	}
	names := maps.Clone(have[0])
	maps.Copy(names, have[1])
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if have[0][name] != have[1][name] {
			list = append(list, fileChange{name, diffLines(have[0][name], have[1][name])})
		}
	}
	return list, nil
}

// maxDiff bounds the work on one file, in pairs of lines. Past it, all of its lines
// are said to have changed.
const maxDiff = 16 << 20

// diffLines are the lines that are not common, in order, by the longest common
// subsequence.
func diffLines(from, to string) []string {
	a, b := splitLines(from), splitLines(to)
	for len(a) > 0 && len(b) > 0 && a[0] == b[0] {
		a, b = a[1:], b[1:]
	}
	for len(a) > 0 && len(b) > 0 && a[len(a)-1] == b[len(b)-1] {
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	common := commonLines(a, b)
	var out []string
	for i, j := 0, 0; i < len(a) || j < len(b); {
		switch {
		case i < len(a) && j < len(b) && a[i] == b[j] && common[i] != nil:
			i, j = i+1, j+1
		case i < len(a) && (j == len(b) || common[i] == nil || common[i+1][j] >= common[i][j+1]):
			out = append(out, "-"+a[i])
			i++
		default:
			out = append(out, "+"+b[j])
			j++
		}
	}
	return out
}

// commonLines says how many lines the rests of a and b from i and j on have in
// common, in order; rows of nil where that is too much work.
func commonLines(a, b []string) [][]int32 {
	common := make([][]int32, len(a)+1)
	if len(a)*len(b) > maxDiff {
		return common
	}
	for i := range common {
		common[i] = make([]int32, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				common[i][j] = common[i+1][j+1] + 1
			} else {
				common[i][j] = max(common[i+1][j], common[i][j+1])
			}
		}
	}
	return common
}

func splitLines(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(strings.TrimSuffix(text, "\n"), "\n")
}

func drawPolicyDiff(p *page, d policyDiff) {
	if len(d.Files) == 0 {
		p.line("The bundles are the same.")
		return
	}
	t := &table{head: []string{"CONTROL", "CHANGE"}}
	for _, c := range d.Controls {
		t.add(c.ID, c.Change)
	}
	p.table(t, "The controls are the same.")
	for _, f := range d.Files {
		p.gap()
		p.line("%s", f.File)
		for _, l := range f.Lines {
			p.line("%s", l)
		}
	}
}
