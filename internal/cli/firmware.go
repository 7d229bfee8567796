package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"troth/attest/reference"
	"troth/internal/api"
	"troth/internal/evidence"
	"troth/tuf"
)

func (a *app) firmwareCommand() *cobra.Command {
	list := &cobra.Command{
		Use:   "list",
		Short: "List the releases that the server knows",
		Long: `List the firmware releases that the server read from its repository's signed
metadata. A release that was just published appears once the server looked again.`,
		Example: "  troth firmware list -o json",
		Args:    takes(),
		RunE:    a.action(func(ctx context.Context, _ []string) error { return a.firmwareList(ctx) }),
	}
	return a.noun("firmware", "Publish firmware, see what is published",
		"A firmware release is a signed file with a version, a counter and the PCR values that prove its installation.",
		list, a.firmwarePublishCommand())
}

func (a *app) firmwareList(ctx context.Context) error {
	client, err := a.client()
	if err != nil {
		return err
	}
	var got api.ReleaseList
	if err := client.Do(ctx, http.MethodGet, api.PathReleases, nil, &got); err != nil {
		return err
	}
	return a.printer().print(got, func(p *page) { drawReleases(p, got) })
}

func drawReleases(p *page, got api.ReleaseList) {
	t := &table{head: []string{"MODEL", "VERSION", "COUNTER", "SECURITY", "BYTES", "TARGET", "NOTES"}}
	for _, r := range got.Releases {
		t.add(r.Model, r.Version, strconv.FormatUint(r.Counter, 10), yesNo(r.Security), strconv.FormatInt(r.Length, 10), r.Target, dash(r.Notes))
	}
	p.table(t, "No releases.")
}

// codeInvalidReference: a file of reference values cannot be signed.
const codeInvalidReference = "reference_invalid"

// publication is what the flags of firmware publish say.
type publication struct {
	place
	file, reference, out string
	staged               bool
	release              tuf.Release
	files                runnable
}

func (a *app) firmwarePublishCommand() *cobra.Command {
	var pub publication
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
ima-known-files fails where another did.`,
		Example: `  troth firmware publish edge-100-1.2.0.img --repo repo --keys keys \
    --model edge-100 --version 1.2.0 --counter 3 --security --reference edge-100-1.2.0.json`,
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
	pub.files.flags(cmd)
	return cmd
}

func (a *app) firmwarePublish(ctx context.Context, pub publication) error {
	if pub.repo == "" || pub.keys == "" && !pub.staged || pub.reference == "" {
		return usagef("firmware publish needs --repo, --keys (or --stage) and --reference")
	}
	ref, err := a.readReference(pub.reference)
	if err != nil {
		return err
	}
	pub.release.Reference = &ref
	pub.release.Name = first(pub.release.Name, filepath.Base(pub.file))
	files, opened, err := pub.files.open(a, &pub.release)
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
	got, err := a.publishWhenFree(ctx, repo, pub.release, content, files)
	if err != nil {
		return explainTUF(err)
	}
	done := released(got)
	return a.printer().print(done, func(p *page) {
		p.line("Published %s: %s %s, counter %d, %d bytes.", done.Target, done.Model, done.Version, done.Counter, done.Length)
		p.line("SHA-256 %s", done.SHA256)
		if ima := got.Release.IMA; ima != nil && ima.AllowList != nil {
			p.line("Files that may run: %s, %d bytes.", ima.AllowList.Target, ima.AllowList.Length)
		}
	})
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
		for _, file := range []any{content, files.AllowList} {
			if again, ok := file.(io.Seeker); ok {
				if _, err := again.Seek(0, io.SeekStart); err != nil {
					return tuf.Target{}, fmt.Errorf("read firmware again: %w", err)
				}
			}
		}
	}
}

// readReference takes what is signed of a file of reference values.
func (a *app) readReference(file string) (tuf.Reference, error) {
	text, err := a.readFile(file, reference.MaxFile)
	if err != nil {
		return tuf.Reference{}, err
	}
	f, err := reference.ParseFile(text)
	if err != nil {
		return tuf.Reference{}, failf(exitUsage, codeInvalidReference, "%s: %s; troth reference makes such files", file, err)
	}
	out := tuf.Reference{Bank: f.Bank, PCRs: map[string]string{}}
	for pcr, value := range f.PCRs {
		out.PCRs[strconv.Itoa(pcr)] = value.String()
	}
	if f.Bank != evidence.Bank {
		return out, failf(exitUsage, codeInvalidReference, "%s: the values are of bank %s, and the service compares %s: make them with --bank %s", file, f.Bank, evidence.Bank, evidence.Bank)
	}
	return out, nil
}

// released is a target as the API would show it.
func released(t tuf.Target) api.Release {
	out := api.Release{Target: t.Name, Length: t.Length, SHA256: t.Hashes["sha256"]}
	if t.Release == nil {
		return out
	}
	out.Model, out.Version, out.Counter = t.Release.Model, t.Release.Version, t.Release.Counter
	out.Security, out.Notes = t.Release.Security, t.Release.Notes
	if t.Release.Reference != nil {
		out.Reference = map[int]string{}
		for index, value := range t.Release.Reference.PCRs {
			if n, err := strconv.Atoi(index); err == nil {
				out.Reference[n] = value
			}
		}
	}
	return out
}

// explainTUF ranks what a repository refuses.
func explainTUF(err error) error {
	var missing *tuf.MissingKeyError
	var unsigned *tuf.MissingSignaturesError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &missing):
		return failf(exitUsage, "missing_key", "%s", missing)
	case errors.As(err, &unsigned):
		return failf(exitNo, "signatures_missing", "%s", unsigned)
	case errors.Is(err, tuf.ErrTwin):
		return failf(exitNo, "release_twin", "%s", err)
	case errors.Is(err, tuf.ErrDelegation):
		return failf(exitNo, "release_delegated", "%s", err)
	case errors.Is(err, tuf.ErrNoRole):
		return failf(exitNo, "no_role", "%s", err)
	case errors.Is(err, tuf.ErrStage):
		return failf(exitNo, "stage_mismatch", "%s", err)
	case errors.Is(err, tuf.ErrPending):
		return failf(exitNo, "stage_pending", "%s", err)
	case errors.Is(err, tuf.ErrInvalid):
		return failf(exitUsage, "release_invalid", "%s", err)
	case errors.Is(err, tuf.ErrCounter):
		return failf(exitNo, "release_counter", "%s", err)
	case errors.Is(err, tuf.ErrExists):
		return failf(exitNo, "exists", "%s", err)
	case errors.Is(err, tuf.ErrNotFound):
		return failf(exitNo, "no_repository", "%s", err)
	case errors.Is(err, tuf.ErrExpired):
		return failf(exitNo, "role_expired", "%s", err)
	case errors.Is(err, tuf.ErrLocked):
		return failf(exitUndecided, "locked", "%s", err)
	default:
		return failf(exitUndecided, "repository", "%s", err)
	}
}
