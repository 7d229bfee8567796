package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// The shape of metadata is checked before go-tuf parses it and before any
// signature is: its parser dereferences entries that a hostile file can leave
// null, and Go's Ed25519 panics on a key of the wrong length.

type shape struct {
	Signed *struct {
		Type        string                  `json:"_type"`
		Spec        string                  `json:"spec_version"`
		Version     int64                   `json:"version"`
		Keys        map[string]*keyShape    `json:"keys"`
		Roles       map[string]*roleShape   `json:"roles"`
		Meta        map[string]*metaShape   `json:"meta"`
		Targets     map[string]*targetShape `json:"targets"`
		Delegations *delegationsShape       `json:"delegations"`
	} `json:"signed"`
	Signatures []struct {
		KeyID string `json:"keyid"`
	} `json:"signatures"`
}

type keyShape struct {
	Type  string `json:"keytype"`
	Value struct {
		Public string `json:"public"`
	} `json:"keyval"`
}

type roleShape struct {
	Name      string   `json:"name"`
	KeyIDs    []string `json:"keyids"`
	Threshold int64    `json:"threshold"`
}

type metaShape struct {
	Length  int64 `json:"length"`
	Version int64 `json:"version"`
}

type targetShape struct {
	Length int64             `json:"length"`
	Hashes map[string]string `json:"hashes"`
}

type delegationsShape struct {
	Keys     map[string]*keyShape `json:"keys"`
	Roles    []*roleShape         `json:"roles"`
	Succinct *struct {
		BitLength int    `json:"bit_length"`
		Prefix    string `json:"name_prefix"`
		Threshold int64  `json:"threshold"`
	} `json:"succinct_roles"`
}

// checkShape refuses metadata that no repository following the specification
// would sign.
func checkShape(kind string, data []byte) error {
	var s shape
	if err := json.Unmarshal(data, &s); err != nil {
		return fmt.Errorf("parse metadata: %w", err)
	}
	switch {
	case s.Signed == nil:
		return fmt.Errorf("no signed part")
	case s.Signed.Type != kind:
		return fmt.Errorf("type is %q, not %q", s.Signed.Type, kind)
	case s.Signed.Spec != "1" && !strings.HasPrefix(s.Signed.Spec, "1."):
		return fmt.Errorf("specification version %q is not 1", s.Signed.Spec)
	case s.Signed.Version < 1:
		return fmt.Errorf("version %d is below 1", s.Signed.Version)
	}
	switch kind {
	case metadata.ROOT:
		return checkRoot(s.Signed.Keys, s.Signed.Roles)
	case metadata.TIMESTAMP:
		return checkMeta(s.Signed.Meta, "snapshot.json")
	case metadata.SNAPSHOT:
		return checkMeta(s.Signed.Meta, "targets.json")
	}
	if err := checkTargets(s.Signed.Targets); err != nil {
		return err
	}
	return checkDelegations(s.Signed.Delegations)
}

func checkRoot(keys map[string]*keyShape, roles map[string]*roleShape) error {
	if err := checkKeys(keys); err != nil {
		return err
	}
	for _, name := range metadata.TOP_LEVEL_ROLE_NAMES {
		if err := checkRole(name, roles[name]); err != nil {
			return err
		}
	}
	for name, role := range roles {
		if role == nil {
			return fmt.Errorf("role %q is null", name)
		}
	}
	return nil
}

func checkKeys(keys map[string]*keyShape) error {
	for id, key := range keys {
		if key == nil {
			return fmt.Errorf("key %q is null", id)
		}
		if key.Type == metadata.KeyTypeEd25519 && len(key.Value.Public) != 64 {
			return fmt.Errorf("key %q is not 32 bytes", id)
		}
	}
	return nil
}

func checkRole(name string, role *roleShape) error {
	if role == nil {
		return fmt.Errorf("role %q is missing", name)
	}
	if role.Threshold < 1 {
		return fmt.Errorf("role %q has threshold %d", name, role.Threshold)
	}
	sorted := slices.Sorted(slices.Values(role.KeyIDs))
	if len(slices.Compact(sorted)) != len(role.KeyIDs) {
		return fmt.Errorf("role %q names a key twice", name)
	}
	return nil
}

func checkMeta(meta map[string]*metaShape, required string) error {
	if meta[required] == nil {
		return fmt.Errorf("%s is missing", required)
	}
	for name, m := range meta {
		if m == nil || m.Version < 1 || m.Length < 0 {
			return fmt.Errorf("entry %q is null, or has a version below 1 or a negative length", name)
		}
	}
	return nil
}

func checkTargets(targets map[string]*targetShape) error {
	for name, t := range targets {
		if t == nil || t.Length < 0 || len(t.Hashes) == 0 {
			return fmt.Errorf("target %q is null, or has a negative length or no hash", name)
		}
	}
	return nil
}

func checkDelegations(d *delegationsShape) error {
	if d == nil {
		return nil
	}
	if err := checkKeys(d.Keys); err != nil {
		return err
	}
	if d.Succinct != nil {
		if len(d.Roles) > 0 || d.Succinct.BitLength < 1 || d.Succinct.BitLength > 32 || d.Succinct.Threshold < 1 || d.Succinct.Prefix == "" {
			return fmt.Errorf("succinct delegation is out of bounds")
		}
	}
	seen := map[string]bool{}
	for _, role := range d.Roles {
		if role == nil {
			return fmt.Errorf("a delegated role is null")
		}
		if err := checkRole(role.Name, role); err != nil {
			return err
		}
		if seen[role.Name] {
			return fmt.Errorf("role %q is delegated twice", role.Name)
		}
		seen[role.Name] = true
	}
	return nil
}

// checkDelegatedName refuses a delegated role whose metadata would be stored
// over that of a top-level role.
func checkDelegatedName(name string) error {
	if name == "" || slices.Contains(metadata.TOP_LEVEL_ROLE_NAMES[:], name) {
		return failf(CodeName, name, "a delegated role must not be named like a top-level one")
	}
	return nil
}

var errPanic = errors.New("the parser panicked")

// guarded turns a panic of the parser or of a signature check into an error.
// checkShape is meant to prevent all of them; a device must not be stopped by
// bytes that an attacker chose even if it misses one.
func guarded(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("verify metadata: %w: %v", errPanic, p)
		}
	}()
	return f()
}
