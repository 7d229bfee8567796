package tuf

import (
	"fmt"
	"time"

	"github.com/secure-systems-lab/go-securesystemslib/cjson"
	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// rootAuthority is what root says of a top-level role.
func rootAuthority(root *metadata.Metadata[metadata.RootType], role string) authority {
	return authority{
		role: role, keys: root.Signed.Keys, ids: root.Signed.Roles[role].KeyIDs, threshold: root.Signed.Roles[role].Threshold,
		life:   lifetime(root, role),
		verify: func(md any) error { return root.VerifyDelegate(role, md) },
	}
}

// delegatedAuthority is what the delegator says of a delegated role; false where
// it says nothing. Without a lifetime of its own a role has that of targets.
func delegatedAuthority(delegator *metadata.Metadata[metadata.TargetsType], role string, otherwise time.Duration) (authority, bool) {
	d := delegator.Signed.Delegations
	if d == nil {
		return authority{}, false
	}
	a := authority{role: role, keys: d.Keys, verify: func(md any) error { return delegator.VerifyDelegate(role, md) }}
	if s := d.SuccinctRoles; s != nil && s.IsDelegatedRole(role) {
		a.ids, a.threshold, a.life = s.KeyIDs, s.Threshold, lifeOf(s.UnrecognizedFields, otherwise)
		return a, true
	}
	for i := range d.Roles {
		if r := &d.Roles[i]; r.Name == role {
			a.ids, a.threshold, a.life = r.KeyIDs, r.Threshold, lifeOf(r.UnrecognizedFields, otherwise)
			return a, true
		}
	}
	return authority{}, false
}

// valid are the key ids whose signatures on md verify.
func (a authority) valid(payload []byte, signatures []metadata.Signature) []string {
	var ids []string
	for _, id := range a.ids {
		for _, s := range signatures {
			if s.KeyID == id && verifies(a.keys[id], payload, s.Signature) {
				ids = append(ids, id)
				break
			}
		}
	}
	return ids
}

// Approval is who signed the role that has a target.
type Approval struct {
	Role      string
	Threshold int      // how many had to
	Signers   []string // ids of the keys whose signatures verify, one for each key
}

// ApprovalOf says who signed a targets role, of those whom root (for targets
// itself) or the delegator lets sign it.
func ApprovalOf(root *metadata.Metadata[metadata.RootType], delegator *metadata.Metadata[metadata.TargetsType], role string, md *metadata.Metadata[metadata.TargetsType]) (Approval, error) {
	a := authority{}
	if role == metadata.TARGETS {
		a = rootAuthority(root, role)
	} else if delegator != nil {
		a, _ = delegatedAuthority(delegator, role, 0)
	}
	payload, err := cjson.EncodeCanonical(md.Signed)
	if err != nil {
		return Approval{}, fmt.Errorf("encode %s: %w", role, err)
	}
	return Approval{role, a.threshold, a.distinct(a.valid(payload, md.Signatures))}, nil
}

// distinct leaves one id for each key: metadata of others may give one key two.
func (a authority) distinct(ids []string) []string {
	seen := map[string]bool{}
	var list []string
	for _, id := range ids {
		if public := a.keys[id].Value.PublicKey; !seen[public] {
			seen[public] = true
			list = append(list, id)
		}
	}
	return list
}

// seal signs with every key and returns the bytes to publish, after verifying
// that the authority accepts them.
func seal[T metadata.Roles](a authority, md *metadata.Metadata[T], keys []signingKey) ([]byte, error) {
	md.ClearSignatures()
	if err := addSignatures(md, keys); err != nil {
		return nil, err
	}
	return encode(a, md)
}

// encode gives the bytes to publish of what is signed, if the authority accepts
// the signatures.
func encode[T metadata.Roles](a authority, md *metadata.Metadata[T]) ([]byte, error) {
	if err := a.verify(md); err != nil {
		return nil, fmt.Errorf("verify new %s: %w", a.role, err)
	}
	data, err := md.ToBytes(false)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", a.role, err)
	}
	return data, nil
}

func addSignatures[T metadata.Roles](md *metadata.Metadata[T], keys []signingKey) error {
	payload, err := cjson.EncodeCanonical(md.Signed)
	if err != nil {
		return fmt.Errorf("encode metadata: %w", err)
	}
	for _, key := range keys {
		s, err := key.sign(payload)
		if err != nil {
			return err
		}
		md.Signatures = append(md.Signatures, s)
	}
	return nil
}
