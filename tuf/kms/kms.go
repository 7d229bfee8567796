// Package kms opens TUF signing keys that a key management service holds, through
// sigstore's registry of such services
// (https://pkg.go.dev/github.com/sigstore/sigstore/pkg/signature/kms): Vault and
// OpenBao Transit (hashivault://, openbao://) are linked in; for others (awskms://,
// gcpkms://, azurekms://, …) sigstore's plugin of that name, sigstore-kms-<name>,
// must be a program in the PATH.
//
// A NAME.kms file in a keys directory describes a key. It names the public key, and
// that is what counts: a service that signs with another key, or with another
// version of it after a rotation there, is refused.
package kms

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/kms"
	// Registers Vault and OpenBao Transit with sigstore.
	_ "github.com/sigstore/sigstore/pkg/signature/kms/hashivault"
	"github.com/sigstore/sigstore/pkg/signature/options"
	"sigs.k8s.io/yaml"

	"troth/tuf"
)

// maxToken bounds a token file, in bytes.
const maxToken = 16 << 10

// Key is a .kms file (YAML; an unknown key is an error).
type Key struct {
	// URI names the key: hashivault://KEY, or what another service's plugin takes.
	URI string `json:"uri"`
	// Version is the one that signs. Vault needs it: without it a rotation in
	// Vault would change the key under the repository.
	Version int `json:"version"`
	// PublicKey is that version's, PEM. Describe fills it in.
	PublicKey string `json:"public_key"`
	// Address of Vault; VAULT_ADDR by default.
	Address string `json:"address,omitempty"`
	// Mount is where Transit is mounted; "transit" by default.
	Mount string `json:"mount,omitempty"`
	// TokenFile holds a Vault token, which is read each time; VAULT_TOKEN by default.
	TokenFile string `json:"token_file,omitempty"`
}

// Parse reads a .kms file.
func Parse(text []byte) (Key, error) {
	var k Key
	if err := yaml.UnmarshalStrict(text, &k); err != nil {
		return Key{}, fmt.Errorf("parse key description: %w", err)
	}
	scheme, name, ok := strings.Cut(k.URI, "://")
	if !ok || scheme == "" || name == "" {
		return Key{}, fmt.Errorf("parse key description: uri %q is not SERVICE://KEY", k.URI)
	}
	if k.Version < 0 || k.vault() && k.Version < 1 {
		return Key{}, errors.New("parse key description: version must name the key's version, from 1")
	}
	return k, nil
}

func (k Key) vault() bool {
	return strings.HasPrefix(k.URI, "hashivault://") || strings.HasPrefix(k.URI, "openbao://")
}

// Open is the Remote of tuf.Keys: it opens the key that a .kms file describes. It
// reads no more than the file and the token: the service is first asked for a
// signature.
func Open(_ string, text []byte) (signature.Signer, error) {
	k, err := Parse(text)
	if err != nil {
		return nil, err
	}
	if k.PublicKey == "" {
		return nil, errors.New("open key: the description has no public_key: make it with troth tuf kms-key")
	}
	pub, err := tuf.ParsePublicKey([]byte(k.PublicKey))
	if err != nil {
		return nil, err
	}
	return open(k, pub)
}

func open(k Key, pub crypto.PublicKey) (signature.Signer, error) {
	remote, opts, err := dial(k, hashFor(pub))
	if err != nil {
		return nil, err
	}
	return pinned{Signer: remote, public: pub, options: opts}, nil
}

// hashFor is how much a service must hash itself: Ed25519 signs the message.
func hashFor(pub crypto.PublicKey) crypto.Hash {
	if _, ok := pub.(ed25519.PublicKey); ok {
		return crypto.Hash(0)
	}
	return crypto.SHA256
}

func dial(k Key, hash crypto.Hash) (kms.SignerVerifier, []signature.SignOption, error) {
	var rpc []signature.RPCOption
	var sign []signature.SignOption
	if k.Version > 0 {
		version := options.WithKeyVersion(strconv.Itoa(k.Version))
		rpc, sign = append(rpc, version), append(sign, version)
	}
	if k.vault() {
		token, err := k.token()
		if err != nil {
			return nil, nil, err
		}
		rpc = append(rpc, options.WithRPCAuthOpts(options.RPCAuth{Address: k.Address, Path: k.Mount, Token: token}))
	}
	remote, err := kms.Get(context.Background(), k.URI, hash, rpc...)
	if err != nil {
		return nil, nil, fmt.Errorf("open key %s: %w", k.URI, err)
	}
	return remote, sign, nil
}

// token is never looked for elsewhere: sigstore would also try files in the home
// directory, and log.
func (k Key) token() (string, error) {
	if k.TokenFile == "" {
		if token := os.Getenv("VAULT_TOKEN"); token != "" {
			return token, nil
		}
		return "", fmt.Errorf("open key %s: neither token_file nor VAULT_TOKEN is set", k.URI)
	}
	info, err := os.Stat(k.TokenFile)
	if err != nil {
		return "", fmt.Errorf("open key %s: %w", k.URI, err)
	}
	if info.Size() > maxToken {
		return "", fmt.Errorf("open key %s: %s is not a token file", k.URI, k.TokenFile)
	}
	text, err := os.ReadFile(k.TokenFile)
	if err != nil {
		return "", fmt.Errorf("open key %s: %w", k.URI, err)
	}
	token := strings.TrimSpace(string(text))
	if token == "" {
		return "", fmt.Errorf("open key %s: %s is empty", k.URI, k.TokenFile)
	}
	return token, nil
}

// Describe asks the service for the public key of the described version and
// returns the complete .kms file. It signs something once, so that a description
// that cannot work is not written.
func Describe(k Key) ([]byte, error) {
	probe, err := yaml.Marshal(k)
	if err != nil {
		return nil, fmt.Errorf("describe key: %w", err)
	}
	if k, err = Parse(probe); err != nil {
		return nil, err
	}
	pub, err := k.fetch()
	if err != nil {
		return nil, err
	}
	if k.PublicKey, err = pemOf(pub); err != nil {
		return nil, err
	}
	signer, err := open(k, pub)
	if err != nil {
		return nil, err
	}
	if err := tuf.CheckSigner(signer); err != nil {
		return nil, fmt.Errorf("describe key %s: %w", k.URI, err)
	}
	text, err := yaml.Marshal(k)
	if err != nil {
		return nil, fmt.Errorf("describe key: %w", err)
	}
	return text, nil
}
