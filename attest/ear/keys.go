package ear

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/go-jose/go-jose/v4"
)

// Key signs tokens.
type Key struct {
	ID      string // SHA-256 JWK thumbprint (RFC 7638), base64url
	private *ecdsa.PrivateKey
}

// NewKey is a key on P-256; any other curve is an error.
func NewKey(private *ecdsa.PrivateKey) (Key, error) {
	if private == nil || private.Curve != elliptic.P256() {
		return Key{}, errors.New("make signing key: it is not on P-256")
	}
	id, err := Thumbprint(&private.PublicKey)
	return Key{ID: id, private: private}, err
}

// Thumbprint is the SHA-256 JWK thumbprint of a public key, base64url (RFC
// 7638): what Confirmation and the names of keys hold.
func Thumbprint(public crypto.PublicKey) (string, error) {
	sum, err := (&jose.JSONWebKey{Key: public}).Thumbprint(crypto.SHA256)
	if err != nil {
		return "", fmt.Errorf("hash key: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(sum), nil
}

// KeySet is the public keys that tokens may be signed with, by their names.
type KeySet struct{ keys map[string]*ecdsa.PublicKey }

// NewKeySet is the public halves of keys.
func NewKeySet(keys ...Key) KeySet {
	s := KeySet{keys: map[string]*ecdsa.PublicKey{}}
	for _, k := range keys {
		s.keys[k.ID] = &k.private.PublicKey
	}
	return s
}

// IDs are the names of the keys, sorted.
func (s KeySet) IDs() []string { return slices.Sorted(maps.Keys(s.keys)) }

// MarshalJSON writes a JWK Set (RFC 7517, section 5).
func (s KeySet) MarshalJSON() ([]byte, error) {
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	for _, id := range s.IDs() {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: s.keys[id], KeyID: id, Algorithm: string(jose.ES256), Use: "sig"})
	}
	return json.Marshal(set)
}

// Bounds of a key set that is read.
const (
	MaxKeySet = 256 << 10 // bytes
	maxKeys   = 256
)

// ParseKeySet reads a JWK Set. Keys for other purposes, of other types, or
// without a name are passed over; a private key, two keys of one name, and a set
// without any usable key are errors with the code CodeKeySet.
func ParseKeySet(b []byte) (KeySet, error) {
	if len(b) > MaxKeySet {
		return KeySet{}, errorf(CodeKeySet, "the key set has more than %d bytes", MaxKeySet)
	}
	var raw struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(b, &raw); err != nil {
		return KeySet{}, errorf(CodeKeySet, "the key set is not JSON: %s", err)
	}
	if len(raw.Keys) > maxKeys {
		return KeySet{}, errorf(CodeKeySet, "the key set has more than %d keys", maxKeys)
	}
	s := KeySet{keys: map[string]*ecdsa.PublicKey{}}
	for _, text := range raw.Keys {
		var k jose.JSONWebKey
		if k.UnmarshalJSON(text) != nil || !k.Valid() {
			continue // of a kind that is not for us (RFC 7517, section 5)
		}
		if !k.IsPublic() {
			return KeySet{}, errorf(CodeKeySet, "the key set has a private key: whoever published it must make new keys")
		}
		public, ok := k.Key.(*ecdsa.PublicKey)
		if !ok || public.Curve != elliptic.P256() || k.KeyID == "" || k.Use != "" && k.Use != "sig" || k.Algorithm != "" && k.Algorithm != string(jose.ES256) {
			continue
		}
		if s.keys[k.KeyID] != nil {
			return KeySet{}, errorf(CodeKeySet, "the key set has two keys of the name %.64q", k.KeyID)
		}
		s.keys[k.KeyID] = public
	}
	if len(s.keys) == 0 {
		return KeySet{}, errorf(CodeKeySet, "the key set has no public P-256 key with a name")
	}
	return s, nil
}
