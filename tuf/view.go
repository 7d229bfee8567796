package tuf

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
	"github.com/theupdateframework/go-tuf/v2/metadata/trustedmetadata"
)

// view is a repository as a client sees it: what was loaded is verified. A
// delegated role is loaded when it is asked for, so that an operation on one hash
// bin does not read a thousand.
type view struct {
	*trustedmetadata.TrustedMetadata
	r *Repository
}

func (v *view) targets() *metadata.Metadata[metadata.TargetsType] { return v.Targets[metadata.TARGETS] }

// delegator is the role that delegates to role; "" where none does.
func (v *view) delegator(role string) (string, error) {
	if role == metadata.TARGETS {
		return metadata.ROOT, nil
	}
	if _, ok := delegatedAuthority(v.targets(), role, 0); ok {
		return metadata.TARGETS, nil
	}
	if v.binned() && strings.HasPrefix(role, binPrefix+"-") {
		releases, err := v.role(releasesRole)
		if err != nil {
			return "", err
		}
		if _, ok := delegatedAuthority(releases, role, 0); ok {
			return releasesRole, nil
		}
	}
	return "", fmt.Errorf("role %.70q: %w", role, ErrNoRole)
}

// role loads a targets role, verified by its delegator.
func (v *view) role(name string) (*metadata.Metadata[metadata.TargetsType], error) {
	if md := v.Targets[name]; md != nil {
		return md, nil
	}
	delegator, err := v.delegator(name)
	if err != nil {
		return nil, err
	}
	meta := v.Snapshot.Signed.Meta[name+".json"]
	if meta == nil {
		return nil, fmt.Errorf("role %q: %w: it has published nothing", name, ErrNoRole)
	}
	data, err := v.r.read(name, meta.Version)
	if err != nil {
		return nil, err
	}
	md, err := v.UpdateDelegatedTargets(data, name, delegator)
	if err != nil {
		return nil, fmt.Errorf("verify %s: %w", name, err)
	}
	return md, nil
}

// published says whether the snapshot has the role: one that was just delegated
// has signed nothing yet.
func (v *view) published(role string) bool { return v.Snapshot.Signed.Meta[role+".json"] != nil }

// authority is who may sign the role.
func (v *view) authority(role string) (authority, error) {
	if slices.Contains(metadata.TOP_LEVEL_ROLE_NAMES[:], role) {
		return rootAuthority(v.Root, role), nil
	}
	delegator, err := v.delegator(role)
	if err != nil {
		return authority{}, err
	}
	by, err := v.role(delegator)
	if err != nil {
		return authority{}, err
	}
	a, _ := delegatedAuthority(by, role, lifetime(v.Root, metadata.TARGETS))
	return a, nil
}

// binned says whether releases are in hash bins.
func (v *view) binned() bool {
	_, ok := delegatedAuthority(v.targets(), releasesRole, 0)
	return ok
}

// bin is the hash bin of a target name.
func (v *view) bin(name string) (string, error) {
	releases, err := v.role(releasesRole)
	if err != nil {
		return "", err
	}
	return releases.Signed.Delegations.SuccinctRoles.GetRolesForTarget(name)[0].Name, nil
}

// home is the role that a release's targets belong into: the supplier to whom its
// model is delegated, or else targets itself, or the hash bin of the name.
func (v *view) home(rel Release, name string) (string, error) {
	for _, d := range suppliers(v.targets()) {
		scope := Scope{}.Within(d.UnrecognizedFields)
		switch mine, here := scope.Allows(rel.Model), covers(&d, name); {
		case mine && here:
			return d.Name, nil
		case mine:
			return "", fmt.Errorf("%w: model %s is delegated to %s, whose target names are %s, and not %s",
				ErrDelegation, rel.Model, d.Name, strings.Join(d.Paths, ", "), name)
		case here:
			return "", fmt.Errorf("%w: the name %s belongs to %s, which signs for %s, and not for %s",
				ErrDelegation, name, d.Name, strings.Join(scope.Models(), ", "), rel.Model)
		}
	}
	if !v.binned() {
		return metadata.TARGETS, nil
	}
	if strings.Count(name, "/") >= maxBinDepth {
		return "", fmt.Errorf("%w: %s has more than %d segments", ErrInvalid, name, maxBinDepth)
	}
	return v.bin(name)
}

// flat are the roles whose releases are not in hash bins, as far as they have
// published.
func (v *view) flat() []string {
	roles := []string{metadata.TARGETS}
	for _, d := range suppliers(v.targets()) {
		if v.published(d.Name) {
			roles = append(roles, d.Name)
		}
	}
	return roles
}

// bins lists all hash bins; none where the repository has none.
func (v *view) bins() ([]string, error) {
	if !v.binned() {
		return nil, nil
	}
	releases, err := v.role(releasesRole)
	if err != nil {
		return nil, err
	}
	return releases.Signed.Delegations.SuccinctRoles.GetRoles(), nil
}

// each calls f with every target of the roles that its role may sign: the name
// within its paths, a release's model within its models.
func (v *view) each(roles []string, f func(role string, t Target) error) error {
	for _, role := range roles {
		md, err := v.role(role)
		if err != nil {
			return err
		}
		for name, file := range md.Signed.Targets {
			t := NewTarget(name, file)
			if !v.allowed(role, &t) {
				continue
			}
			if err := f(role, t); err != nil {
				return err
			}
		}
	}
	return nil
}

func (v *view) allowed(role string, t *Target) bool {
	if role == metadata.TARGETS {
		return true
	}
	for _, d := range suppliers(v.targets()) {
		if d.Name == role {
			model := t.Model()
			return covers(&d, t.Name) && (model == "" || Scope{}.Within(d.UnrecognizedFields).Allows(model))
		}
		if covers(&d, t.Name) {
			return false // a client asks the supplier first, and nobody after it
		}
	}
	bin, err := v.bin(t.Name)
	return err == nil && bin == role
}

// load verifies the repository as a client would, from the first root on.
func (r *Repository) load() (*view, error) {
	trusted, err := r.loadTrusted()
	if err != nil {
		return nil, err
	}
	return &view{trusted, r}, nil
}

func lifeOf(fields map[string]any, otherwise time.Duration) time.Duration {
	switch seconds := fields[lifetimeField].(type) {
	case float64:
		if seconds >= 1 {
			return time.Duration(seconds) * time.Second
		}
	case int64:
		return time.Duration(seconds) * time.Second
	}
	return otherwise
}

// base is the last segment of a path, for messages.
func base(p string) string { return path.Base(p) }
