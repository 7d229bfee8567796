package cli

import (
	"bytes"
	"context"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/rogpeppe/go-internal/diff"
	"github.com/spf13/cobra"

	"troth/policy"
)

type formatted struct {
	Changed []string `json:"changed"` // files that were, or would be, written
	Diff    string   `json:"diff,omitempty"`
}

func (a *app) policyFmtCommand() *cobra.Command {
	var check, diffs bool
	cmd := &cobra.Command{
		Use:   "fmt DIR",
		Short: "Format Rego as opa fmt does",
		Long: `Format all Rego below a directory in place and name what was changed. With --check or
--diff nothing is written; --check ends with 1 if something is not formatted.`,
		Example: "  troth policy fmt my-policies\n  troth policy fmt my-policies --check --diff",
		Args:    takes("DIR"),
		RunE: a.action(func(_ context.Context, args []string) error {
			root, err := os.OpenRoot(args[0])
			if err != nil {
				return failf(exitUsage, codeFile, "%s", err)
			}
			defer func() { _ = root.Close() }()
			return a.policyFmt(root, check, diffs)
		}),
	}
	cmd.Flags().BoolVar(&check, "check", false, "only say what is not formatted")
	cmd.Flags().BoolVar(&diffs, "diff", false, "only show what would change")
	return cmd
}

func (a *app) policyFmt(root *os.Root, check, diffs bool) error {
	got := formatted{Changed: []string{}}
	var texts [][]byte
	err := eachModule(root, func(name string, before []byte) error {
		after, err := policy.Format(name, before)
		if err != nil {
			return explainPolicy(err)
		}
		if bytes.Equal(before, after) {
			return nil
		}
		got.Changed, texts = append(got.Changed, name), append(texts, after)
		if diffs {
			got.Diff += string(diff.Diff(name, before, name+" formatted", after))
		}
		return nil
	})
	if err != nil {
		return err
	}
	for i, name := range got.Changed {
		if check || diffs {
			break
		}
		// All were read and could be formatted: none is left half done.
		if err := root.WriteFile(name, texts[i], 0o644); err != nil {
			return failf(exitUndecided, codeFile, "%s", err)
		}
	}
	err = a.printer().print(got, func(p *page) {
		for _, name := range got.Changed {
			p.line("%s", name)
		}
		for line := range strings.Lines(got.Diff) {
			p.source(line)
		}
	})
	if err != nil || !check || len(got.Changed) == 0 {
		return err
	}
	return a.after(failf(exitNo, "policy_format", "%d files are not formatted: troth policy fmt does it", len(got.Changed)))
}

// eachModule reads all Rego below a directory, but for what begins with a dot.
func eachModule(root *os.Root, use func(name string, content []byte) error) error {
	return fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return failf(exitUsage, codeFile, "%s", err)
		}
		dotted := name != "." && strings.HasPrefix(d.Name(), ".")
		if d.IsDir() && dotted {
			return fs.SkipDir
		}
		if dotted || !d.Type().IsRegular() || path.Ext(name) != ".rego" {
			return nil
		}
		content, err := root.ReadFile(name)
		if err != nil {
			return failf(exitUsage, codeFile, "%s", err)
		}
		return use(name, content)
	})
}

// source adds a line of somebody's text with its tabs.
func (p *page) source(line string) {
	p.text.Write(cleanDocument([]byte(strings.TrimSuffix(line, "\n") + "\n")))
}
