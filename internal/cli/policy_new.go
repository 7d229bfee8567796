package cli

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"troth/policies"
	"troth/policy"
)

// scaffold is what a new bundle has in the place of the built-in controls.
//
//go:embed scaffold
var scaffold embed.FS

type newBundle struct {
	Directory string `json:"directory"`
	Policy    string `json:"policy"` // digest
	Files     int    `json:"files"`
	Controls  int    `json:"controls"`
}

func (a *app) policyNewCommand() *cobra.Command {
	var whole bool
	cmd := &cobra.Command{
		Use:   "new DIR",
		Short: "Begin a policy bundle",
		Long: `Write a policy bundle that passes lint, test and check: the built-in decisions on
enrolment, renewal, access, operators, remediation, rollouts and publishing, and one
control to begin with. --from-builtin copies all built-in controls as well.

DIR must be empty, or not there. The JSON schemas of each kind of input go to
DIR/.schemas, for editors and for opa check --schema; no bundle has them.`,
		Example: "  troth policy new my-policies\n  troth policy new my-copy --from-builtin",
		Args:    takes("DIR"),
		RunE: a.action(func(ctx context.Context, args []string) error {
			files, err := bundleFiles(whole)
			if err != nil {
				return err
			}
			if err := writeNew(args[0], files); err != nil {
				return err
			}
			return a.showNew(ctx, args[0])
		}),
	}
	cmd.Flags().BoolVar(&whole, "from-builtin", false, "with all built-in controls")
	return cmd
}

func (a *app) showNew(ctx context.Context, dir string) error {
	return withBundle([]string{dir}, func(bundle fs.FS) error {
		engine, err := policy.New(ctx, bundle, policy.Options{})
		if err != nil {
			return explainPolicy(err)
		}
		got := newBundle{Directory: dir, Policy: engine.Digest(), Controls: len(engine.Controls())}
		err = fs.WalkDir(bundle, ".", func(_ string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				got.Files++
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("count files: %w", err)
		}
		return a.printer().print(got, func(p *page) {
			p.line("%s has a policy bundle of %d files with %d controls.", dir, got.Files, got.Controls)
			p.line("Write controls in %s, and try them:", filepath.Join(dir, "troth", "posture"))
			p.gap()
			for _, verb := range []string{"fmt", "lint", "test", "check"} {
				p.line("  troth policy %s %s", verb, dir)
			}
		})
	})
}

// bundleFiles are a new bundle's, by path.
func bundleFiles(whole bool) (map[string][]byte, error) {
	files := map[string][]byte{}
	copyFrom := func(from fs.FS, name, to string) error {
		content, err := fs.ReadFile(from, name)
		if err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
		files[to] = content
		return nil
	}
	err := fs.WalkDir(policies.FS, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if !whole && path.Dir(name) == "troth/posture" && path.Base(name) != "posture.rego" {
			return nil
		}
		return copyFrom(policies.FS, name, name)
	})
	if err != nil {
		return nil, err
	}
	if !whole {
		for _, name := range []string{"example.rego", "example_test.rego"} {
			if err := copyFrom(scaffold, "scaffold/"+name, "troth/posture/"+name); err != nil {
				return nil, err
			}
		}
	}
	for _, kind := range policy.Kinds() {
		input, _, _ := policy.Schema(kind)
		files[".schemas/"+string(kind)+".json"] = input
	}
	return files, nil
}

// writeNew fills a directory that has nothing in it.
func writeNew(dir string, files map[string][]byte) error {
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // policies are no secret, and trothd may be somebody else
		return failf(exitUsage, codeFile, "%s", err)
	}
	there, err := os.ReadDir(dir)
	if err != nil {
		return failf(exitUsage, codeFile, "%s", err)
	}
	if len(there) > 0 {
		return failf(exitUsage, codeFile, "%s is not empty: nothing was written", dir)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return failf(exitUsage, codeFile, "%s", err)
	}
	defer func() { _ = root.Close() }()
	for name, content := range files {
		err := root.MkdirAll(path.Dir(name), 0o755)
		if err = errors.Join(err, root.WriteFile(name, content, 0o644)); err != nil {
			return failf(exitUndecided, codeFile, "%s", strings.ReplaceAll(err.Error(), "\n", "; "))
		}
	}
	return nil
}
