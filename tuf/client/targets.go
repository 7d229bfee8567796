package client

import (
	"cmp"
	"context"
	"errors"
	"path"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"troth/tuf"
)

// Target is an entry of verified targets metadata.
type Target = tuf.Target

// Targets lists the top-level targets by name. The error has CodeNotReady
// before the first successful Refresh, and CodeExpired once any of the
// metadata has expired: Refresh again.
func (c *Client) Targets() ([]Target, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.fresh(); err != nil {
		return nil, err
	}
	var list []Target
	for name, f := range c.trusted.Targets[metadata.TARGETS].Signed.Targets {
		list = append(list, tuf.NewTarget(name, f))
	}
	slices.SortFunc(list, func(a, b Target) int { return cmp.Compare(a.Name, b.Name) })
	return list, nil
}

// Find gives the top-level target of that name. Errors as for Targets, or with
// CodeNotFound.
func (c *Client) Find(name string) (Target, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.fresh(); err != nil {
		return Target{}, err
	}
	f := c.trusted.Targets[metadata.TARGETS].Signed.Targets[name]
	if f == nil {
		return Target{}, fail(CodeNotFound, name, errors.New("no such target"))
	}
	return tuf.NewTarget(name, f), nil
}

// Lookup gives the target of that name from the most trusted role that has it,
// fetching delegated roles as it visits them in pre-order, depth first (TUF
// 1.0.31, section 5.6.7). The error has CodeDelegation for a release that its role
// may not sign: a supplier's keys sign for that supplier's models.
func (c *Client) Lookup(ctx context.Context, name string) (Target, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.fresh(); err != nil {
		return Target{}, err
	}
	type edge struct {
		role, delegator string
		scope           tuf.Scope
	}
	stack := []edge{{role: metadata.TARGETS, delegator: metadata.ROOT}}
	visited := map[string]bool{}
	for len(stack) > 0 && len(visited) <= c.cfg.Limits.Delegations {
		e := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if visited[e.role] {
			continue
		}
		visited[e.role] = true
		if e.role != metadata.TARGETS {
			if err := checkDelegatedName(e.role); err != nil {
				return Target{}, err
			}
		}
		role, err := c.loadRole(ctx, e.role, e.delegator)
		if err != nil {
			return Target{}, err
		}
		if role.Signed.IsExpired(c.reference()) {
			return Target{}, failf(CodeExpired, e.role, "expired on %s", role.Signed.Expires)
		}
		if f := role.Signed.Targets[name]; f != nil {
			t := tuf.NewTarget(name, f)
			if model := t.Model(); model != "" && !e.scope.Allows(model) {
				return Target{}, refusal(e.role, t)
			}
			return t, nil
		}
		if role.Signed.Delegations == nil {
			continue
		}
		children := role.Signed.Delegations.GetRolesForTarget(name)
		if i := slices.IndexFunc(children, func(r metadata.RoleResult) bool { return r.Terminating }); i >= 0 {
			children, stack = children[:i+1], nil
		}
		for _, child := range slices.Backward(children) {
			scope, _ := tuf.DelegatedScope(e.scope, role.Signed.Delegations, child.Name)
			stack = append(stack, edge{child.Name, e.role, scope})
		}
	}
	return Target{}, fail(CodeNotFound, name, errors.New("no such target"))
}

// fresh refuses metadata that has expired since it was refreshed.
func (c *Client) fresh() error {
	if c.trusted == nil {
		return fail(CodeNotReady, "repository", errors.New("not refreshed yet"))
	}
	now, t := c.reference(), c.trusted
	for _, role := range []struct {
		name    string
		expired bool
	}{
		{metadata.ROOT, t.Root.Signed.IsExpired(now)},
		{metadata.TIMESTAMP, t.Timestamp.Signed.IsExpired(now)},
		{metadata.SNAPSHOT, t.Snapshot.Signed.IsExpired(now)},
		{metadata.TARGETS, t.Targets[metadata.TARGETS].Signed.IsExpired(now)},
	} {
		if role.expired {
			return fail(CodeExpired, role.name, errors.New("expired since the last refresh"))
		}
	}
	return nil
}

// locate says where a target's content is, or refuses a name that a file
// system or a server could take for a path to elsewhere. Foreign repositories
// may use more letters than tuf.ValidName allows.
func locate(t Target, consistent bool) (location, error) {
	bad := !utf8.ValidString(t.Name) || len(t.Name) > 1024 || strings.ContainsRune(t.Name, '\\') ||
		strings.ContainsFunc(t.Name, unicode.IsControl) || path.Clean("/"+t.Name) != "/"+t.Name || t.Name == ""
	if bad {
		return location{}, failf(CodeName, t.Name, "target name is not a plain relative path")
	}
	raw := t.Path(consistent)
	var escaped []string
	for segment := range strings.SplitSeq(raw, "/") {
		escaped = append(escaped, escapeSegment(segment))
	}
	return location{raw: raw, escaped: strings.Join(escaped, "/")}, nil
}
