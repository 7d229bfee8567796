package tuf

import (
	"fmt"
	"slices"
	"strings"

	"github.com/secure-systems-lab/go-securesystemslib/cjson"
	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// Need is a set of signatures that a stage needs.
type Need struct {
	Role      string   // what is signed
	As        string   // "current root keys" or "new root keys", where both must sign; else the role's
	KeyIDs    []string // whoever may sign
	Signed    []string // key ids whose signatures are there and verify
	Threshold int
}

// Met says whether enough have signed.
func (n Need) Met() bool { return len(n.Signed) >= n.Threshold }

// String says what is there and what is missing.
func (n Need) String() string {
	var open []string
	for _, id := range n.KeyIDs {
		if !slices.Contains(n.Signed, id) {
			open = append(open, short(id))
		}
	}
	text := fmt.Sprintf("%s has %d of %d signatures of the %s", n.Role, len(n.Signed), n.Threshold, n.As)
	if !n.Met() {
		text += fmt.Sprintf("; missing %d of: %s", n.Threshold-len(n.Signed), strings.Join(open, ", "))
	}
	return text
}

// MissingSignaturesError says why a stage cannot be published yet.
type MissingSignaturesError struct{ Needs []Need }

// Error names each role, and the keys that could still sign.
func (e *MissingSignaturesError) Error() string {
	var list []string
	for _, n := range e.Needs {
		if !n.Met() {
			list = append(list, n.String())
		}
	}
	return "signatures are missing: " + strings.Join(list, "; ")
}

// staged is one thing to sign.
type staged struct {
	payload    []byte
	signatures *[]metadata.Signature
	by         []authority
	as         []string
	role       string
}

func (s *Stage) each() ([]staged, error) {
	var list []staged
	if s.next != nil {
		payload, err := cjson.EncodeCanonical(s.next.Signed)
		if err != nil {
			return nil, fmt.Errorf("encode root: %w", err)
		}
		// A new root needs the old one's keys, and its own (TUF 1.0.31, 5.3.4).
		list = append(list, staged{payload, &s.next.Signatures,
			[]authority{rootAuthority(s.root(), metadata.ROOT), rootAuthority(s.next, metadata.ROOT)},
			[]string{"current root keys", "new root keys"}, metadata.ROOT})
	}
	for _, role := range s.roles {
		a, ok := s.authority(role.name)
		if !ok {
			return nil, fmt.Errorf("role %q: %w", role.name, ErrNoRole)
		}
		payload, err := cjson.EncodeCanonical(role.md.Signed)
		if err != nil {
			return nil, fmt.Errorf("encode %s: %w", role.name, err)
		}
		list = append(list, staged{payload, &role.md.Signatures, []authority{a}, []string{role.name + " keys"}, role.name})
	}
	return list, nil
}

// Needs lists the signatures that the stage has and needs.
func (s *Stage) Needs() ([]Need, error) {
	list, err := s.each()
	if err != nil {
		return nil, err
	}
	var needs []Need
	for _, m := range list {
		for i, a := range m.by {
			needs = append(needs, Need{m.role, m.as[i], a.ids, a.valid(m.payload, *m.signatures), a.threshold})
		}
	}
	return needs, nil
}

// Signature is one that Sign added.
type Signature struct{ Role, KeyID string }

// Sign adds the signatures of all keys that may sign something here and have not.
// The error wraps ErrStage if none of them may sign anything.
func (s *Stage) Sign(keys Keys) ([]Signature, error) {
	have, err := keys.all()
	if err != nil {
		return nil, fmt.Errorf("sign stage: %w", err)
	}
	list, err := s.each()
	if err != nil {
		return nil, fmt.Errorf("sign stage: %w", err)
	}
	var added []Signature
	accepted := false
	for _, m := range list {
		for _, a := range m.by {
			for _, id := range a.ids {
				key, ok := have[id]
				if !ok {
					continue
				}
				accepted = true
				if slices.Contains(a.valid(m.payload, *m.signatures), id) {
					continue
				}
				signature, err := key.sign(m.payload)
				if err != nil {
					return nil, fmt.Errorf("sign stage: %w", err)
				}
				*m.signatures = append(withoutKey(*m.signatures, id), signature)
				added = append(added, Signature{m.role, id})
			}
		}
	}
	if !accepted {
		return nil, fmt.Errorf("sign stage: %w: none of the keys in %s may sign anything in it", ErrStage, keys.Dir)
	}
	return added, nil
}

func withoutKey(list []metadata.Signature, id string) []metadata.Signature {
	return slices.DeleteFunc(slices.Clone(list), func(s metadata.Signature) bool { return s.KeyID == id })
}

// Merge takes over the signatures of another copy of the same stage. The error
// wraps ErrStage if the two do not say the same.
func (s *Stage) Merge(other *Stage) error {
	mine, err := s.each()
	if err != nil {
		return fmt.Errorf("merge stage: %w", err)
	}
	theirs, err := other.each()
	if err != nil {
		return fmt.Errorf("merge stage: %w", err)
	}
	if len(mine) != len(theirs) {
		return fmt.Errorf("merge stage: %w: it was made of another stage", ErrStage)
	}
	for i, m := range mine {
		if m.role != theirs[i].role || string(m.payload) != string(theirs[i].payload) {
			return fmt.Errorf("merge stage: %w: its %s is not what is staged now", ErrStage, m.role)
		}
	}
	for i, m := range mine {
		for _, a := range m.by {
			for _, id := range a.valid(m.payload, *theirs[i].signatures) {
				for _, signature := range *theirs[i].signatures {
					if signature.KeyID == id {
						*m.signatures = append(withoutKey(*m.signatures, id), signature)
					}
				}
			}
		}
	}
	return nil
}
