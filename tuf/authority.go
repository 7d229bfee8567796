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
