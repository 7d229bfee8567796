package client

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"troth/tuf"
)

// maxCatalogRoles bounds the roles that a catalogue is read from: all hash bins
// that a repository of ours can have, and some.
const maxCatalogRoles = 1<<tuf.MaxBinBits + 256

// Catalog is everything that a repository signs.
type Catalog struct {
	// Revision changes whenever Targets may have.
	Revision string
	// Targets are those of every role, by name; each as Lookup finds it.
	Targets []Target
	// Roles says until when each role may be believed: targets, delegated roles,
	// and of hash bins the one that expires first.
	Roles []RoleExpiry
	// Problems are of single roles, whose targets are then those that were read
	// last, and of releases that are not listed because their role may not sign for
	// their model.
	Problems []error
}

// RoleExpiry is when a role's signature ends.
type RoleExpiry struct {
	Role    string
	Expires time.Time
}

// listed is what is remembered of a role between two catalogues.
type listed struct {
	by      string // who delegated what to it, and at which version
	version int64
	expires time.Time
	targets []Target
	refused []error
	md      *metadata.Metadata[metadata.TargetsType] // only of roles that delegate further
}

// Catalog lists all targets, of delegated roles too. A role whose version has not
// changed is neither fetched nor read again, so that a catalogue of a thousand hash
// bins costs what has changed. Errors as for Targets.
func (c *Client) Catalog(ctx context.Context) (Catalog, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.fresh(); err != nil {
		return Catalog{}, err
	}
	w := &walk{client: c, next: map[string]*listed{}}
	all := func(string) bool { return true }
	by := fmt.Sprintf("root %d", c.trusted.Root.Signed.Version)
	if err := w.visit(ctx, branch{role: metadata.TARGETS, delegator: metadata.ROOT, by: by, match: all}); err != nil {
		return Catalog{}, err
	}
	c.listed = w.next
	revision := strings.Join(w.revision, "\n")
	if revision == c.catalog.Revision {
		w.out.Targets = c.catalog.Targets
	} else {
		w.out.Targets = w.merge()
	}
	w.out.Revision = revision
	w.out.Roles = w.expiries()
	c.catalog = w.out
	return w.out, nil
}

// walk visits the roles in the order in which Lookup asks them.
type walk struct {
	client   *Client
	next     map[string]*listed
	order    []string
	revision []string
	out      Catalog
}

// branch is a role on the way down from targets.
type branch struct {
	role, delegator, by string
	scope               tuf.Scope
	match               func(name string) bool
}

func (w *walk) visit(ctx context.Context, b branch) error {
	if w.next[b.role] != nil || len(w.order) >= maxCatalogRoles {
		return nil
	}
	role, err := w.load(ctx, b)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		w.out.Problems = append(w.out.Problems, err)
	}
	if role == nil {
		return nil
	}
	w.next[b.role] = role
	w.order = append(w.order, b.role)
	w.revision = append(w.revision, fmt.Sprintf("%s %d %s", b.role, role.version, b.by))
	w.out.Problems = append(w.out.Problems, role.refused...)
	if role.md == nil {
		return nil
	}
	if w.client.trusted.Targets[b.role] == nil {
		w.client.trusted.Targets[b.role] = role.md // verified before, and not changed since
	}
	return w.descend(ctx, b, role)
}

func (w *walk) descend(ctx context.Context, b branch, role *listed) error {
	d := role.md.Signed.Delegations
	var names []string
	if d.SuccinctRoles != nil {
		if d.SuccinctRoles.BitLength > tuf.MaxBinBits {
			w.out.Problems = append(w.out.Problems, failf(CodeTooLarge, b.role, "2^%d hash bins", d.SuccinctRoles.BitLength))
			return nil
		}
		names = d.SuccinctRoles.GetRoles()
	}
	for i := range d.Roles {
		names = append(names, d.Roles[i].Name)
	}
	by := fmt.Sprintf("%s %d", b.role, role.version)
	for _, name := range names {
		if err := checkDelegatedName(name); err != nil {
			w.out.Problems = append(w.out.Problems, err)
			continue
		}
		scope, _ := tuf.DelegatedScope(b.scope, d, name)
		match := func(target string) bool { return b.match(target) && responsible(d, name, target) }
		if err := w.visit(ctx, branch{name, b.role, by + " " + b.by, scope, match}); err != nil {
			return err
		}
	}
	return nil
}

// responsible says whether a client that looks for the target asks the role.
func responsible(d *metadata.Delegations, role, target string) bool {
	for _, r := range d.GetRolesForTarget(target) {
		if r.Name == role {
			return true
		}
		if r.Terminating {
			return false
		}
	}
	return false
}

// load gives a role as it is remembered, or reads it. One that cannot be read is
// as it was, if it was; one that has published nothing yet is nil.
func (w *walk) load(ctx context.Context, b branch) (*listed, error) {
	c := w.client
	meta := c.trusted.Snapshot.Signed.Meta[b.role+".json"]
	if meta == nil {
		return nil, nil
	}
	known := c.listed[b.role]
	if known != nil && known.by != b.by {
		known = nil // what it may sign has changed
	}
	expired := func(l *listed) error {
		if c.reference().After(l.expires) {
			return failf(CodeExpired, b.role, "expired on %s", l.expires)
		}
		return nil
	}
	if known != nil && known.version == meta.Version {
		return known, expired(known)
	}
	md, err := c.loadRole(ctx, b.role, b.delegator)
	if err != nil {
		return known, err
	}
	role := &listed{by: b.by, version: md.Signed.Version, expires: md.Signed.Expires}
	approval, err := tuf.ApprovalOf(c.trusted.Root, c.trusted.Targets[b.delegator], b.role, md)
	if err != nil {
		return known, err
	}
	for name, f := range md.Signed.Targets {
		if !b.match(name) {
			continue
		}
		t := tuf.NewTarget(name, f)
		t.Approval = &approval
		if model := t.Model(); model != "" && !b.scope.Allows(model) {
			role.refused = append(role.refused, refusal(b.role, t))
			continue
		}
		role.targets = append(role.targets, t)
	}
	if md.Signed.Delegations != nil {
		role.md = md
	} else if b.role != metadata.TARGETS {
		delete(c.trusted.Targets, b.role) // kept once, as targets
	}
	return role, expired(role)
}

// refusal: paths and models must agree.
func refusal(role string, t Target) error {
	return failf(CodeDelegation, t.Name, "role %s may not sign releases of model %s", role, t.Model())
}

// merge lists each target once, as the role that is asked first signed it.
func (w *walk) merge() []Target {
	seen := map[string]bool{}
	var list []Target
	for _, role := range w.order {
		for _, t := range w.next[role].targets {
			if !seen[t.Name] {
				seen[t.Name] = true
				list = append(list, t)
			}
		}
	}
	slices.SortFunc(list, func(a, b Target) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

// expiries lists the roles; of all hash bins only the one that expires first.
func (w *walk) expiries() []RoleExpiry {
	var list []RoleExpiry
	var binned []*metadata.SuccinctRoles
	bins := -1
	for _, role := range w.order {
		l := w.next[role]
		if l.md != nil && l.md.Signed.Delegations.SuccinctRoles != nil {
			binned = append(binned, l.md.Signed.Delegations.SuccinctRoles)
		}
		e := RoleExpiry{role, l.expires}
		isBin := slices.ContainsFunc(binned, func(s *metadata.SuccinctRoles) bool { return s.IsDelegatedRole(role) })
		switch {
		case !isBin:
			list = append(list, e)
		case bins < 0:
			bins = len(list)
			list = append(list, e)
		case e.Expires.Before(list[bins].Expires):
			list[bins] = e
		}
	}
	return list
}
