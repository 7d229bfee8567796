package local

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/pem"
	"fmt"

	"github.com/secure-systems-lab/go-securesystemslib/encrypted"
)

// PEM types of keys. The second one is that of cosign's key files: a JSON
// document with scrypt parameters (N 2^17, r 8, p 1) around a NaCl secretbox of
// the PKCS #8 key.
const (
	plainKey     = "PRIVATE KEY"
	encryptedKey = "ENCRYPTED SIGSTORE PRIVATE KEY"
)

// MinPassphrase is the least length of a passphrase, in bytes.
const MinPassphrase = 12

// Codes of PassphraseError. They are stable.
const (
	CodePassphraseMissing = "ca_passphrase_missing" // the key is encrypted, and no passphrase is configured
	CodePassphraseWrong   = "ca_passphrase_wrong"   // the passphrase does not decrypt the key
	CodePassphraseShort   = "ca_passphrase_short"   // fewer than MinPassphrase bytes
)

// PassphraseError says what is wrong with a passphrase. Nothing was changed.
type PassphraseError struct {
	Code string // one of the Code constants
	File string // the key file
}

// Error implements error.
func (e *PassphraseError) Error() string {
	switch e.Code {
	case CodePassphraseMissing:
		return fmt.Sprintf("the CA's key %s is encrypted and no passphrase is configured (%s)", e.File, e.Code)
	case CodePassphraseShort:
		return fmt.Sprintf("the passphrase of the CA's key has fewer than %d bytes (%s)", MinPassphrase, e.Code)
	default:
		return fmt.Sprintf("the passphrase does not decrypt the CA's key %s; nothing was changed (%s)", e.File, e.Code)
	}
}

// passphrase asks for the passphrase; nil: keys are not encrypted.
func (o Options) passphrase() ([]byte, error) {
	if o.Passphrase == nil {
		return nil, nil
	}
	secret, err := o.Passphrase()
	if err != nil {
		return nil, fmt.Errorf("read the passphrase of the CA's key: %w", err)
	}
	secret = bytes.TrimRight(secret, "\r\n")
	if len(secret) < MinPassphrase {
		return nil, &PassphraseError{Code: CodePassphraseShort}
	}
	return secret, nil
}

// encodeKey writes a key as a file, encrypted where there is a passphrase.
func encodeKey(key *ecdsa.PrivateKey, passphrase []byte) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode root key: %w", err)
	}
	if passphrase == nil {
		return pem.EncodeToMemory(&pem.Block{Type: plainKey, Bytes: der}), nil
	}
	sealed, err := encrypted.EncryptWithCustomKDFParameters(der, passphrase, encrypted.OWASP)
	if err != nil {
		return nil, fmt.Errorf("encrypt root key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: encryptedKey, Bytes: sealed}), nil
}

// decodeKey reads a key file's content, and says whether it was encrypted. The
// passphrase is asked for only where it is needed: scrypt takes its time.
func decodeKey(name string, data []byte, passphrase func() ([]byte, error)) (key *ecdsa.PrivateKey, sealed bool, err error) {
	der, err := decodePEM(data, plainKey)
	if block, rest := pem.Decode(data); block != nil && block.Type == encryptedKey && len(bytes.TrimSpace(rest)) == 0 {
		sealed = true
		der, err = unseal(name, block.Bytes, passphrase)
	}
	if err != nil {
		return nil, sealed, fmt.Errorf("read %s: %w", name, err)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, sealed, fmt.Errorf("read %s: %w", name, err)
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, sealed, fmt.Errorf("read %s: not an ECDSA P-256 key", name)
	}
	return key, sealed, nil
}

func unseal(name string, data []byte, passphrase func() ([]byte, error)) ([]byte, error) {
	secret, err := passphrase()
	if err != nil {
		return nil, err
	}
	if secret == nil {
		return nil, &PassphraseError{Code: CodePassphraseMissing, File: name}
	}
	der, err := encrypted.Decrypt(data, secret)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", &PassphraseError{Code: CodePassphraseWrong, File: name}, err)
	}
	return der, nil
}
