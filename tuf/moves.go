package tuf

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// moves are the targets that a stage takes from one role and gives to a new hash
// bin, as they are. Told role by role they would be thousands of withdrawals and
// publications, and nobody could see that nothing else changes.
type moves struct {
	from map[string]string      // by target name, the role that had it
	to   map[string]changedRole // by name, the bins that do nothing but take some
	bins *metadata.SuccinctRoles
}

func (s *Stage) moves() *moves {
	m := &moves{from: map[string]string{}, to: map[string]changedRole{}}
	releases := s.latest(releasesRole)
	if releases == nil || releases.Signed.Delegations == nil || releases.Signed.Delegations.SuccinctRoles == nil {
		return m
	}
	m.bins = releases.Signed.Delegations.SuccinctRoles
	for _, old := range s.roles {
		was := s.context[old.name]
		if was == nil {
			continue
		}
		for name, file := range was.Signed.Targets {
			if old.md.Signed.Targets[name] == nil && s.takes(m.bin(name), name, file) {
				m.from[name] = old.name
			}
		}
	}
	return m
}

// bin is where a device looks for the target.
func (m *moves) bin(target string) string { return m.bins.GetRolesForTarget(target)[0].Name }

// takes says whether the bin is new, and signs the same of the target.
func (s *Stage) takes(bin, target string, file *metadata.TargetFiles) bool {
	md := s.latest(bin)
	return md != nil && s.context[bin] == nil && md.Signed.Targets[target] != nil && equal(md.Signed.Targets[target], file)
}

func isBin(role string) bool { return strings.HasPrefix(role, binPrefix+"-") }

// onlyTakes remembers a new bin that does nothing else.
func (m *moves) onlyTakes(role changedRole) bool {
	if len(m.from) == 0 || !isBin(role.name) || role.md.Signed.Delegations != nil {
		return false
	}
	for name := range role.md.Signed.Targets {
		if m.from[name] == "" || m.bin(name) != role.name {
			return false
		}
	}
	m.to[role.name] = role
	return true
}

// changes are those of the role's targets: what it hands over in one line.
func (m *moves) changes(role changedRole, old map[string]*metadata.TargetFiles) []string {
	rest, handed := map[string]*metadata.TargetFiles{}, []string{}
	for name, file := range old {
		if m.from[name] == role.name {
			handed = append(handed, plainly(name))
		} else {
			rest[name] = file
		}
	}
	lines := targetChanges(rest, role.md.Signed.Targets)
	if len(handed) > 0 {
		slices.Sort(handed)
		lines = append(lines, fmt.Sprintf("hands %d targets to the hash bins, as they are: %s", len(handed), strings.Join(handed, ", ")))
	}
	return lines
}

// taken tells of the bins that only take.
func (m *moves) taken() []string {
	if len(m.to) == 0 {
		return nil
	}
	count, first := 0, time.Time{}
	for _, bin := range m.to {
		count += len(bin.md.Signed.Targets)
		if expires := bin.md.Signed.Expires; first.IsZero() || expires.Before(first) {
			first = expires
		}
	}
	names := slices.Sorted(maps.Keys(m.to))
	return []string{
		fmt.Sprintf("%d hash bins, %s to %s, first version, valid until %s or longer:", len(names), plainly(names[0]), plainly(names[len(names)-1]), first.UTC().Format(time.DateTime)),
		fmt.Sprintf("  - take %d targets over, as they are; nothing else is in them", count),
	}
}
