package tuf

import (
	"fmt"
	"slices"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// delegations gives a copy of a role's delegations to edit.
func (d *Draft) delegations(role string) (*metadata.Delegations, error) {
	md, err := d.edit(role)
	if err != nil {
		return nil, err
	}
	fresh := metadata.Targets()
	if md.Signed.Delegations != nil {
		// Through bytes, so that nothing is shared with what is current.
		data, err := md.ToBytes(false)
		if err != nil {
			return nil, fmt.Errorf("encode %s: %w", role, err)
		}
		if fresh, err = metadata.Targets().FromBytes(data); err != nil {
			return nil, fmt.Errorf("parse %s: %w", role, err)
		}
	}
	if fresh.Signed.Delegations == nil {
		fresh.Signed.Delegations = &metadata.Delegations{Keys: map[string]*metadata.Key{}}
	}
	md.Signed.Delegations = fresh.Signed.Delegations
	return md.Signed.Delegations, nil
}

// Delegate lets a supplier sign the releases of its models, or changes what it
// may sign and with which keys.
func (d *Draft) Delegate(to Delegation) error {
	delegations, err := d.delegations(metadata.TARGETS)
	if err != nil {
		return err
	}
	role, err := to.delegated(delegations.Keys)
	if err != nil {
		return err
	}
	others := slices.DeleteFunc(slices.Clone(delegations.Roles), func(r metadata.DelegatedRole) bool { return r.Name == to.Name })
	if len(others) >= maxDelegated {
		return fmt.Errorf("%w: more than %d delegated roles", ErrInvalid, maxDelegated)
	}
	for _, other := range others {
		if other.Name == releasesRole {
			continue
		}
		scope := Scope{}.Within(other.UnrecognizedFields)
		for _, m := range to.Models {
			if scope.Allows(m) {
				return fmt.Errorf("%w: model %s is delegated to %s", ErrExists, m, other.Name)
			}
		}
		for _, p := range to.Paths {
			if slices.Contains(other.Paths, p) {
				return fmt.Errorf("%w: names %s are delegated to %s", ErrExists, p, other.Name)
			}
		}
	}
	// Before the hash bins, which take every name.
	delegations.Roles = slices.Insert(others, max(0, len(others)-count(others, releasesRole)), role)
	return d.shadows(to, &role)
}

func count(roles []metadata.DelegatedRole, name string) int {
	if slices.ContainsFunc(roles, func(r metadata.DelegatedRole) bool { return r.Name == name }) {
		return 1
	}
	return 0
}

// shadows refuses to delegate names that are taken in hash bins: a client that
// asks the supplier for them asks nobody else.
func (d *Draft) shadows(to Delegation, role *metadata.DelegatedRole) error {
	bins, err := d.current.bins()
	if err != nil {
		return err
	}
	for _, bin := range bins {
		err := d.current.each([]string{bin}, func(_ string, t Target) error {
			if covers(role, t.Name) {
				return fmt.Errorf("%w: %s is published, and would belong to %s", ErrExists, t.Name, to.Name)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Undelegate takes everything from a supplier; what it signed counts no more.
func (d *Draft) Undelegate(name string) error {
	delegations, err := d.delegations(metadata.TARGETS)
	if err != nil {
		return err
	}
	others := slices.DeleteFunc(slices.Clone(delegations.Roles), func(r metadata.DelegatedRole) bool { return r.Name == name })
	if name == releasesRole || len(others) == len(delegations.Roles) {
		return fmt.Errorf("role %.70q: %w", name, ErrNoRole)
	}
	delegations.Roles = others
	d.roles = slices.DeleteFunc(d.roles, func(c changedRole) bool { return c.name == name })
	return nil
}
