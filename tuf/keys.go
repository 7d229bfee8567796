package tuf

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// Key types that a repository can sign with.
const (
	KeyEd25519 = "ed25519"
	KeyECDSA   = "ecdsa-p256" // signatures over SHA-256, for key stores that lack Ed25519
)

const maxKeyFile = 64 << 10

// signingKey is a private key and how TUF metadata names its public half.
type signingKey struct {
	id     string
	public *metadata.Key
	signer signature.Signer
}

func newSigningKey(private crypto.PrivateKey) (signingKey, error) {
	if k, ok := private.(*ecdsa.PrivateKey); ok && k.Curve != elliptic.P256() {
		return signingKey{}, errors.New("load key: the only ECDSA curve is P-256")
	}
	signer, err := signature.LoadSigner(private, crypto.SHA256)
	if err != nil {
		return signingKey{}, fmt.Errorf("load key: %w", err)
	}
	pub, err := signer.PublicKey()
	if err != nil {
		return signingKey{}, fmt.Errorf("load key: %w", err)
	}
	public, err := metadata.KeyFromPublicKey(pub)
	if err != nil {
		return signingKey{}, fmt.Errorf("load key: %w", err)
	}
	id, err := public.ID()
	if err != nil {
		return signingKey{}, fmt.Errorf("load key: %w", err)
	}
	return signingKey{id: id, public: public, signer: signer}, nil
}

// createKey makes a key file, or loads the one that is there: an interrupted
// ceremony continues with the keys that it already made.
func createKey(path, keyType string) (signingKey, error) {
	if exists(path) {
		return loadKey(path)
	}
	var private crypto.PrivateKey
	var err error
	switch keyType {
	case "", KeyEd25519:
		_, private, err = ed25519.GenerateKey(rand.Reader)
	case KeyECDSA:
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	default:
		return signingKey{}, fmt.Errorf("make key: unknown type %q", keyType)
	}
	if err != nil {
		return signingKey{}, fmt.Errorf("make key: %w", err)
	}
	text, err := cryptoutils.MarshalPrivateKeyToPEM(private)
	if err != nil {
		return signingKey{}, fmt.Errorf("encode key: %w", err)
	}
	if err := writeFile(filepath.Dir(path), path, text, 0o600); err != nil {
		return signingKey{}, fmt.Errorf("write key: %w", err)
	}
	os.Remove(filepath.Join(filepath.Dir(path), stagingDir)) // fails, rightly, unless it is empty
	return newSigningKey(private)
}

func loadKey(path string) (signingKey, error) {
	info, err := os.Stat(path)
	if err != nil {
		return signingKey{}, fmt.Errorf("read key: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return signingKey{}, fmt.Errorf("read key: %s is open to others (mode %#o, want 0600)", path, info.Mode().Perm())
	}
	if !info.Mode().IsRegular() || info.Size() > maxKeyFile {
		return signingKey{}, fmt.Errorf("read key: %s is not a key file", path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return signingKey{}, fmt.Errorf("read key: %w", err)
	}
	private, err := cryptoutils.UnmarshalPEMToPrivateKey(text, cryptoutils.SkipPassword)
	if err != nil {
		return signingKey{}, fmt.Errorf("read key: %s: %w", path, err)
	}
	key, err := newSigningKey(private)
	if err != nil {
		return signingKey{}, fmt.Errorf("read key: %s: %w", path, err)
	}
	return key, nil
}

// loadKeys reads every private key in dir, by key id. File names do not
// matter: the signed root says what a key is for.
func loadKeys(dir string) (map[string]signingKey, error) {
	keys := map[string]signingKey{}
	if dir == "" {
		return keys, nil
	}
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return keys, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read keys: %w", err)
	}
	for _, entry := range entries {
		path := filepath.Join(dir, entry.Name())
		if entry.IsDir() || !strings.HasSuffix(entry.Name(), ".pem") || !isPrivate(path) {
			continue
		}
		key, err := loadKey(path)
		if err != nil {
			return nil, err
		}
		keys[key.id] = key
	}
	return keys, nil
}

// isPrivate is false only for files that certainly are something else, such as
// a public key kept beside the private one.
func isPrivate(path string) bool {
	text, err := os.ReadFile(path)
	if err != nil {
		return true
	}
	block, _ := pem.Decode(text)
	return block == nil || strings.Contains(block.Type, "PRIVATE KEY")
}

// signersFor picks the keys that root accepts for role, or says which are missing.
func (r *Repository) signersFor(root *metadata.Metadata[metadata.RootType], keys map[string]signingKey, role string) ([]signingKey, error) {
	want := root.Signed.Roles[role]
	var found []signingKey
	for _, id := range want.KeyIDs {
		if key, ok := keys[id]; ok {
			found = append(found, key)
		}
	}
	if len(found) < want.Threshold {
		return nil, &MissingKeyError{Role: role, KeysDir: r.keysDir, KeyIDs: want.KeyIDs, Found: len(found), Need: want.Threshold}
	}
	return found, nil
}
