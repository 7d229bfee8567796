package cli

import (
	"context"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"

	"github.com/spf13/pflag"

	"troth/internal/publication"
	"troth/osv"
	"troth/policy"
	"troth/tuf"
)

// builtinPolicy stands for the program's own policy bundle.
const builtinPolicy = "builtin"

// requirements is by what a release is judged before anybody sees it.
type requirements struct {
	policy, root, osv string
	keys              []string
	decided           []publishDecision
}

// publishDecision is what policy said of one release.
type publishDecision struct {
	Target string `json:"target"`
	policy.PublishDecision
}

func (q *requirements) flags(f *pflag.FlagSet) {
	f.StringVar(&q.policy, "policy", builtinPolicy, "`DIR` of the policy bundle that says what a release needs, or "+builtinPolicy)
	f.StringVar(&q.root, "trusted-root", "", "`FILE` that says which sigstore is believed (trusted_root.json); nothing is fetched")
	f.StringArrayVar(&q.keys, "trusted-key", nil, "`FILE` of a public key (PEM) that is believed where a bundle is signed with a plain key; may be repeated")
	f.StringVar(&q.osv, "osv", "", "`PATH` of known vulnerabilities (OSV records: a file, archive or directory)")
}

// review has the repository ask policy of whatever is published. The policy bundle
// is read now: it decides when nobody looks at its directory any more.
func (q *requirements) review(ctx context.Context, a *app, repo *tuf.Repository) error {
	var engine *policy.Engine
	var bundle []string
	if q.policy != builtinPolicy {
		bundle = []string{q.policy}
	}
	err := withBundle(bundle, func(fsys fs.FS) (err error) {
		engine, err = policy.New(ctx, fsys, policy.Options{})
		return explainPolicy(err)
	})
	if err != nil {
		return err
	}
	trust, err := publication.ReadTrust(q.root, q.keys)
	if err != nil {
		return failf(exitUsage, "trust_invalid", "%s", err)
	}
	judge := publication.Judge{Policy: engine, Trust: trust, Where: policy.AtPublish, Publisher: whoami()}
	if q.osv != "" {
		judge.Scan = func(document []byte) (osv.Scan, error) {
			return osv.ScanSBOM(document, os.DirFS(filepath.Dir(q.osv)), filepath.Base(q.osv))
		}
	}
	repo.ReviewWith(func(p tuf.Proposal) error {
		d, err := judge.Decide(ctx, publication.Release{Target: p.Target, Open: p.Open}, a.Now())
		if err != nil {
			return failf(exitUndecided, policy.CodePolicy, "%s is not published: %s", p.Target.Name, err)
		}
		q.decided = append(q.decided, publishDecision{p.Target.Name, d})
		if d.Allow {
			return nil
		}
		refused := failf(exitNo, d.Code, "%s is not published: %s", p.Target.Name, d.Reason)
		for _, r := range d.Requirements {
			refused.details = append(refused.details, words(r))
		}
		return refused
	})
	return nil
}

// words says in a line whether a requirement is met.
func words(r policy.Requirement) string {
	if r.Met {
		return "met      " + r.ID + ": " + r.Reason
	}
	return "NOT MET  " + r.ID + ": " + r.Reason
}

// draw says what was asked of what is published.
func (q *requirements) draw(p *page) {
	for _, d := range q.decided {
		for _, r := range d.Requirements {
			p.line("%s", words(r))
		}
	}
}

// whoami is a name for the policy and nobody to trust.
func whoami() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return ""
}
