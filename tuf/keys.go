package tuf

import (
	"bytes"
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
	"time"

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

// Keys says where private keys are and how the locked ones are opened. A role is
// signed by whichever of them the signed root or delegation names; what a file is
// called does not matter.
type Keys struct {
	// Dir holds NAME.pem files, PKCS#8 in the clear or encrypted with a passphrase
	// (as cosign and sigstore write them, or PKCS#8's own encryption), and NAME.kms
	// files, which say where a key management service has the key. Mode 0600.
	Dir string
	// Passphrase gives the passphrase of an encrypted file. Without it, encrypted
	// keys are passed over, and new keys are written in the clear.
	Passphrase func(file string) ([]byte, error)
	// Remote opens what a .kms file describes; troth/tuf/kms does. Without it such
	// files are passed over.
	Remote func(file string, text []byte) (signature.Signer, error)
}

// signingKey is a private key and how TUF metadata names its public half.
type signingKey struct {
	id       string
	public   *metadata.Key
	signer   signature.Signer
	verifier signature.Verifier
}

func newSigningKey(private crypto.PrivateKey) (signingKey, error) {
	signer, err := signature.LoadSigner(private, crypto.SHA256)
	if err != nil {
		return signingKey{}, fmt.Errorf("load key: %w", err)
	}
	return keyOf(signer)
}

// keyOf wraps any signer whose key is of a type that a repository can use.
func keyOf(signer signature.Signer) (signingKey, error) {
	pub, err := signer.PublicKey()
	if err != nil {
		return signingKey{}, fmt.Errorf("load key: %w", err)
	}
	public, id, err := PublicKey(pub)
	if err != nil {
		return signingKey{}, err
	}
	verifier, err := signature.LoadVerifier(pub, crypto.SHA256)
	if err != nil {
		return signingKey{}, fmt.Errorf("load key: %w", err)
	}
	return signingKey{id: id, public: public, signer: signer, verifier: verifier}, nil
}

// PublicKey is how TUF metadata writes a public key, and its key id (64 hex
// digits). Ed25519 and ECDSA over P-256 are accepted.
func PublicKey(pub crypto.PublicKey) (*metadata.Key, string, error) {
	switch k := pub.(type) {
	case ed25519.PublicKey:
	case *ecdsa.PublicKey:
		if k.Curve != elliptic.P256() {
			return nil, "", fmt.Errorf("load key: %w: the only ECDSA curve is P-256", ErrInvalid)
		}
	default:
		return nil, "", fmt.Errorf("load key: %w: a key is ed25519 or ecdsa-p256", ErrInvalid)
	}
	public, err := metadata.KeyFromPublicKey(pub)
	if err != nil {
		return nil, "", fmt.Errorf("load key: %w", err)
	}
	id, err := public.ID()
	if err != nil {
		return nil, "", fmt.Errorf("load key: %w", err)
	}
	return public, id, nil
}

// ParsePublicKey reads a PEM public key, as CreateKey writes one.
func ParsePublicKey(text []byte) (crypto.PublicKey, error) {
	pub, err := cryptoutils.UnmarshalPEMToPublicKey(text)
	if err != nil {
		return nil, fmt.Errorf("read public key: %w: %w", ErrInvalid, err)
	}
	if _, _, err := PublicKey(pub); err != nil {
		return nil, err
	}
	return pub, nil
}

// CreateKey makes a key file name.pem in the keys directory, encrypted if there is
// a passphrase, and returns its public half: what an add-key names. It never
// replaces a file: the error then wraps ErrExists.
func CreateKey(keys Keys, name, keyType string) (crypto.PublicKey, error) {
	path := filepath.Join(keys.Dir, name+".pem")
	if filepath.Base(name) != name || strings.HasPrefix(name, ".") {
		return nil, fmt.Errorf("make key: %w: %q is not a file name", ErrInvalid, name)
	}
	if exists(path) {
		return nil, fmt.Errorf("make key %s: %w", path, ErrExists)
	}
	if err := os.MkdirAll(keys.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make key: %w", err)
	}
	key, err := keys.create(path, keyType)
	if err != nil {
		return nil, err
	}
	return key.signer.PublicKey()
}

// sign makes a signature over payload and verifies it: a key service that
// answers with another version of the key must not spoil a ceremony.
func (k signingKey) sign(payload []byte) (metadata.Signature, error) {
	sig, err := k.signer.SignMessage(bytes.NewReader(payload))
	if err != nil {
		return metadata.Signature{}, fmt.Errorf("sign with key %s: %w", short(k.id), err)
	}
	if err := k.verifier.VerifySignature(bytes.NewReader(sig), bytes.NewReader(payload)); err != nil {
		return metadata.Signature{}, fmt.Errorf("verify signature of key %s: %w", short(k.id), err)
	}
	return metadata.Signature{KeyID: k.id, Signature: sig}, nil
}

// short is what people see of a key id.
func short(id string) string { return id[:min(12, len(id))] }

// createKey makes a key file, or loads the one that is there: an interrupted
// ceremony continues with the keys that it already made.
func (k Keys) create(path, keyType string) (signingKey, error) {
	if exists(path) {
		return k.load(path)
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
	text, err := k.encode(path, private)
	if err != nil {
		return signingKey{}, fmt.Errorf("encode key: %w", err)
	}
	if err := writeFile(filepath.Dir(path), path, text, 0o600); err != nil {
		return signingKey{}, fmt.Errorf("write key: %w", err)
	}
	os.Remove(filepath.Join(filepath.Dir(path), stagingDir)) // fails, rightly, unless it is empty
	return newSigningKey(private)
}

func (k Keys) encode(path string, private crypto.PrivateKey) ([]byte, error) {
	if k.Passphrase == nil {
		return cryptoutils.MarshalPrivateKeyToPEM(private)
	}
	der, err := cryptoutils.MarshalPrivateKeyToEncryptedDER(private, k.pass(path))
	if err != nil {
		return nil, err
	}
	return cryptoutils.PEMEncode(cryptoutils.EncryptedSigstorePrivateKeyPEMType, der), nil
}

func (k Keys) pass(path string) cryptoutils.PassFunc {
	return func(bool) ([]byte, error) {
		word, err := k.Passphrase(path)
		if err == nil && len(word) == 0 {
			err = errors.New("the passphrase is empty")
		}
		return word, err
	}
}

func readKeyFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read key: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("read key: %s is open to others (mode %#o, want 0600)", path, info.Mode().Perm())
	}
	if !info.Mode().IsRegular() || info.Size() > maxKeyFile {
		return nil, fmt.Errorf("read key: %s is not a key file", path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read key: %w", err)
	}
	return text, nil
}

func (k Keys) load(path string) (signingKey, error) {
	text, err := readKeyFile(path)
	if err != nil {
		return signingKey{}, err
	}
	pass := cryptoutils.SkipPassword
	if k.Passphrase != nil {
		pass = k.pass(path)
	}
	private, err := cryptoutils.UnmarshalPEMToPrivateKey(text, pass)
	if err != nil {
		return signingKey{}, fmt.Errorf("read key: %s: %w", path, err)
	}
	key, err := newSigningKey(private)
	if err != nil {
		return signingKey{}, fmt.Errorf("read key: %s: %w", path, err)
	}
	return key, nil
}

func (k Keys) remote(path string) (signingKey, error) {
	text, err := readKeyFile(path)
	if err != nil {
		return signingKey{}, err
	}
	signer, err := k.Remote(path, text)
	if err != nil {
		return signingKey{}, fmt.Errorf("open key: %s: %w", path, err)
	}
	key, err := keyOf(signer)
	if err != nil {
		return signingKey{}, fmt.Errorf("open key: %s: %w", path, err)
	}
	return key, nil
}

// all opens every key that it can, by key id. File names do not matter: the
// signed root says what a key is for.
func (k Keys) all() (map[string]signingKey, error) {
	keys := map[string]signingKey{}
	if k.Dir == "" {
		return keys, nil
	}
	entries, err := os.ReadDir(k.Dir)
	if errors.Is(err, os.ErrNotExist) {
		return keys, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read keys: %w", err)
	}
	for _, entry := range entries {
		path := filepath.Join(k.Dir, entry.Name())
		var key signingKey
		switch {
		case entry.IsDir():
			continue
		case strings.HasSuffix(path, ".pem") && k.opens(path):
			key, err = k.load(path)
		case strings.HasSuffix(path, KMSSuffix) && k.Remote != nil:
			key, err = k.remote(path)
		default:
			continue
		}
		if err != nil {
			return nil, err
		}
		keys[key.id] = key
	}
	return keys, nil
}

// KMSSuffix ends the name of a file that says where a key management service has
// a key.
const KMSSuffix = ".kms"

// opens is false for files that certainly are something else, such as a public
// key kept beside the private one, and for encrypted keys without a passphrase.
func (k Keys) opens(path string) bool {
	text, err := os.ReadFile(path)
	if err != nil {
		return true
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return true
	}
	if strings.HasPrefix(block.Type, "ENCRYPTED ") && k.Passphrase == nil {
		return false
	}
	return strings.Contains(block.Type, "PRIVATE KEY")
}

// authority is who may sign a role: what the root or a delegation says of it.
type authority struct {
	role      string
	keys      map[string]*metadata.Key
	ids       []string
	threshold int
	life      time.Duration
	verify    func(md any) error
}

// signersFor picks the keys that the authority accepts, or says which are missing.
func (r *Repository) signersFor(a authority, keys map[string]signingKey) ([]signingKey, error) {
	var found []signingKey
	for _, id := range a.ids {
		if key, ok := keys[id]; ok {
			found = append(found, key)
		}
	}
	if len(found) < a.threshold {
		return nil, &MissingKeyError{Role: a.role, KeysDir: r.keys.Dir, KeyIDs: a.ids, Found: len(found), Need: a.threshold}
	}
	return found, nil
}

// verifies checks one signature as TUF's readers do.
func verifies(key *metadata.Key, payload, sig []byte) bool {
	if key == nil {
		return false
	}
	pub, err := key.ToPublicKey()
	if err != nil {
		return false
	}
	if k, ok := pub.(ed25519.PublicKey); ok && len(k) != ed25519.PublicKeySize {
		return false
	}
	verifier, err := signature.LoadVerifier(pub, crypto.SHA256)
	if err != nil {
		return false
	}
	return verifier.VerifySignature(bytes.NewReader(sig), bytes.NewReader(payload)) == nil
}

// CheckSigner signs something with a signer and verifies it.
func CheckSigner(s signature.Signer) error {
	key, err := keyOf(s)
	if err != nil {
		return err
	}
	_, err = key.sign([]byte("troth: is this key usable?"))
	return err
}

// KeyID is the id of the key in a file of the keys directory.
func KeyID(keys Keys, file string) (string, error) {
	path := filepath.Join(keys.Dir, filepath.Base(file))
	open := keys.load
	if strings.HasSuffix(file, KMSSuffix) && keys.Remote != nil {
		open = keys.remote
	}
	key, err := open(path)
	if err != nil {
		return "", err
	}
	return key.id, nil
}
