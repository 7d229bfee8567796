package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"troth/internal/api"
	"troth/tuf"
)

// publishing is what the flags of firmware publish say.
type publishing struct {
	place
	file, reference, out string
	staged               bool
	release              tuf.Release
	beside               beside
	requirements         requirements
}

func (a *app) firmwarePublishCommand() *cobra.Command {
	var pub publishing
	cmd := &cobra.Command{
		Use:   "publish FILE --repo DIR --keys DIR --model M --version V --counter N --reference FILE.json",
		Short: "Sign a firmware file into a repository",
		Long: `Sign a firmware file into a TUF repository: a directory that trothd, or any web
server, serves. No server is asked. The targets, snapshot and timestamp keys must be
in the keys directory (for a model that is delegated, its supplier's instead of the
targets keys). With --stage it waits beside the repository until enough of them have
signed it elsewhere: see troth tuf sign.

The counter grows with every release of a model: devices refuse to go back. The
reference values are the PCR values that a device quotes once it runs the release, as
troth reference writes them; without them no device could ever prove it. Of the file,
{"bank":"sha256","pcrs":{"0":"HEX"}} is signed.

An IMA allow-list is signed and published beside the firmware. Together with the
certificates it says which files may run on devices with the release: the control
ima-known-files fails where another did.

A bill of materials, provenance and a signature over the image are published beside it
too, and pinned by the release. Before anybody sees the release, policy is asked
whether it has what it needs: config.publish in the bundle says what that is. If it
has not, each requirement is said to be met or not, and the status is 1.`,
		Example: `  troth firmware publish edge-100-1.2.0.img --repo repo --keys keys \
    --model edge-100 --version 1.2.0 --counter 3 --security --reference edge-100-1.2.0.json
  troth firmware publish edge-100-1.3.0.img --repo repo --keys keys \
    --model edge-100 --version 1.3.0 --counter 4 --reference edge-100-1.3.0.json \
    --sbom fw.cdx.json --provenance fw.provenance.json --trusted-root trusted_root.json --policy policies`,
		Args: takes("FILE"),
		RunE: a.action(func(ctx context.Context, args []string) error {
			pub.file = args[0]
			return a.firmwarePublish(ctx, pub)
		}),
	}
	f := cmd.Flags()
	pub.repoFlag(f)
	pub.keysFlag(f)
	f.BoolVar(&pub.staged, "stage", false, "stage it for its signers instead of signing it now")
	f.StringVar(&pub.out, "out", "", "`FILE` to write the stage to, with --stage")
	f.StringVar(&pub.reference, "reference", "", "`FILE` of the reference values (JSON)")
	f.StringVar(&pub.release.Model, "model", "", "hardware model that it is for")
	f.StringVar(&pub.release.Version, "version", "", "version, for people")
	f.Uint64Var(&pub.release.Counter, "counter", 0, "number that grows with every release of the model")
	f.StringVar(&pub.release.Name, "name", "", "target name (default: the file's)")
	f.BoolVar(&pub.release.Security, "security", false, "it fixes a vulnerability: older releases are outdated")
	f.StringVar(&pub.release.Notes, "notes", "", "what is new, for people")
	f.Uint64Var(&pub.release.Minimum, "minimum", 0, "counter that a device must run, or a later one, to install this")
	f.Uint64Var(&pub.release.DowngradeFrom, "downgrade-from", 0, "highest counter that this release may take the place of although its own is lower")
	pub.beside.flags(cmd)
	pub.requirements.flags(f)
	return cmd
}

func (a *app) firmwarePublish(ctx context.Context, pub publishing) error {
	if pub.repo == "" || pub.keys == "" && !pub.staged || pub.reference == "" {
		return usagef("firmware publish needs --repo, --keys (or --stage) and --reference")
	}
	ref, err := a.readReference(pub.reference)
	if err != nil {
		return err
	}
	pub.release.Reference = &ref
	pub.release.Name = first(pub.release.Name, filepath.Base(pub.file))
	files, opened, err := pub.beside.open(a, &pub.release)
	if err != nil {
		return err
	}
	defer func() { _ = opened.Close() }()
	if err := pub.release.Validate(); err != nil {
		return explainTUF(err)
	}
	content, err := os.Open(pub.file)
	if err != nil {
		return failf(exitUsage, codeFile, "%s", err)
	}
	defer func() { _ = content.Close() }()
	repo, err := pub.open()
	if err != nil {
		return err
	}
	if pub.staged {
		s, err := repo.StageRelease(ctx, pub.release, content, files, a.Now())
		if err != nil {
			return explainTUF(err)
		}
		return a.showStage(pub.out, s)
	}
	if err := pub.requirements.review(ctx, a, repo); err != nil {
		return err
	}
	got, err := a.publishWhenFree(ctx, repo, pub.release, content, files)
	if err != nil {
		return explainTUF(err)
	}
	done := published{released(got), pub.requirements.decided}
	return a.printer().print(done, func(p *page) {
		p.line("Published %s: %s %s, counter %d, %d bytes.", done.Target, done.Model, done.Version, done.Counter, done.Length)
		p.line("SHA-256 %s", done.SHA256)
		if ima := got.Release.IMA; ima != nil && ima.AllowList != nil {
			p.line("Files that may run: %s, %d bytes.", ima.AllowList.Target, ima.AllowList.Length)
		}
		pub.requirements.draw(p)
	})
}

// published is a release and what policy said of it.
type published struct {
	api.Release
	Decisions []publishDecision `json:"decisions"`
}

// publishWhenFree publishes as soon as nobody else writes to the repository: the
// service takes it for a moment now and then, to see whether to re-sign it.
func (a *app) publishWhenFree(ctx context.Context, repo *tuf.Repository, rel tuf.Release, content io.ReadSeeker, files tuf.Files) (tuf.Target, error) {
	const tries, pause = 50, 100 * time.Millisecond
	for i := 1; ; i++ {
		got, err := repo.PublishWithFiles(ctx, rel, content, files, a.Now())
		if !errors.Is(err, tuf.ErrLocked) || i == tries || ctx.Err() != nil {
			return got, err
		}
		time.Sleep(pause)
		for _, file := range []any{content, files.AllowList, files.SBOM, files.Provenance, files.Signature} {
			if again, ok := file.(io.Seeker); ok {
				if _, err := again.Seek(0, io.SeekStart); err != nil {
					return tuf.Target{}, fmt.Errorf("read firmware again: %w", err)
				}
			}
		}
	}
}
