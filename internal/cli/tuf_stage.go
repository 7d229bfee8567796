package cli

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"troth/tuf"
	"troth/tuf/kms"
)

// tufPending is a stage in words.
type tufPending struct {
	Changes    []string  `json:"changes"`
	Signatures []tufNeed `json:"signatures"`
	File       string    `json:"file,omitempty"` // where it was written, to travel
}

type tufNeed struct {
	Role      string   `json:"role"`
	As        string   `json:"as"`
	Signed    []string `json:"signed"` // key ids
	Accepted  []string `json:"accepted"`
	Threshold int      `json:"threshold"`
	text      string
}

func pendingOf(s *tuf.Stage) (*tufPending, error) {
	needs, err := s.Needs()
	if err != nil {
		return nil, err
	}
	got := &tufPending{Changes: s.Describe(), Signatures: []tufNeed{}}
	for _, n := range needs {
		got.Signatures = append(got.Signatures, tufNeed{n.Role, n.As, append([]string{}, n.Signed...), n.KeyIDs, n.Threshold, n.String()})
	}
	return got, nil
}

func (t *tufPending) draw(p *page) {
	for _, line := range t.Changes {
		p.line("%s", line)
	}
	p.gap()
	for _, n := range t.Signatures {
		p.line("%s", n.text)
	}
	if t.File != "" {
		p.gap()
		p.line("Written to %s. Each signer: troth tuf sign %s --keys DIR", t.File, t.File)
	}
}

// staging is what every command that stages takes.
type staging struct {
	place
	out string
}

func (s *staging) flags(f *pflag.FlagSet) {
	s.repoFlag(f)
	f.StringVar(&s.out, "out", "", "`FILE` to write the stage to, for its signers")
}

// stage edits what is staged, shows it and writes it for its signers.
func (a *app) stage(s *staging, edit func(*tuf.Draft) error) error {
	repo, err := s.open()
	if err != nil {
		return err
	}
	staged, err := repo.Stage(a.Now(), edit)
	if err != nil {
		return explainTUF(err)
	}
	return a.showStage(s.out, staged)
}

func (a *app) showStage(out string, staged *tuf.Stage) error {
	got, err := pendingOf(staged)
	if err != nil {
		return explainTUF(err)
	}
	if out != "" {
		var text bytes.Buffer
		if _, err := staged.WriteTo(&text); err != nil {
			return explainTUF(err)
		}
		if err := writeOutput(out, text.Bytes(), 0o644); err != nil {
			return err
		}
		got.File = out
	}
	return a.printer().print(got, got.draw)
}

func (a *app) tufStageCommand() *cobra.Command {
	var s staging
	var renew, withdraw []string
	var discard bool
	cmd := &cobra.Command{
		Use:   "stage --repo DIR [--renew ROLE]... [--withdraw TARGET]... [--out FILE]",
		Short: "Show what is staged, write it for its signers, renew signatures",
		Long: `Stage the renewal of roles' signatures or the withdrawal of targets, in addition to
what is staged already; without either, show what is. With --out it is written to a
file that is carried to each signer. Other changes are staged by add-key, remove-key,
threshold, rotate-root, delegate, undelegate, and firmware publish --stage.`,
		Example: `  troth tuf stage --repo repo --out stage.json
  troth tuf stage --repo repo --renew root --renew targets --out stage.json`,
		Args: takes(),
		RunE: a.action(func(context.Context, []string) error {
			if !discard && len(renew)+len(withdraw) > 0 {
				return a.stage(&s, func(d *tuf.Draft) error {
					for _, role := range renew {
						if err := d.Renew(role); err != nil {
							return err
						}
					}
					for _, name := range withdraw {
						if err := d.Withdraw(name); err != nil {
							return err
						}
					}
					return nil
				})
			}
			repo, err := s.open()
			if err != nil {
				return err
			}
			if discard {
				if len(renew)+len(withdraw) > 0 {
					return usagef("--discard stands alone")
				}
				if err := repo.Discard(); err != nil {
					return explainTUF(err)
				}
				return a.tufShow(&s.place)
			}
			staged, err := repo.Pending()
			if err != nil {
				return explainTUF(err)
			}
			return a.showStage(s.out, staged)
		}),
	}
	f := cmd.Flags()
	s.flags(f)
	f.StringArrayVar(&renew, "renew", nil, "`ROLE` to sign anew before it expires: root, targets, a delegated role, bins; may be repeated")
	f.StringArrayVar(&withdraw, "withdraw", nil, "`TARGET` to take out; may be repeated")
	f.BoolVar(&discard, "discard", false, "forget what is staged")
	return cmd
}

// publicKeys reads files with public keys, or descriptions of keys in a key
// management service.
func (a *app) publicKeys(files []string) ([]crypto.PublicKey, error) {
	var keys []crypto.PublicKey
	for _, file := range files {
		text, err := a.readFile(file, 64<<10)
		if err != nil {
			return nil, err
		}
		if k, err := kms.Parse(text); err == nil {
			text = []byte(k.PublicKey)
		}
		pub, err := tuf.ParsePublicKey(text)
		if err != nil {
			return nil, failf(exitUsage, codeFile, "%s: %s", file, err)
		}
		keys = append(keys, pub)
	}
	return keys, nil
}

const keyFileHelp = "`FILE` of the public key (PEM, as create-key writes NAME.pub), or a NAME.kms file; may be repeated"

func (a *app) tufAddKeyCommand() *cobra.Command {
	var s staging
	var role string
	var files []string
	cmd := &cobra.Command{
		Use:   "add-key --repo DIR --role ROLE --key FILE... [--out FILE]",
		Short: "Stage that another key may sign for a role",
		Long: `Stage that further keys may sign for a role: root, targets, snapshot, timestamp,
releases (the hash bins) or a delegated role. How many must sign stays: see threshold.`,
		Example: "  troth tuf add-key --repo repo --role targets --key carol.pub --out stage.json",
		Args:    takes(),
		RunE: a.action(func(context.Context, []string) error {
			keys, err := a.publicKeys(files)
			if err != nil {
				return err
			}
			if role == "" || len(keys) == 0 {
				return usagef("tuf add-key needs --role and --key")
			}
			return a.stage(&s, func(d *tuf.Draft) error { return addKeys(d, role, keys) })
		}),
	}
	f := cmd.Flags()
	s.flags(f)
	f.StringVar(&role, "role", "", "role to sign for")
	f.StringArrayVar(&files, "key", nil, keyFileHelp)
	return cmd
}

func addKeys(d *tuf.Draft, role string, keys []crypto.PublicKey) error {
	for _, key := range keys {
		if err := d.AddKey(role, key); err != nil {
			return err
		}
	}
	return nil
}

func removeKeys(d *tuf.Draft, role string, ids []string) error {
	for _, id := range ids {
		if err := d.RemoveKey(role, id); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) tufRemoveKeyCommand() *cobra.Command {
	var s staging
	var role string
	var ids []string
	cmd := &cobra.Command{
		Use:   "remove-key --repo DIR --role ROLE --key-id ID... [--out FILE]",
		Short: "Stage that a lost or stolen key counts no more",
		Long: `Stage that keys, named by the beginning of their ids (troth tuf status), count no more
for a role. What then no longer meets the role's threshold is staged to be signed anew.
A role keeps at least as many keys as must sign: add a key first.`,
		Example: "  troth tuf remove-key --repo repo --role targets --key-id 5c1e77d20a3b --out stage.json",
		Args:    takes(),
		RunE: a.action(func(context.Context, []string) error {
			if role == "" || len(ids) == 0 {
				return usagef("tuf remove-key needs --role and --key-id")
			}
			return a.stage(&s, func(d *tuf.Draft) error { return removeKeys(d, role, ids) })
		}),
	}
	f := cmd.Flags()
	s.flags(f)
	f.StringVar(&role, "role", "", "role that it signed for")
	f.StringArrayVar(&ids, "key-id", nil, "beginning of the key's `ID`; may be repeated")
	return cmd
}

func (a *app) tufThresholdCommand() *cobra.Command {
	var s staging
	var role string
	var n int
	cmd := &cobra.Command{
		Use:     "threshold --repo DIR --role ROLE --number N [--out FILE]",
		Short:   "Stage how many keys of a role must sign",
		Long:    "Stage how many keys of a role must sign, at most as many as it has.",
		Example: "  troth tuf threshold --repo repo --role root --number 2 --out stage.json",
		Args:    takes(),
		RunE: a.action(func(context.Context, []string) error {
			if role == "" || n == 0 {
				return usagef("tuf threshold needs --role and --number")
			}
			return a.stage(&s, func(d *tuf.Draft) error { return d.SetThreshold(role, n) })
		}),
	}
	f := cmd.Flags()
	s.flags(f)
	f.StringVar(&role, "role", "", "root, targets, snapshot, timestamp or a delegated role")
	f.IntVar(&n, "number", 0, "how many must sign")
	return cmd
}

func (a *app) tufRotateRootCommand() *cobra.Command {
	var s staging
	var add, remove []string
	var threshold int
	cmd := &cobra.Command{
		Use:   "rotate-root --repo DIR [--key FILE]... [--remove-key-id ID]... [--threshold N] [--out FILE]",
		Short: "Stage a new root: renewed, with other keys, with another threshold",
		Long: `Stage the next root. Without more it only lives longer; with --key and --remove-key-id
root keys come and go, in one step. A new root is signed by enough of the current root
keys and by enough of its own; every earlier root stays, for devices that slept.`,
		Example: "  troth tuf rotate-root --repo repo --key dave.pub --remove-key-id 5c1e77d20a3b --out stage.json",
		Args:    takes(),
		RunE: a.action(func(context.Context, []string) error {
			keys, err := a.publicKeys(add)
			if err != nil {
				return err
			}
			return a.stage(&s, func(d *tuf.Draft) error {
				if err := errors.Join(d.Renew("root"), addKeys(d, "root", keys), removeKeys(d, "root", remove)); err != nil {
					return err
				}
				if threshold == 0 {
					return nil
				}
				return d.SetThreshold("root", threshold)
			})
		}),
	}
	f := cmd.Flags()
	s.flags(f)
	f.StringArrayVar(&add, "key", nil, keyFileHelp)
	f.StringArrayVar(&remove, "remove-key-id", nil, "beginning of the `ID` of a key that counts no more; may be repeated")
	f.IntVar(&threshold, "threshold", 0, "how many root keys must sign (default: as now)")
	return cmd
}

func (a *app) tufDelegateCommand() *cobra.Command {
	var s staging
	var d tuf.Delegation
	var files []string
	var life time.Duration
	cmd := &cobra.Command{
		Use:   "delegate --repo DIR --name ROLE --model M... --path PATTERN... --key FILE... [--out FILE]",
		Short: "Stage that a supplier signs the releases of its models",
		Long: `Stage that a supplier's keys sign the releases of some hardware models, in targets
whose names match a pattern; or change what it may sign. Both must hold: devices and
the service refuse a release whose model or name belongs to another.`,
		Example: `  troth tuf delegate --repo repo --name acme --model acme-100 --path 'acme/*' \
    --key acme.pub --out stage.json`,
		Args: takes(),
		RunE: a.action(func(context.Context, []string) error {
			keys, err := a.publicKeys(files)
			if err != nil {
				return err
			}
			if d.Name == "" || len(d.Models) == 0 || len(d.Paths) == 0 || len(keys) == 0 {
				return usagef("tuf delegate needs --name, --model, --path and --key")
			}
			d.Keys, d.Lifetime = keys, life
			return a.stage(&s, func(draft *tuf.Draft) error { return draft.Delegate(d) })
		}),
	}
	f := cmd.Flags()
	s.flags(f)
	f.StringVar(&d.Name, "name", "", "of the delegated role")
	f.StringArrayVar(&d.Models, "model", nil, "hardware model that it may sign for; may be repeated")
	f.StringArrayVar(&d.Paths, "path", nil, "`PATTERN` of its target names, * within a segment; may be repeated")
	f.StringArrayVar(&files, "key", nil, keyFileHelp)
	f.IntVar(&d.Threshold, "threshold", 1, "how many of the keys must sign")
	f.DurationVar(&life, "expiry", 0, "life of its signatures (default: as that of targets)")
	return cmd
}

func (a *app) tufUndelegateCommand() *cobra.Command {
	var s staging
	cmd := &cobra.Command{
		Use:     "undelegate ROLE --repo DIR [--out FILE]",
		Short:   "Stage that a supplier signs nothing more",
		Long:    "Stage that a delegated role counts no more, with all that it has signed.",
		Example: "  troth tuf undelegate acme --repo repo --out stage.json",
		Args:    takes("ROLE"),
		RunE: a.action(func(_ context.Context, args []string) error {
			return a.stage(&s, func(d *tuf.Draft) error { return d.Undelegate(args[0]) })
		}),
	}
	s.flags(cmd.Flags())
	return cmd
}
