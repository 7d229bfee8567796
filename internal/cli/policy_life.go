package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"troth/internal/api"
	"troth/policy/archive"
	"troth/tuf"
)

// examineTimeout is how long a bundle may be examined, whatever --timeout says of
// other answers.
const examineTimeout = 4 * time.Minute

// withPolicyLife adds the commands about the bundles of a service to those that
// need none.
func (a *app) withPolicyLife(cmd *cobra.Command) *cobra.Command {
	cmd.AddCommand(a.policyLifeCommands()...)
	return cmd
}

func (a *app) policyLifeCommands() []*cobra.Command {
	return []*cobra.Command{
		a.policyListCommand(), a.policyShowCommand(), a.policyPublishCommand(), a.policyPushCommand(), a.policyPreviewCommand(),
		a.policyMoveCommand("approve", "Agree to a bundle that somebody else proposed", `Agree to a verified bundle, as the second person: whoever pushed it, or wants it
back, cannot. Look at what it would change first: troth policy preview ID.`, false),
		a.policyMoveCommand("reject", "Turn down a bundle that waits", `Turn down a bundle that waits for approval or activation. One that decided before is
again what it was; another one cannot come back, but a newer one can be pushed.`, true),
		a.policyMoveCommand("activate", "Have an approved bundle decide", `Have an approved bundle decide instead of the active one: at once where the request
arrives, within seconds in every other replica. An approval that was given before the
active bundle began to decide does not count.`, false),
		a.policyMoveCommand("rollback", "Propose to go back to an earlier bundle", `Propose to go back to a bundle that decided before; base is the one that trothd brings
along. It is examined anew, and needs the approval of somebody else and an activation,
as a new one does.`, true),
		a.policyDiffCommand(), a.policyShadowCommand(),
	}
}

func (a *app) policyListCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the service's policy bundles",
		Long: `List the policy bundles that were pushed, the newest first. One is active: it decides.
The bundle base is the one that trothd brings along, or that of its policy_dir.`,
		Example: "  troth policy list\n  troth policy list -o json",
		Args:    takes(),
		RunE: a.action(func(ctx context.Context, _ []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			var got api.PolicyBundleList
			if err := client.Do(ctx, http.MethodGet, api.PathPolicies, nil, &got); err != nil {
				return err
			}
			return a.printer().print(got, func(p *page) {
				t := &table{head: []string{"ID", "VERSION", "STATE", "CONTROLS", "PROPOSED", "APPROVED", "ACTIVATED", "REASON"}}
				for _, b := range got.Bundles {
					state := b.State
					if b.ShadowBy != "" {
						state += ", in the shadow"
					}
					t.add(b.ID, b.Version, state, strconv.Itoa(b.Controls), by(b.ProposedBy, b.ProposedAt, p.now), by(b.ApprovedBy, b.ApprovedAt, p.now), by(b.ActivatedBy, b.ActivatedAt, p.now), dash(b.Reason))
				}
				p.table(t, "No policy bundles.")
			})
		}),
	}
}

// by says who did something, and when.
func by(name string, at *time.Time, now time.Time) string {
	if name == "" || at == nil {
		return "-"
	}
	return name + ", " + ago(*at, now)
}

func (a *app) policyShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "show ID",
		Short:   "Show a bundle, and which replicas decide by it",
		Long:    "Show a policy bundle: where it stands, what its examination found, and which replicas of the service decide by it. The word active stands for the one that decides.",
		Example: "  troth policy show 7\n  troth policy show active -o json",
		Args:    takes("ID"),
		RunE: a.action(func(ctx context.Context, args []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			var got api.PolicyBundle
			if err := client.Do(ctx, http.MethodGet, api.Path(api.PathPolicy, args[0]), nil, &got); err != nil {
				return err
			}
			return a.printer().print(got, func(p *page) { drawBundle(p, got) })
		}),
	}
}

func drawBundle(p *page, b api.PolicyBundle) {
	p.fields(
		[2]string{"ID", b.ID}, [2]string{"Version", b.Version}, [2]string{"State", b.State}, [2]string{"Because", b.Reason},
		[2]string{"Policy", b.Policy}, [2]string{"Target", b.Target}, [2]string{"Archive", b.Archive}, [2]string{"Roots", strings.Join(b.Roots, ", ")},
	)
	if b.Tests > 0 {
		p.fields([2]string{"Examined", fmt.Sprintf("%d files, %d controls, %d tests passed, coverage %d %%", b.Files, b.Controls, b.Tests, b.Coverage)})
	}
	for _, w := range b.Warnings {
		p.fields([2]string{"Warning", w})
	}
	for _, row := range []struct {
		what, who string
		at        *time.Time
	}{{"Proposed", b.ProposedBy, b.ProposedAt}, {"Approved", b.ApprovedBy, b.ApprovedAt}, {"Activated", b.ActivatedBy, b.ActivatedAt}} {
		if row.who != "" && row.at != nil {
			p.fields([2]string{row.what, ago(*row.at, p.now) + " by " + row.who})
		}
	}
	if b.EndedAt != nil {
		p.fields([2]string{"Superseded", ago(*b.EndedAt, p.now)})
	}
	if b.ShadowBy != "" {
		p.fields([2]string{"In the shadow", "by " + b.ShadowBy})
	}
	if len(b.Replicas) == 0 {
		return
	}
	p.gap()
	t := &table{head: []string{"REPLICA", "POLICY", "SEEN", "PROBLEM"}}
	for _, r := range b.Replicas {
		t.add(r.ID[:min(len(r.ID), 12)], r.Policy[:min(len(r.Policy), 12)], ago(r.At, p.now), dash(r.Problem))
	}
	p.table(t, "")
}

// policyPublication is what the flags of publishing a bundle say.
type policyPublication struct {
	place
	bundle tuf.PolicyBundle
	roots  []string
}

func (p *policyPublication) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	p.repoFlag(f)
	p.keysFlag(f)
	f.StringVar(&p.bundle.Version, "version", "", "version, for people")
	f.Uint64Var(&p.bundle.Counter, "counter", 0, "number that grows with every bundle")
	f.StringVar(&p.bundle.Name, "name", "", "target name (default: policies/fleet-COUNTER.tar.gz)")
	f.StringVar(&p.bundle.Notes, "notes", "", "what is new, for people")
	f.StringSliceVar(&p.roots, "root", archive.DefaultRoots(), "path below data that the bundle is about, where DIR has no .manifest; may be repeated")
}

func (a *app) policyPublishCommand() *cobra.Command {
	var pub policyPublication
	cmd := &cobra.Command{
		Use:   "publish DIR --repo DIR --keys DIR --version V --counter N",
		Short: "Sign a policy bundle into a repository",
		Long: `Pack a directory of policies and sign it into a TUF repository, the one of the firmware,
as a target below policies/. No server is asked: trothd decides by it only after it was
pushed, approved and activated.

The targets, snapshot and timestamp keys must be in the keys directory; where the model
"policy" is delegated (troth tuf delegate --model policy --path 'policies/*'), the keys
of that role instead of the targets keys. The counter grows with every bundle: an older
one is never taken in.

The archive says which paths below data it is about, its roots: those of the .manifest
in DIR (as OPA's bundles have it), or else those of --root. Anything outside is refused.`,
		Example: "  troth policy publish ./policies --repo repo --keys keys --version 2026.5 --counter 7",
		Args:    takes("DIR"),
		RunE: a.action(func(ctx context.Context, args []string) error {
			target, err := a.publishPolicy(ctx, pub, args[0])
			if err != nil {
				return err
			}
			return a.printer().print(target, func(p *page) {
				p.line("Published %s: version %s, counter %d, %d bytes.", target.Target, target.Version, target.Counter, target.Length)
				p.line("SHA-256 %s", target.SHA256)
			})
		}),
	}
	pub.flags(cmd)
	return cmd
}

// publishedPolicy is a bundle that was signed.
type publishedPolicy struct {
	Target  string `json:"target"`
	Version string `json:"version"`
	Counter uint64 `json:"counter"`
	Length  int64  `json:"length"`
	SHA256  string `json:"sha256"`
}

func (a *app) publishPolicy(ctx context.Context, pub policyPublication, dir string) (publishedPolicy, error) {
	if pub.repo == "" || pub.keys == "" || pub.bundle.Version == "" || pub.bundle.Counter == 0 {
		return publishedPolicy{}, usagef("publishing a policy bundle needs --repo, --keys, --version and --counter")
	}
	pub.bundle.Name = first(pub.bundle.Name, fmt.Sprintf("%sfleet-%d.tar.gz", tuf.PolicyPrefix, pub.bundle.Counter))
	if err := pub.bundle.Validate(); err != nil {
		return publishedPolicy{}, explainTUF(err)
	}
	content, err := packPolicies(dir, pub.bundle.Version, pub.roots)
	if err != nil {
		return publishedPolicy{}, err
	}
	repo, err := pub.open()
	if err != nil {
		return publishedPolicy{}, err
	}
	for try := 1; ; try++ {
		got, err := repo.PublishPolicy(ctx, pub.bundle, strings.NewReader(string(content)), a.Now())
		if errors.Is(err, tuf.ErrLocked) && try < 50 && ctx.Err() == nil {
			time.Sleep(100 * time.Millisecond) // the service looks whether to re-sign it
			continue
		}
		return publishedPolicy{got.Name, pub.bundle.Version, pub.bundle.Counter, got.Length, got.Hashes["sha256"]}, explainTUF(err)
	}
}

// packPolicies makes the archive of a directory.
func packPolicies(dir, version string, roots []string) (content []byte, err error) {
	err = withBundle([]string{dir}, func(fsys fs.FS) error {
		content, err = archive.Pack(fsys, version, roots)
		return err
	})
	if errors.Is(err, archive.ErrArchive) {
		return nil, failf(exitNo, "policy_bundle", "%s", err)
	}
	return content, err
}

func (a *app) policyPushCommand() *cobra.Command {
	var pub policyPublication
	cmd := &cobra.Command{
		Use:   "push (TARGET | DIR --repo DIR --keys DIR --version V --counter N)",
		Short: "Have the service take in a signed bundle, and examine it",
		Long: `Have the service take in a bundle that its repository has signed, by the name of the
target. It is unpacked, compiled, linted, its own tests are run and it is tried on the
fleet's postures; then it is verified, or refused with the reason. It decides nothing
until somebody else approved it and it was activated.

With --repo and --keys, DIR is published first, as troth policy publish does.`,
		Example: `  troth policy push policies/fleet-7.tar.gz
  troth policy push ./policies --repo repo --keys keys --version 2026.5 --counter 7`,
		Args: takes("TARGET"),
		RunE: a.action(func(ctx context.Context, args []string) error {
			target := args[0]
			if pub.repo != "" {
				done, err := a.publishPolicy(ctx, pub, target)
				if err != nil {
					return err
				}
				target = done.Target
			} else if info, err := os.Stat(target); err == nil && info.IsDir() {
				return usagef("%s is a directory: publish it first, or give --repo, --keys, --version and --counter", target)
			}
			return a.sendPolicy(ctx, api.PathPolicies, api.PolicyPush{Target: target})
		}),
	}
	pub.flags(cmd)
	return cmd
}

func (a *app) policyMoveCommand(action, brief, long string, needsReason bool) *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:     action + " ID",
		Short:   brief,
		Long:    long,
		Example: "  troth policy " + action + " 7",
		Args:    takes("ID"),
		RunE: a.action(func(ctx context.Context, args []string) error {
			if needsReason && reason == "" {
				return usagef("policy %s needs --reason", action)
			}
			return a.sendPolicy(ctx, api.Path(api.PathPolicyAction, args[0], action), api.ReasonRequest{Reason: first(reason, action)})
		}),
	}
	if needsReason {
		cmd.Example += " --reason \"devices in Kiel fail without cause\""
		cmd.Flags().StringVar(&reason, "reason", "", "why, for the trail")
	}
	return cmd
}

// sendPolicy asks for something that may take a while.
func (a *app) sendPolicy(ctx context.Context, path string, body any) error {
	a.flags.timeout = max(a.flags.timeout, examineTimeout)
	client, err := a.client()
	if err != nil {
		return err
	}
	var got api.PolicyBundle
	if err := client.Do(ctx, http.MethodPost, path, body, &got); err != nil {
		return err
	}
	return a.printer().print(got, func(p *page) {
		p.line("Policy bundle %s (version %s) is %s.", got.ID, got.Version, got.State)
		if next := nextPolicyStep(got); next != "" {
			p.line("%s", next)
		}
	})
}

// nextPolicyStep says what a bundle waits for.
func nextPolicyStep(b api.PolicyBundle) string {
	switch b.State {
	case "verified":
		return fmt.Sprintf("Next: troth policy preview %s, and somebody other than %s: troth policy approve %s", b.ID, b.ProposedBy, b.ID)
	case "approved":
		return "Next: troth policy activate " + b.ID
	}
	return ""
}
