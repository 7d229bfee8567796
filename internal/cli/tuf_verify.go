package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"troth/internal/atomicfile"
	"troth/tuf"
	"troth/tuf/client"
)

// tufVerified is the answer of verify and import.
type tufVerified struct {
	Repo     string         `json:"repo"`
	Verified bool           `json:"verified"`
	Problem  string         `json:"problem,omitempty"`
	Targets  int            `json:"targets"`
	Checked  int            `json:"content_checked"`
	Missing  []string       `json:"content_missing"`
	Roles    []verifiedRole `json:"roles"`
}

type verifiedRole struct {
	Role    string    `json:"role"`
	Expires time.Time `json:"expires"`
}

// verifyDir looks at a repository as a device would that trusts root.
func (a *app) verifyDir(ctx context.Context, dir string, root []byte) (tufVerified, error) {
	scratch, err := os.MkdirTemp("", "troth-verify-")
	if err != nil {
		return tufVerified{}, failf(exitUndecided, codeFile, "%s", err)
	}
	defer os.RemoveAll(scratch)
	found, err := client.VerifyDirectory(ctx, dir, root, scratch, a.Now())
	got := tufVerified{
		Repo: dir, Verified: err == nil, Targets: len(found.Targets), Checked: found.Checked,
		Missing: append([]string{}, found.Missing...), Roles: []verifiedRole{},
	}
	for _, r := range found.Roles {
		got.Roles = append(got.Roles, verifiedRole{r.Role, r.Expires})
	}
	if err != nil {
		got.Problem = err.Error()
	}
	return got, nil
}

func (a *app) showVerified(got tufVerified) error {
	return a.printer().print(got, func(p *page) {
		if !got.Verified {
			p.line("NOT verified: %s", got.Problem)
			return
		}
		p.line("Verified: %d targets, the content of %d is here and is what was signed, of %d it is not here.", got.Targets, got.Checked, len(got.Missing))
		t := &table{head: []string{"ROLE", "EXPIRES"}}
		for _, r := range got.Roles {
			t.add(r.Role, ago(r.Expires, p.now))
		}
		p.table(t, "No roles.")
	})
}

func (a *app) tufVerifyCommand() *cobra.Command {
	var l place
	var root string
	cmd := &cobra.Command{
		Use:   "verify --repo DIR [--root FILE]",
		Short: "Check a repository as a device would",
		Long: `Check a repository's directory as a device would that trusts the given root, or else
the directory's first one: signatures, versions, expiry, delegated roles, and the
content of every target that is there. Status 1: it does not verify.`,
		Example: "  troth tuf verify --repo repo --root root.json",
		Args:    takes(),
		RunE: a.action(func(ctx context.Context, _ []string) error {
			if l.repo == "" {
				return usagef("--repo DIR is missing")
			}
			trusted, err := a.readFile(first(root, filepath.Join(l.repo, "metadata", "1.root.json")), 1<<20)
			if err != nil {
				return err
			}
			got, err := a.verifyDir(ctx, l.repo, trusted)
			if err != nil {
				return err
			}
			if err := a.showVerified(got); err != nil || got.Verified {
				return err
			}
			return failf(exitNo, "repository_unverified", "%s", got.Problem)
		}),
	}
	l.repoFlag(cmd.Flags())
	cmd.Flags().StringVar(&root, "root", "", "`FILE` of the root to trust, of any version (default: the repository's first)")
	return cmd
}

func (a *app) tufExportCommand() *cobra.Command {
	var l place
	var out string
	var models []string
	cmd := &cobra.Command{
		Use:   "export --repo DIR --out FILE [--model M]...",
		Short: "Write a repository into one file, for a USB stick",
		Long: `Write a repository into one file: all roots, the current metadata and the firmware,
or only that of some models. It needs no protection: whoever imports it verifies it. It
is good until its timestamp expires (troth tuf status), as the repository is.`,
		Example: "  troth tuf export --repo repo --model edge-100 --out /media/usb/firmware.troth",
		Args:    takes(),
		RunE: a.action(func(context.Context, []string) error {
			if out == "" {
				return usagef("--out FILE is missing")
			}
			repo, err := l.open()
			if err != nil {
				return err
			}
			err = atomicfile.WriteFrom(out, 0o644, func(w io.Writer) error { return repo.Export(w, models...) })
			if err != nil {
				return explainTUF(err)
			}
			info, err := os.Stat(out)
			if err != nil {
				return failf(exitUndecided, codeFile, "%s", err)
			}
			return a.printer().print(map[string]any{"file": out, "bytes": info.Size()}, func(p *page) { p.line("Written to %s, %d bytes.", out, info.Size()) })
		}),
	}
	l.repoFlag(cmd.Flags())
	cmd.Flags().StringVar(&out, "out", "", "`FILE` to write")
	cmd.Flags().StringArrayVar(&models, "model", nil, "hardware model whose firmware is wanted (default: all); may be repeated")
	return cmd
}

func (a *app) tufImportCommand() *cobra.Command {
	var l place
	var root string
	cmd := &cobra.Command{
		Use:   "import FILE --repo DIR --root FILE",
		Short: "Unpack an exported repository, if it verifies",
		Long: `Unpack what troth tuf export wrote into a new directory, once it verifies under a root
that you trust: as troth tuf verify. It can then be served, or read from file://DIR. A
bundle that does not verify leaves nothing behind.`,
		Example: "  troth tuf import /media/usb/firmware.troth --root root.json --repo /var/lib/firmware",
		Args:    takes("FILE"),
		RunE: a.action(func(ctx context.Context, args []string) error {
			if l.repo == "" || root == "" {
				return usagef("tuf import needs --repo and --root")
			}
			trusted, err := a.readFile(root, 1<<20)
			if err != nil {
				return err
			}
			return a.tufImport(ctx, args[0], l.repo, trusted)
		}),
	}
	l.repoFlag(cmd.Flags())
	cmd.Flags().StringVar(&root, "root", "", "`FILE` of the root to trust, of any version")
	return cmd
}

func (a *app) tufImport(ctx context.Context, bundle, dir string, root []byte) error {
	if _, err := os.Lstat(dir); err == nil {
		return explainTUF(fmt.Errorf("import into %s: %w", dir, tuf.ErrExists))
	}
	in, err := os.Open(bundle)
	if err != nil {
		return failf(exitUsage, codeFile, "%s", err)
	}
	defer func() { _ = in.Close() }()
	beside, err := os.MkdirTemp(filepath.Dir(dir), ".import-")
	if err != nil {
		return failf(exitUsage, codeFile, "%s", err)
	}
	defer os.RemoveAll(beside)
	unpacked := filepath.Join(beside, "repo")
	if err := tuf.Unpack(in, unpacked); err != nil {
		return explainTUF(err)
	}
	got, err := a.verifyDir(ctx, unpacked, root)
	if err != nil {
		return err
	}
	if !got.Verified {
		return failf(exitNo, "repository_unverified", "%s", got.Problem)
	}
	if err := os.Rename(unpacked, dir); err != nil {
		return failf(exitUndecided, codeFile, "%s", err)
	}
	got.Repo = dir
	return a.showVerified(got)
}
