package tuf

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// Describe says in plain words what signing the stage would do, one line each. It
// is computed from the metadata itself and what that replaces, both verified, so
// that a signer need not believe whoever made the file.
func (s *Stage) Describe() []string {
	data, _ := s.root().ToBytes(false) // it was parsed from bytes
	lines := []string{fmt.Sprintf("In the repository whose root is version %d (SHA-256 %.16x…):", s.root().Signed.Version, sha256.Sum256(data))}
	if s.next != nil {
		lines = append(lines, heading(metadata.ROOT, s.root().Signed.Version, s.next.Signed.Version, s.next.Signed.Expires))
		lines = append(lines, orRenews(rootChanges(s.root(), s.next))...)
	}
	moves := s.moves()
	for _, role := range s.roles {
		old := s.context[role.name]
		if old == nil && moves.onlyTakes(role) {
			continue // said of all of them at once, at the end
		}
		version := int64(0)
		if old == nil {
			old = metadata.Targets()
		} else {
			version = old.Signed.Version
		}
		changes := append(delegationChanges(old.Signed.Delegations, role.md.Signed.Delegations), moves.changes(role, old.Signed.Targets)...)
		lines = append(lines, heading(role.name, version, role.md.Signed.Version, role.md.Signed.Expires))
		lines = append(lines, orRenews(changes)...)
	}
	return append(lines, moves.taken()...)
}

func heading(role string, from, to int64, expires time.Time) string {
	if from == 0 {
		return fmt.Sprintf("%s, first version %d, valid until %s:", plainly(role), to, expires.UTC().Format(time.DateTime))
	}
	return fmt.Sprintf("%s, version %d to %d, valid until %s:", plainly(role), from, to, expires.UTC().Format(time.DateTime))
}

func orRenews(changes []string) []string {
	if len(changes) == 0 {
		changes = []string{"renews the signature; nothing else changes"}
	}
	for i := range changes {
		changes[i] = "  - " + changes[i]
	}
	return changes
}

func rootChanges(old, next *metadata.Metadata[metadata.RootType]) []string {
	var lines []string
	for _, role := range metadata.TOP_LEVEL_ROLE_NAMES {
		a, b := rootAuthority(old, role), rootAuthority(next, role)
		lines = append(lines, keyChanges(role, a, b)...)
		if a.life != b.life {
			lines = append(lines, fmt.Sprintf("signatures of %s live %s (they lived %s)", role, b.life, a.life))
		}
	}
	if old.Signed.ConsistentSnapshot != next.Signed.ConsistentSnapshot {
		lines = append(lines, fmt.Sprintf("consistent snapshots: %t", next.Signed.ConsistentSnapshot))
	}
	return lines
}

func keyChanges(role string, old, next authority) []string {
	var lines []string
	for _, id := range next.ids {
		if !slices.Contains(old.ids, id) {
			lines = append(lines, fmt.Sprintf("adds key %s (%s) to %s", short(id), keyKind(next.keys[id]), plainly(role)))
		} else if old.keys[id] != nil && next.keys[id] != nil && !equal(old.keys[id], next.keys[id]) {
			lines = append(lines, fmt.Sprintf("REPLACES the key that is called %s in %s", short(id), plainly(role)))
		}
	}
	for _, id := range old.ids {
		if !slices.Contains(next.ids, id) {
			lines = append(lines, fmt.Sprintf("takes key %s from %s: it counts no more", short(id), plainly(role)))
		}
	}
	if old.threshold != next.threshold || len(old.ids) != len(next.ids) {
		lines = append(lines, fmt.Sprintf("%s then needs %d of %d keys (until now %d of %d)", plainly(role), next.threshold, len(next.ids), old.threshold, len(old.ids)))
	}
	return lines
}

func keyKind(k *metadata.Key) string {
	if k == nil {
		return "MISSING"
	}
	return plainly(k.Type)
}

func delegationChanges(old, next *metadata.Delegations) []string {
	before, after := delegatedRoles(old), delegatedRoles(next)
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(after)) {
		a := after[name]
		b, had := before[name]
		if !had || b.scope != a.scope {
			lines = append(lines, fmt.Sprintf("lets %s sign %s", plainly(name), a.scope))
		}
		lines = append(lines, keyChanges(name, b.authority, a.authority)...)
	}
	for _, name := range slices.Sorted(maps.Keys(before)) {
		if _, still := after[name]; !still {
			lines = append(lines, fmt.Sprintf("takes everything from %s: what it signed counts no more", plainly(name)))
		}
	}
	if len(lines) == 0 && !equal(old, next) && (old != nil || next != nil) {
		lines = append(lines, "CHANGES DELEGATIONS in a way that this version cannot describe")
	}
	return lines
}

type describedRole struct {
	authority
	scope string
}

func delegatedRoles(d *metadata.Delegations) map[string]describedRole {
	roles := map[string]describedRole{}
	if d == nil {
		return roles
	}
	for _, r := range d.Roles {
		models := "releases of no model"
		if allowed := (Scope{}).Within(r.UnrecognizedFields); len(allowed.models) > 0 {
			models = "releases of model " + plainly(strings.Join(allowed.models, ", "))
		}
		roles[r.Name] = describedRole{
			authority{keys: d.Keys, ids: r.KeyIDs, threshold: r.Threshold},
			fmt.Sprintf("%s, in targets called %s%s", models, plainly(strings.Join(append(slices.Clone(r.Paths), r.PathHashPrefixes...), ", ")), ending(r.Terminating)),
		}
	}
	if s := d.SuccinctRoles; s != nil {
		roles[s.NamePrefix+"-*"] = describedRole{
			authority{keys: d.Keys, ids: s.KeyIDs, threshold: s.Threshold}, fmt.Sprintf("the targets in 2^%d hash bins", s.BitLength),
		}
	}
	return roles
}

func ending(terminating bool) string {
	if terminating {
		return ""
	}
	return "; others are asked after it"
}

func targetChanges(old, next map[string]*metadata.TargetFiles) []string {
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(next)) {
		switch before := old[name]; {
		case before == nil:
			lines = append(lines, "publishes "+described(NewTarget(name, next[name])))
		case !equal(before, next[name]):
			lines = append(lines, "CHANGES what is signed of "+described(NewTarget(name, next[name])))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(old)) {
		if next[name] == nil {
			lines = append(lines, "withdraws "+plainly(name))
		}
	}
	return lines
}

func described(t Target) string {
	text := fmt.Sprintf("%s, %d bytes, SHA-256 %s", plainly(t.Name), t.Length, cmp.Or(t.Hashes["sha256"], "none"))
	if t.Release == nil {
		if t.Custom != nil {
			return text + ", with data that is no release"
		}
		return text + ", a file that is no release"
	}
	rel := t.Release
	text += fmt.Sprintf(": release %s of model %s, counter %d", plainly(rel.Version), plainly(rel.Model), rel.Counter)
	if rel.Security {
		text += ", a security fix"
	}
	indexes := slices.SortedFunc(maps.Keys(rel.Reference.PCRs), func(a, b string) int {
		x, _ := strconv.Atoi(a) // Validate saw to it
		y, _ := strconv.Atoi(b)
		return cmp.Compare(x, y)
	})
	return text + ", proven by PCR " + strings.Join(indexes, ", ") + conditions(*rel)
}

// conditions says what else a release's metadata demands and names.
func conditions(rel Release) string {
	var text strings.Builder
	if rel.Minimum > 0 {
		fmt.Fprintf(&text, ", for devices that run counter %d or later", rel.Minimum)
	}
	if rel.DowngradeFrom > 0 {
		fmt.Fprintf(&text, ", which MAY TAKE DEVICES BACK from counters up to %d", rel.DowngradeFrom)
	}
	var with []string
	if rel.SBOM != nil {
		with = append(with, "a bill of materials")
	}
	if rel.Provenance != nil {
		with = append(with, "provenance")
	}
	if rel.Signature != nil {
		with = append(with, "a signature of the image")
	}
	if len(with) > 0 {
		fmt.Fprintf(&text, ", with %s", strings.Join(with, " and "))
	}
	return text.String()
}

// plainly keeps a name from being more than a name on a terminal.
func plainly(s string) string {
	if s == "" || strings.ContainsFunc(s, func(c rune) bool { return !unicode.IsPrint(c) }) {
		return strconv.Quote(s)
	}
	return s
}
