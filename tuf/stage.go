package tuf

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/secure-systems-lab/go-securesystemslib/cjson"
	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// Bounds of a stage file.
const (
	MaxStageBytes  = 256 << 20
	stageFormat    = 1
	maxStagedRoles = 1<<MaxBinBits + maxDelegated + 2
)

// Stage is metadata that waits for signatures. It travels as a file from the
// repository to each signer and back: everything that a signer needs in order to
// see what it changes is in it, and all of that is verified from the root on.
// A Stage is made by Repository.Stage or ParseStage.
type Stage struct {
	roots   []*metadata.Metadata[metadata.RootType] // 1 … current
	next    *metadata.Metadata[metadata.RootType]   // nil: the root stays
	context map[string]*metadata.Metadata[metadata.TargetsType]
	roles   []changedRole
}

// stageWire is the file.
type stageWire struct {
	Format  int                        `json:"troth_tuf_stage"`
	Note    []string                   `json:"note"`    // for whoever opens the file; Describe does not use it
	Roots   []json.RawMessage          `json:"roots"`   // every root of the repository, as published
	Context map[string]json.RawMessage `json:"context"` // delegators and what is replaced, as published
	Root    json.RawMessage            `json:"root,omitempty"`
	Roles   []roleWire                 `json:"roles"`
}

type roleWire struct {
	Role string          `json:"role"`
	Next json.RawMessage `json:"next"`
}

// ParseStage reads a stage file and verifies everything in it that must already
// be signed. Its errors wrap ErrStage, or are those of r.
func ParseStage(r io.Reader) (s *Stage, err error) {
	data, err := io.ReadAll(io.LimitReader(r, MaxStageBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read stage: %w", err)
	}
	if len(data) > MaxStageBytes {
		return nil, fmt.Errorf("read stage: %w: more than %d bytes", ErrStage, MaxStageBytes)
	}
	// go-tuf's parser and Go's Ed25519 panic on some shapes of foreign metadata.
	defer func() {
		if p := recover(); p != nil {
			s, err = nil, fmt.Errorf("read stage: %w: %v", ErrStage, p)
		}
	}()
	var wire stageWire
	if err := json.Unmarshal(data, &wire); err != nil {
		return nil, fmt.Errorf("read stage: %w: %w", ErrStage, err)
	}
	if s, err = wire.parse(); err != nil {
		return nil, fmt.Errorf("read stage: %w: %w", ErrStage, err)
	}
	if err = s.check(); err != nil {
		return nil, fmt.Errorf("read stage: %w: %w", ErrStage, err)
	}
	return s, nil
}

func (w stageWire) parse() (*Stage, error) {
	switch {
	case w.Format != stageFormat:
		return nil, fmt.Errorf("format %d is not %d", w.Format, stageFormat)
	case len(w.Roots) == 0 || len(w.Roots) > 4096 || len(w.Roles) > maxStagedRoles || len(w.Context) > maxStagedRoles:
		return nil, errors.New("it holds no root, or too many roles")
	case len(w.Root) == 0 && len(w.Roles) == 0:
		return nil, errors.New("it changes nothing")
	}
	s := &Stage{context: map[string]*metadata.Metadata[metadata.TargetsType]{}}
	for _, data := range w.Roots {
		root, err := parseSigned(metadata.ROOT, data, metadata.Root())
		if err != nil {
			return nil, err
		}
		s.roots = append(s.roots, root)
	}
	var err error
	if len(w.Root) > 0 {
		if s.next, err = parseSigned(metadata.ROOT, w.Root, metadata.Root()); err != nil {
			return nil, err
		}
	}
	for name, data := range w.Context {
		if s.context[name], err = parseSigned(metadata.TARGETS, data, metadata.Targets()); err != nil {
			return nil, err
		}
	}
	for _, role := range w.Roles {
		md, err := parseSigned(metadata.TARGETS, role.Next, metadata.Targets())
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(s.roles, func(c changedRole) bool { return c.name == role.Role }) {
			return nil, fmt.Errorf("role %.70q twice", role.Role)
		}
		s.roles = append(s.roles, changedRole{name: role.Role, md: md, sealed: true})
	}
	return s, nil
}

func parseSigned[T metadata.Roles](kind string, data []byte, md *metadata.Metadata[T]) (*metadata.Metadata[T], error) {
	parsed, err := md.FromBytes(data)
	if err != nil {
		return nil, fmt.Errorf("parse %s: %w", kind, err)
	}
	return parsed, nil
}

// root is the current one.
func (s *Stage) root() *metadata.Metadata[metadata.RootType] { return s.roots[len(s.roots)-1] }

// nextRoot is the one under which everything else will be verified.
func (s *Stage) nextRoot() *metadata.Metadata[metadata.RootType] {
	if s.next != nil {
		return s.next
	}
	return s.root()
}

// check verifies what must be signed already, and that what is not follows it.
func (s *Stage) check() error {
	if err := s.checkRoots(); err != nil {
		return err
	}
	if s.context[metadata.TARGETS] == nil {
		return errors.New("the current targets are not in it")
	}
	for name, md := range s.context {
		a, ok := s.published(name)
		if !ok {
			return fmt.Errorf("nobody delegates to %.70q", name)
		}
		if err := a.verify(md); err != nil {
			return fmt.Errorf("verify current %s: %w", name, err)
		}
	}
	for _, role := range s.roles {
		if _, ok := s.authority(role.name); !ok {
			return fmt.Errorf("nobody delegates to %.70q", role.name)
		}
		for name, f := range role.md.Signed.Targets {
			if f == nil || f.Length < 0 || len(f.Hashes) == 0 {
				return fmt.Errorf("target %.210q has no hash, or no length", name)
			}
		}
		if old := s.context[role.name]; role.md.Signed.Version < 1 || old != nil && role.md.Signed.Version <= old.Signed.Version {
			return fmt.Errorf("version %d of %s does not follow the current one", role.md.Signed.Version, role.name)
		}
	}
	return nil
}

func (s *Stage) checkRoots() error {
	roots := s.roots
	if s.next != nil {
		roots = append(slices.Clone(roots), s.next)
	}
	for i, root := range roots {
		if root.Signed.Version != roots[0].Signed.Version+int64(i) {
			return fmt.Errorf("root %d follows %d", root.Signed.Version, roots[i-1].Signed.Version)
		}
		for _, role := range metadata.TOP_LEVEL_ROLE_NAMES {
			if d := root.Signed.Roles[role]; d == nil || d.Threshold < 1 || len(d.KeyIDs) < d.Threshold {
				return fmt.Errorf("root %d: role %s has no keys, or too few", root.Signed.Version, role)
			}
		}
		if root == s.next {
			break
		}
		if err := root.VerifyDelegate(metadata.ROOT, root); err != nil {
			return fmt.Errorf("verify root %d: %w", root.Signed.Version, err)
		}
		if i > 0 {
			if err := roots[i-1].VerifyDelegate(metadata.ROOT, root); err != nil {
				return fmt.Errorf("verify root %d: %w", root.Signed.Version, err)
			}
		}
	}
	return nil
}

// Trusts says whether the stage belongs to the repository whose root a signer
// already trusts: its root is one of the chain in the stage. The error wraps
// ErrStage.
func (s *Stage) Trusts(root []byte) error {
	trusted, err := parseSigned(metadata.ROOT, root, metadata.Root())
	if err != nil {
		return fmt.Errorf("compare root: %w: %w", ErrStage, err)
	}
	for _, have := range s.roots {
		if have.Signed.Version == trusted.Signed.Version && equal(have.Signed, trusted.Signed) {
			return nil
		}
	}
	return fmt.Errorf("compare root: %w: it is of another repository than the root that you trust", ErrStage)
}

func equal(a, b any) bool {
	x, errX := cjson.EncodeCanonical(a)
	y, errY := cjson.EncodeCanonical(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}

// published is who had to sign what is current.
func (s *Stage) published(role string) (authority, bool) {
	if role == metadata.TARGETS {
		return rootAuthority(s.root(), role), true
	}
	return delegatedBy(role, lifetime(s.root(), metadata.TARGETS), func(name string) *metadata.Metadata[metadata.TargetsType] { return s.context[name] })
}

// authority is who has to sign what is next. That of the root itself is twofold;
// see needs.
func (s *Stage) authority(role string) (authority, bool) {
	if role == metadata.TARGETS {
		return rootAuthority(s.nextRoot(), role), true
	}
	return delegatedBy(role, lifetime(s.nextRoot(), metadata.TARGETS), s.latest)
}

// latest is the role as it will be.
func (s *Stage) latest(name string) *metadata.Metadata[metadata.TargetsType] {
	for _, changed := range s.roles {
		if changed.name == name {
			return changed.md
		}
	}
	return s.context[name]
}

func delegatedBy(role string, life time.Duration, get func(string) *metadata.Metadata[metadata.TargetsType]) (authority, bool) {
	for _, delegator := range []string{metadata.TARGETS, releasesRole} {
		if md := get(delegator); md != nil && (delegator == metadata.TARGETS) != strings.HasPrefix(role, binPrefix+"-") {
			if a, ok := delegatedAuthority(md, role, life); ok {
				return a, true
			}
		}
	}
	return authority{}, false
}

// WriteTo writes the stage file.
func (s *Stage) WriteTo(w io.Writer) (int64, error) {
	wire := stageWire{Format: stageFormat, Context: map[string]json.RawMessage{}, Roles: []roleWire{}}
	wire.Note = append([]string{"Show and sign this file with: troth tuf sign FILE --keys DIR"}, s.Describe()...)
	var err error
	put := func(data []byte, e error) json.RawMessage { err = errors.Join(err, e); return data }
	for _, root := range s.roots {
		wire.Roots = append(wire.Roots, put(root.ToBytes(false)))
	}
	if s.next != nil {
		wire.Root = put(s.next.ToBytes(false))
	}
	for name, md := range s.context {
		wire.Context[name] = put(md.ToBytes(false))
	}
	for _, role := range s.roles {
		wire.Roles = append(wire.Roles, roleWire{role.name, put(role.md.ToBytes(false))})
	}
	if err != nil {
		return 0, fmt.Errorf("write stage: %w", err)
	}
	data, err := json.MarshalIndent(wire, "", " ")
	if err != nil {
		return 0, fmt.Errorf("write stage: %w", err)
	}
	n, err := w.Write(append(data, '\n'))
	return int64(n), err
}
