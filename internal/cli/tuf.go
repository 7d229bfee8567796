package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"troth/internal/api"
	"troth/tuf"
	"troth/tuf/kms"
)

// tufStatus is how long the signatures of a repository still live.
type tufStatus struct {
	Repo    string      `json:"repo"`
	Roles   []tufRole   `json:"roles"`
	Pending *tufPending `json:"pending,omitempty"`
}

type tufRole struct {
	Role      string    `json:"role"`
	Version   int64     `json:"version"`
	Expires   time.Time `json:"expires"`
	Keys      []string  `json:"keys"` // key ids
	Threshold int       `json:"threshold"`
}

func (a *app) tufCommand() *cobra.Command {
	return a.noun("tuf", "Make and keep a repository of signed firmware",
		`A repository is a directory of signed metadata and firmware files, after The Update
Framework. The root and targets keys belong offline; the snapshot and timestamp keys
stay where the repository is refreshed. None of these commands asks a server.

Where keys are kept apart, a change is staged beside the repository, carried as a file
to each signer (show, sign) and published once enough have signed.`,
		a.tufInitCommand(), a.tufListCommand(), a.tufRefreshCommand(), a.tufRotateCommand(), a.tufStatusCommand(), a.tufRootCommand(),
		a.tufCreateKeyCommand(), a.tufKMSKeyCommand(),
		a.tufStageCommand(), a.tufAddKeyCommand(), a.tufRemoveKeyCommand(), a.tufThresholdCommand(), a.tufRotateRootCommand(),
		a.tufDelegateCommand(), a.tufUndelegateCommand(), a.tufAllowDowngradeCommand(), a.tufBinsCommand(),
		a.tufShowCommand(), a.tufSignCommand(), a.tufPublishCommand(), a.tufVerifyCommand(), a.tufExportCommand(), a.tufImportCommand())
}

// place is where a repository and its keys are.
type place struct{ repo, keys, passphrase string }

func (l *place) repoFlag(f *pflag.FlagSet) {
	f.StringVar(&l.repo, "repo", "", "`DIR` of the repository")
}
func (l *place) keysFlag(f *pflag.FlagSet) {
	f.StringVar(&l.keys, "keys", "", "`DIR` of the signing keys: NAME.pem, or NAME.kms for a key management service")
	f.StringVar(&l.passphrase, "passphrase-file", "", "`FILE` with the passphrase of encrypted keys (first line)")
}

// ring is the keys, opened as they are needed.
func (l *place) ring() tuf.Keys {
	keys := tuf.Keys{Dir: l.keys, Remote: kms.Open}
	if l.passphrase != "" {
		keys.Passphrase = func(string) ([]byte, error) { return readPassphrase(l.passphrase) }
	}
	return keys
}

const maxPassphrase = 4 << 10 // bytes

func readPassphrase(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("read passphrase: %w", err)
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, maxPassphrase+1))
	if err != nil {
		return nil, fmt.Errorf("read passphrase: %w", err)
	}
	line, _, _ := bytes.Cut(text, []byte{'\n'})
	line = bytes.TrimSuffix(line, []byte{'\r'})
	if len(line) == 0 || len(text) > maxPassphrase {
		return nil, fmt.Errorf("read passphrase: the first line of %s is empty, or the file is longer than %d bytes", file, maxPassphrase)
	}
	return line, nil
}

func (l *place) open() (*tuf.Repository, error) {
	if l.repo == "" {
		return nil, usagef("--repo DIR is missing")
	}
	repo, err := tuf.OpenWith(l.repo, l.ring())
	return repo, explainTUF(err)
}

// openSigning also wants keys.
func (l *place) openSigning() (*tuf.Repository, error) {
	if l.keys == "" {
		return nil, usagef("--keys DIR is missing")
	}
	return l.open()
}

func (a *app) tufInitCommand() *cobra.Command {
	var l place
	o := tuf.InitOptions{}
	cmd := &cobra.Command{
		Use:   "init --repo DIR --keys DIR",
		Short: "Make keys and an empty repository",
		Long: `Make the keys of a repository, and an empty repository. Keys that are already in the
keys directory are used; with a passphrase, new ones are encrypted. Devices and trothd are given metadata/1.root.json to trust;
the keys directory must never be served.`,
		Example: "  troth tuf init --repo repo --keys keys",
		Args:    takes(),
		RunE: a.action(func(context.Context, []string) error {
			if l.repo == "" || l.keys == "" {
				return usagef("tuf init needs --repo and --keys")
			}
			ring := l.ring()
			o.KeysDir, o.Passphrase, o.Remote, o.Now = ring.Dir, ring.Passphrase, ring.Remote, a.Now()
			if err := tuf.Init(l.repo, o); err != nil {
				return explainTUF(err)
			}
			return a.tufShow(&l)
		}),
	}
	f := cmd.Flags()
	l.repoFlag(f)
	l.keysFlag(f)
	f.StringVar(&o.KeyType, "key-type", tuf.KeyEd25519, tuf.KeyEd25519+" or "+tuf.KeyECDSA)
	f.IntVar(&o.RootKeys, "root-keys", 1, "how many root keys to make")
	f.IntVar(&o.RootThreshold, "root-threshold", 1, "how many of them must sign")
	f.IntVar(&o.TargetsKeys, "targets-keys", 1, "how many targets keys to make")
	f.IntVar(&o.TargetsThreshold, "targets-threshold", 1, "how many of them must sign")
	f.IntVar(&o.BinBits, "hash-bins", 0, "spread releases over 2^`BITS` hash bins with a key of their own; 11 suits 100,000 releases (default: none)")
	f.DurationVar(&o.RootExpiry, "root-expiry", tuf.DefaultRootLifetime, "life of the root's signature")
	f.DurationVar(&o.TargetsExpiry, "targets-expiry", tuf.DefaultTargetsLifetime, "life of the targets' signature")
	f.DurationVar(&o.SnapshotExpiry, "snapshot-expiry", tuf.DefaultSnapshotLifetime, "life of the snapshot's signature")
	f.DurationVar(&o.TimestampExpiry, "timestamp-expiry", tuf.DefaultTimestampLifetime, "life of the timestamp's signature")
	complete(cmd, "key-type", tuf.KeyEd25519, tuf.KeyECDSA)
	return cmd
}

func (a *app) tufListCommand() *cobra.Command {
	var l place
	cmd := &cobra.Command{
		Use:     "list --repo DIR",
		Short:   "List the releases in a repository",
		Long:    "List the releases that a repository's verified metadata signs, by model, newest first.",
		Example: "  troth tuf list --repo repo -o json",
		Args:    takes(),
		RunE: a.action(func(context.Context, []string) error {
			repo, err := l.open()
			if err != nil {
				return err
			}
			targets, err := repo.Releases()
			if err != nil {
				return explainTUF(err)
			}
			got := api.ReleaseList{Releases: []api.Release{}}
			for _, t := range targets {
				got.Releases = append(got.Releases, released(t))
			}
			return a.printer().print(got, func(p *page) { drawReleases(p, got) })
		}),
	}
	l.repoFlag(cmd.Flags())
	return cmd
}

func (a *app) tufRefreshCommand() *cobra.Command {
	var l place
	cmd := &cobra.Command{
		Use:   "refresh --repo DIR --keys DIR",
		Short: "Sign timestamp and snapshot anew before they expire",
		Long: `Sign timestamp and snapshot anew when less than half of their life is left, with
their keys alone; otherwise nothing is done, so it may be run as often as one likes.`,
		Example: "  troth tuf refresh --repo repo --keys online-keys",
		Args:    takes(),
		RunE: a.action(func(context.Context, []string) error {
			repo, err := l.openSigning()
			if err != nil {
				return err
			}
			if err := repo.Refresh(a.Now()); err != nil {
				return explainTUF(err)
			}
			return a.tufShow(&l)
		}),
	}
	l.repoFlag(cmd.Flags())
	l.keysFlag(cmd.Flags())
	return cmd
}

func (a *app) tufRotateCommand() *cobra.Command {
	var l place
	var roles []string
	cmd := &cobra.Command{
		Use:   "rotate --repo DIR --keys DIR [--role ROLE]...",
		Short: "Give roles new keys, or renew the root",
		Long: `Give each named role new keys, and sign a new root; without roles, renew the root's
expiry. It needs the root keys, the old keys of the named roles, and the snapshot and
timestamp keys. Old key files are left to be destroyed by their owner.`,
		Example: "  troth tuf rotate --repo repo --keys keys --role timestamp",
		Args:    takes(),
		RunE: a.action(func(context.Context, []string) error {
			repo, err := l.openSigning()
			if err != nil {
				return err
			}
			if err := repo.Rotate(a.Now(), roles...); err != nil {
				return explainTUF(err)
			}
			return a.tufShow(&l)
		}),
	}
	l.repoFlag(cmd.Flags())
	l.keysFlag(cmd.Flags())
	cmd.Flags().StringArrayVar(&roles, "role", nil, "root, targets, snapshot or timestamp; may be given more than once")
	complete(cmd, "role", "root", "targets", "snapshot", "timestamp")
	return cmd
}

func (a *app) tufStatusCommand() *cobra.Command {
	var l place
	cmd := &cobra.Command{
		Use:   "status --repo DIR",
		Short: "Say when a repository's signatures expire",
		Long: `Say which version each role of a repository has, when its signature expires, which
keys may sign it and how many must, and what is staged and which signatures it lacks.`,
		Example: "  troth tuf status --repo repo",
		Args:    takes(),
		RunE:    a.action(func(context.Context, []string) error { return a.tufShow(&l) }),
	}
	l.repoFlag(cmd.Flags())
	return cmd
}

func (a *app) tufRootCommand() *cobra.Command {
	var l place
	cmd := &cobra.Command{
		Use:     "root --repo DIR",
		Short:   "Write the root that devices are given to trust",
		Long:    "Write a repository's newest root metadata, exactly as it was signed, to standard output.",
		Example: "  troth tuf root --repo repo > root.json",
		Args:    takes(),
		RunE: a.action(func(context.Context, []string) error {
			repo, err := l.open()
			if err != nil {
				return err
			}
			root, err := repo.Root()
			if err != nil {
				return explainTUF(err)
			}
			_, err = a.Stdout.Write(root)
			return err
		}),
	}
	l.repoFlag(cmd.Flags())
	return cmd
}

// tufShow answers with the state of the repository.
func (a *app) tufShow(l *place) error {
	repo, err := l.open()
	if err != nil {
		return err
	}
	roles, err := repo.Status()
	if err != nil {
		return explainTUF(err)
	}
	got := tufStatus{Repo: l.repo}
	for _, r := range roles {
		got.Roles = append(got.Roles, tufRole{r.Role, r.Version, r.Expires, r.KeyIDs, r.Threshold})
	}
	switch pending, err := repo.Pending(); {
	case err == nil:
		if got.Pending, err = pendingOf(pending); err != nil {
			return explainTUF(err)
		}
	case !errors.Is(err, tuf.ErrPending):
		return explainTUF(err)
	}
	return a.printer().print(got, func(p *page) {
		t := &table{head: []string{"ROLE", "VERSION", "EXPIRES", "SIGNED BY", "KEYS"}}
		for _, r := range got.Roles {
			t.add(r.Role, strconv.FormatInt(r.Version, 10), ago(r.Expires, p.now), fmt.Sprintf("%d of %d", r.Threshold, len(r.Keys)), shortIDs(r.Keys))
		}
		p.table(t, "No roles.")
		if got.Pending != nil {
			p.gap()
			p.line("Staged, and waiting:")
			got.Pending.draw(p)
		}
	})
}

func shortIDs(ids []string) string {
	var list []string
	for _, id := range ids {
		list = append(list, id[:min(12, len(id))])
	}
	return dash(strings.Join(list, " "))
}
