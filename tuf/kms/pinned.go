package kms

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/hashicorp/vault/api"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"
)

// pinned signs with one version of a key, and is known by that version's public
// key: sigstore's own answer is the public key of the newest version.
type pinned struct {
	signature.Signer
	public  crypto.PublicKey
	options []signature.SignOption
}

// PublicKey is the described one.
func (p pinned) PublicKey(...signature.PublicKeyOption) (crypto.PublicKey, error) {
	return p.public, nil
}

// SignMessage asks the service. The caller verifies what it answers.
func (p pinned) SignMessage(message io.Reader, more ...signature.SignOption) ([]byte, error) {
	return p.Signer.SignMessage(message, append(p.options, more...)...)
}

// fetch asks for the public key of the version. Of Vault it asks itself, because
// sigstore only knows the newest.
func (k Key) fetch() (crypto.PublicKey, error) {
	if !k.vault() {
		remote, _, err := dial(k, crypto.SHA256)
		if err != nil {
			return nil, err
		}
		pub, err := remote.PublicKey()
		if err != nil {
			return nil, fmt.Errorf("read key %s: %w", k.URI, err)
		}
		return pub, nil
	}
	config := api.DefaultConfig()
	if config.Error != nil {
		return nil, fmt.Errorf("read key %s: %w", k.URI, config.Error)
	}
	if k.Address != "" {
		config.Address = k.Address
	}
	client, err := api.NewClient(config)
	if err != nil {
		return nil, fmt.Errorf("read key %s: %w", k.URI, err)
	}
	token, err := k.token()
	if err != nil {
		return nil, err
	}
	client.SetToken(token)
	mount := k.Mount
	if mount == "" {
		mount = "transit"
	}
	_, name, _ := strings.Cut(k.URI, "://")
	secret, err := client.Logical().ReadWithContext(context.Background(), mount+"/keys/"+name)
	if err != nil {
		return nil, fmt.Errorf("read key %s: %w", k.URI, err)
	}
	if secret == nil {
		return nil, fmt.Errorf("read key %s: there is none", k.URI)
	}
	return versionOf(k, secret.Data)
}

func versionOf(k Key, data map[string]any) (crypto.PublicKey, error) {
	keys, _ := data["keys"].(map[string]any)
	version, _ := keys[strconv.Itoa(k.Version)].(map[string]any)
	text, _ := version["public_key"].(string)
	switch kind, _ := data["type"].(string); {
	case text == "":
		return nil, fmt.Errorf("read key %s: it has no version %d with a public key", k.URI, k.Version)
	case kind == "ed25519":
		raw, err := base64.StdEncoding.DecodeString(text)
		if err != nil || len(raw) != ed25519.PublicKeySize {
			return nil, fmt.Errorf("read key %s: not an Ed25519 public key", k.URI)
		}
		return ed25519.PublicKey(raw), nil
	case kind == "ecdsa-p256":
		pub, err := cryptoutils.UnmarshalPEMToPublicKey([]byte(text))
		if err != nil {
			return nil, fmt.Errorf("read key %s: %w", k.URI, err)
		}
		return pub, nil
	default:
		return nil, fmt.Errorf("read key %s: type %q; a repository takes ed25519 and ecdsa-p256", k.URI, kind)
	}
}

func pemOf(pub crypto.PublicKey) (string, error) {
	text, err := cryptoutils.MarshalPublicKeyToPEM(pub)
	if err != nil {
		return "", fmt.Errorf("write public key: %w", err)
	}
	return string(text), nil
}
