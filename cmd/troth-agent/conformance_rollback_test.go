package main

import (
	"fmt"
	"testing"
)

func TestConformanceRollback(t *testing.T) {
	t.Parallel()
	cases := map[string]func(*conforming){
		"new_timestamp_version_rollback": func(c *conforming) {
			c.begin()
			c.publish(timestampRole)
			c.refresh(0)
			c.forget(timestampRole)
			c.timestamp.Signed.Version = 1
			c.publish(timestampRole)
			c.refresh(1)
			c.wantLastAsked("timestamp")
			c.trusts("root 1", "snapshot 1", "targets 1", "timestamp 2")
		},
		// The timestamp still names the snapshot that the client has.
		"simple_snapshot_rollback": func(c *conforming) {
			c.begin()
			c.publish(snapshotRole, timestampRole)
			c.refresh(0)
			c.forget(snapshotRole)
			c.refresh(0)
			c.wantLastAsked("timestamp")
			c.trusts("root 1", "snapshot 2", "targets 1", "timestamp 2")
		},
		"new_snapshot_version_mismatch": func(c *conforming) {
			c.begin()
			c.snapshot.Signed.Version = 5
			c.instead(snapshotRole, sealed(c.simulated, snapshotRole, c.snapshot)) // 1.snapshot says 5
			c.refresh(1)
			c.wantLastAsked("1.snapshot")
			c.trusts("root 1", "timestamp 1")
		},
		"targets_role_removal": func(c *conforming) {
			c.begin()
			c.delegate(targetsRole, "delegated", false, "delegatedpath/*")
			c.everything("delegated")
			c.refresh(0)
			delete(c.snapshot.Signed.Meta, "delegated.json")
			c.publish(snapshotRole, timestampRole)
			c.refresh(1)
			if got := c.version(snapshotRole); got != 2 {
				c.t.Errorf("snapshot %d is trusted", got)
			}
		},
		// Fast-forward recovery: a role's versions start anew under new keys of those
		// who vouch for them.
		"targets_fast_forward_recovery": func(c *conforming) {
			c.begin()
			c.delegate(targetsRole, "delegated", false, "delegatedpath/*")
			c.publish("delegated")
			for range 99 {
				c.publish(targetsRole)
			}
			c.publish(snapshotRole, timestampRole)
			c.refresh(0)
			c.trusts("root 1", "snapshot 2", "targets 100", "timestamp 2")
			c.rotate(snapshotRole)
			c.forget(targetsRole)
			c.targets[targetsRole].Signed.Version = 1
			delete(c.snapshot.Signed.Meta, "delegated.json")
			c.everything(rootRole)
			c.refresh(0)
			c.trusts("root 2", "snapshot 3", "targets 1", "timestamp 3")
		},
		"new_snapshot_fast_forward_recovery": func(c *conforming) {
			c.begin()
			for range 99 {
				c.publish(snapshotRole)
			}
			c.publish(timestampRole)
			c.refresh(0)
			c.trusts("root 1", "snapshot 100", "targets 1", "timestamp 2")
			c.rotate(snapshotRole)
			c.rotate(timestampRole)
			c.forget(snapshotRole)
			c.snapshot.Signed.Version = 1
			c.everything(rootRole)
			c.refresh(0)
			c.trusts("root 2", "snapshot 1", "targets 2", "timestamp 3")
		},
		"new_timestamp_fast_forward_recovery": func(c *conforming) {
			c.begin()
			for range 99 {
				c.publish(timestampRole)
			}
			c.refresh(0)
			c.trusts("root 1", "snapshot 1", "targets 1", "timestamp 100")
			c.rotate(timestampRole)
			c.forget(timestampRole)
			c.timestamp.Signed.Version = 1
			c.publish(rootRole, timestampRole)
			c.refresh(0)
			c.trusts("root 2", "snapshot 1", "targets 1", "timestamp 1")
		},
	}
	for name, hashes := range map[string]bool{"basic": false, "with hashes": true} {
		cases["snapshot_rollback "+name] = func(c *conforming) {
			c.begin()
			c.hashes = hashes
			c.publish(snapshotRole, timestampRole)
			c.refresh(0)
			c.forget(snapshotRole)
			c.snapshot.Signed.Version = 1
			c.publish(snapshotRole, timestampRole)
			c.refresh(1)
			c.wantLastAsked("timestamp")
			c.trusts("root 1", "snapshot 2", "targets 1", "timestamp 2")
		}
		cases["targets_rollback "+name] = func(c *conforming) {
			c.begin()
			c.hashes = hashes
			c.everything()
			c.refresh(0)
			c.forget(targetsRole)
			c.targets[targetsRole].Signed.Version = 1
			c.everything()
			c.refresh(1)
			if s, targets := c.version(snapshotRole), c.version(targetsRole); s != 2 || targets != 2 {
				c.t.Errorf("snapshot %d and targets %d are trusted", s, targets)
			}
		}
	}
	conform(t, cases)
}

// graph is a tree of delegations; each edge is for every name unless it says which.
type graph struct {
	edges []edge
	want  []string // roles asked for, in order
}

type edge struct {
	from, to    string
	terminating bool
	path        string
}

func TestConformanceDelegations(t *testing.T) {
	t.Parallel()
	const python = "*.py"
	cases := map[string]func(*conforming){}
	for name, g := range map[string]graph{
		"basic-delegation":                                  {[]edge{{from: "targets", to: "A"}}, []string{"A"}},
		"single-level-delegations":                          {[]edge{{from: "targets", to: "A"}, {from: "targets", to: "B"}}, []string{"A", "B"}},
		"two-level-delegations":                             {[]edge{{from: "targets", to: "A"}, {from: "targets", to: "B"}, {from: "B", to: "C"}}, []string{"A", "B", "C"}},
		"two-level-DFS-order":                               {[]edge{{from: "targets", to: "A"}, {from: "targets", to: "B"}, {from: "A", to: "C"}, {from: "A", to: "D"}}, []string{"A", "C", "D", "B"}},
		"three-level-DFS-order":                             {[]edge{{from: "targets", to: "A"}, {from: "targets", to: "B"}, {from: "A", to: "C"}, {from: "C", to: "D"}}, []string{"A", "C", "D", "B"}},
		"two-level-terminating":                             {[]edge{{from: "targets", to: "A"}, {from: "targets", to: "B"}, {from: "A", to: "C", terminating: true}, {from: "A", to: "D"}}, []string{"A", "C"}},
		"three-level-terminating":                           {[]edge{{from: "targets", to: "A"}, {from: "targets", to: "B"}, {from: "A", to: "C", terminating: true}, {from: "C", to: "D"}}, []string{"A", "C", "D"}},
		"two-level-ignores-branches-not-matching":           {[]edge{{from: "targets", to: "A", path: python}, {from: "targets", to: "B"}, {from: "A", to: "C"}}, []string{"B"}},
		"three-level-ignores-branches-not-matching":         {[]edge{{from: "targets", to: "A"}, {from: "targets", to: "B"}, {from: "A", to: "C", path: python}, {from: "C", to: "D"}}, []string{"A", "B"}},
		"cyclic-graph":                                      {[]edge{{from: "targets", to: "A"}, {from: "targets", to: "B"}, {from: "B", to: "C"}, {from: "C", to: "D"}, {from: "D", to: "B"}}, []string{"A", "B", "C", "D"}},
		"two-roles-delegating-to-a-third":                   {[]edge{{from: "targets", to: "A"}, {from: "targets", to: "B"}, {from: "B", to: "C"}, {from: "A", to: "C"}}, []string{"A", "C", "B"}},
		"two-roles-delegating-to-a-third-different-paths":   {[]edge{{from: "targets", to: "A"}, {from: "targets", to: "B"}, {from: "B", to: "C"}, {from: "A", to: "C", path: python}}, []string{"A", "B", "C"}},
		"diamond, the lower role terminating from one side": {[]edge{{from: "targets", to: "A"}, {from: "A", to: "B"}, {from: "A", to: "C", terminating: true}, {from: "B", to: "D"}}, []string{"A", "B", "D", "C"}},
	} {
		cases["graph_traversal "+name] = func(c *conforming) {
			c.begin()
			c.plant(g.edges)
			c.download("missingpath", 1)
			c.wantRolesAsked(g.want)
		}
	}
	tree := []edge{
		{from: "targets", to: "A", path: "*.md"}, {from: "targets", to: "B", path: "releases/*/*"},
		{from: "B", to: "C", path: "releases/x/*"}, {from: "B", to: "D", path: "releases/y/*.zip"},
	}
	for name, search := range map[string]struct {
		path  string
		want  []string
		found int // exit status
	}{
		"no delegations":                        {"targetfile", nil, 0},
		"targetpath matches wildcard":           {"README.md", []string{"A"}, 0},
		"targetpath with separators x":          {"releases/x/x_v1", []string{"B", "C"}, 0},
		"targetpath with separators y":          {"releases/y/y_v1.zip", []string{"B", "D"}, 0},
		"not delegated by all roles in a chain": {"releases/z/z_v1.zip", []string{"B"}, 1},
	} {
		cases["targetfile_search "+name] = func(c *conforming) {
			c.begin()
			for role, file := range map[string]string{"targets": "targetfile", "A": "README.md", "C": "releases/x/x_v1"} {
				c.role(role)
				c.add(role, file, file)
			}
			c.role("D")
			c.add("D", "releases/y/y_v1.zip", "releases/y/y_v1.zip")
			c.add("D", "releases/z/z_v1.zip", "releases/z/z_v1.zip")
			c.plant(tree)
			c.download(search.path, search.found)
			c.wantRolesAsked(search.want)
			if search.found == 0 {
				c.has(search.path)
			} else {
				c.has()
			}
		}
	}
	cases["cached_role_is_verified_against_current_delegator"] = func(c *conforming) {
		c.begin()
		c.role("C")
		c.add("C", "a/file", "by A's word")
		c.add("C", "b/file", "not by B's")
		c.delegate(targetsRole, "A", true, "a/*")
		c.delegate(targetsRole, "B", true, "b/*")
		c.delegate("A", "C", true, "a/*")
		byA := c.signers["C"]
		c.delegate("B", "C", true, "b/*")
		c.signers["C"] = byA // B names another key than the one that signs
		c.everything("C", "A", "B")
		c.download("a/file", 0)
		c.download("b/file", 1)
		c.has("by A's word")
	}
	cases["succinct hash bins: one of them is asked"] = func(c *conforming) {
		c.begin()
		bin := c.hashBins(4, "some/file", "content")
		c.download("some/file", 0)
		c.has("content")
		c.wantRolesAsked([]string{bin})
		c.download("other/file", 1)
	}
	conform(t, cases)
}

// role makes a delegated role, if there is none of that name.
func (s *simulated) role(name string) {
	if s.targets[name] == nil {
		s.targets[name] = newTargets(s.snapshot.Signed.Expires)
	}
}

// plant publishes a graph of delegations.
func (s *simulated) plant(edges []edge) {
	s.t.Helper()
	var roles []string
	for _, e := range edges {
		path := e.path
		if path == "" {
			path = "*"
		}
		known := len(s.signers[e.to])
		s.delegate(e.from, e.to, e.terminating, path)
		if known == 0 {
			roles = append(roles, e.to)
		}
	}
	s.everything(roles...)
}

// wantRolesAsked requires that these delegated roles were asked for, after the four
// of the top level.
func (s *simulated) wantRolesAsked(roles []string) {
	s.t.Helper()
	want := []string{"2.root", "timestamp", "2.snapshot", "2.targets"}
	for _, role := range roles {
		want = append(want, fmt.Sprint("1.", role))
	}
	s.wantAsked(want...)
}
