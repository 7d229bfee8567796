package tuf

import (
	"crypto"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// Extra signed fields of a delegation.
const (
	// modelsField lists the hardware models whose releases a delegated role may
	// sign; "*" stands for all. A role without it may sign files, and no release.
	modelsField = "x-troth-models"
	anyModel    = "*"
)

// releasesRole holds the hash bins of a large repository.
const (
	releasesRole = "releases"
	binPrefix    = "bin" // bins are bin-000 … bin-3ff
	maxBinDepth  = 8     // segments of a target name in a repository with bins
)

const maxDelegated = 64 // delegated roles, beside the bins

// Delegation lets others sign the releases of some hardware models: a supplier
// for what it makes. Both must agree, a release's name with Paths and its signed
// model with Models; devices and the service check it as well as Publish.
type Delegation struct {
	Name      string   // of the role: 1 to 64 of a-z, 0-9 and inner hyphens
	Models    []string // whose releases it may sign; a model belongs to one role
	Paths     []string // patterns of target names: * and ? stay within a segment
	Keys      []crypto.PublicKey
	Threshold int           // how many of them must sign; at least 1
	Lifetime  time.Duration // of a signature; zero: as the targets role's
}

func (d Delegation) validate() error {
	if !validRole(d.Name) {
		return fmt.Errorf("%w: a delegated role is called 1 to 64 of a-z, 0-9 and inner hyphens, and not like one of ours: %.70q", ErrInvalid, d.Name)
	}
	if len(d.Models) == 0 || len(d.Paths) == 0 || len(d.Keys) == 0 {
		return fmt.Errorf("%w: a delegation needs models, paths and keys", ErrInvalid)
	}
	if d.Threshold < 1 || d.Threshold > len(d.Keys) {
		return fmt.Errorf("%w: %d keys cannot meet a threshold of %d", ErrInvalid, len(d.Keys), d.Threshold)
	}
	for _, m := range d.Models {
		if err := validWord("model", m); err != nil {
			return err
		}
		if m == anyModel {
			return fmt.Errorf("%w: a supplier is delegated its models by name", ErrInvalid)
		}
	}
	for _, p := range d.Paths {
		if ValidName(strings.NewReplacer("*", "x", "?", "x").Replace(p)) != nil {
			return fmt.Errorf("%w: path pattern %.210q", ErrInvalid, p)
		}
		if first, _, _ := strings.Cut(p, "/"); strings.ContainsAny(first, "*?") && !strings.ContainsAny(strings.TrimLeft(first, "*?"), "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") {
			return fmt.Errorf("%w: path pattern %q would take in everybody's names: begin it with a name, as in acme/*", ErrInvalid, p)
		}
	}
	if d.Lifetime != 0 && d.Lifetime < time.Second {
		return fmt.Errorf("%w: lifetime %s", ErrInvalid, d.Lifetime)
	}
	return nil
}

func validRole(name string) bool {
	if name == "" || len(name) > 64 || strings.HasPrefix(name, "-") || strings.HasSuffix(name, "-") {
		return false
	}
	if name == releasesRole || strings.HasPrefix(name, binPrefix+"-") || slices.Contains(metadata.TOP_LEVEL_ROLE_NAMES[:], name) {
		return false
	}
	return !strings.ContainsFunc(name, func(c rune) bool { return (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' })
}

// Scope is whose releases a role may sign, along a chain of delegations. The zero
// Scope is that of the targets role: all.
type Scope struct {
	limited bool
	models  []string
}

// Within is the scope of a role that a role of this scope delegates to, with the
// extra fields of its delegation: what both allow. Hash bins pass theirs on.
func (s Scope) Within(fields map[string]any) Scope {
	list, _ := fields[modelsField].([]any)
	next := Scope{limited: true}
	for _, m := range list {
		if model, ok := m.(string); ok && (model == anyModel && !s.limited || model != anyModel && s.Allows(model)) {
			next.models = append(next.models, model)
		}
		if m == anyModel && s.limited {
			next.models = append(next.models, s.models...)
		}
	}
	return next
}

// Allows says whether releases of the model may be signed.
func (s Scope) Allows(model string) bool {
	return !s.limited || slices.Contains(s.models, model) || slices.Contains(s.models, anyModel)
}

// Models lists them; nil stands for all.
func (s Scope) Models() []string {
	if !s.limited || slices.Contains(s.models, anyModel) {
		return nil
	}
	return s.models
}

// covers says whether the delegation names the target's path.
func covers(r *metadata.DelegatedRole, name string) bool {
	ok, err := r.IsDelegatedPath(name)
	return ok && err == nil
}

// delegations of targets, without that to the hash bins.
func suppliers(targets *metadata.Metadata[metadata.TargetsType]) []metadata.DelegatedRole {
	if targets.Signed.Delegations == nil {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(targets.Signed.Delegations.Roles), func(r metadata.DelegatedRole) bool { return r.Name == releasesRole })
}

// delegated makes the entry for targets metadata.
func (d Delegation) delegated(keys map[string]*metadata.Key) (metadata.DelegatedRole, error) {
	if err := d.validate(); err != nil {
		return metadata.DelegatedRole{}, err
	}
	role := metadata.DelegatedRole{
		Name: d.Name, Threshold: d.Threshold, Terminating: true, Paths: slices.Clone(d.Paths),
		UnrecognizedFields: map[string]any{modelsField: anyList(d.Models)},
	}
	if d.Lifetime != 0 {
		role.UnrecognizedFields[lifetimeField] = int64(d.Lifetime / time.Second)
	}
	for _, pub := range d.Keys {
		key, id, err := PublicKey(pub)
		if err != nil {
			return metadata.DelegatedRole{}, err
		}
		if slices.Contains(role.KeyIDs, id) {
			return metadata.DelegatedRole{}, fmt.Errorf("%w: key %s is named twice", ErrInvalid, short(id))
		}
		keys[id] = key
		role.KeyIDs = append(role.KeyIDs, id)
	}
	return role, nil
}

func anyList(words []string) []any {
	list := make([]any, len(words))
	for i, w := range words {
		list[i] = w
	}
	return list
}

// anyPath are patterns that match every name that a repository with bins takes.
func anyPath() []string {
	var patterns []string
	for depth := range maxBinDepth {
		patterns = append(patterns, path.Join(slices.Repeat([]string{"*"}, depth+1)...))
	}
	return patterns
}

// DelegatedScope is the scope of role, to which the delegator with scope from
// delegates; false if it does not delegate to it. Clients use it to see which
// releases a role's signature makes valid.
func DelegatedScope(from Scope, d *metadata.Delegations, role string) (Scope, bool) {
	if d == nil {
		return Scope{}, false
	}
	if d.SuccinctRoles != nil {
		return from, d.SuccinctRoles.IsDelegatedRole(role)
	}
	for i := range d.Roles {
		if d.Roles[i].Name == role {
			return from.Within(d.Roles[i].UnrecognizedFields), true
		}
	}
	return Scope{}, false
}
