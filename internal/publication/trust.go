package publication

import (
	"crypto"
	"fmt"
	"io"
	"os"

	"github.com/sigstore/sigstore/pkg/cryptoutils"

	"troth/tuf/provenance"
)

const maxKeyFile = 64 << 10 // bytes

// ReadTrust reads whom to believe from files: a trusted_root.json, where root is
// not empty, and public keys (PEM).
func ReadTrust(root string, keys []string) (*provenance.Trust, error) {
	var text []byte
	if root != "" {
		var err error
		if text, err = read(root, provenance.MaxRoot); err != nil {
			return nil, fmt.Errorf("read trusted root: %w", err)
		}
	}
	var list []crypto.PublicKey
	for _, file := range keys {
		pem, err := read(file, maxKeyFile)
		if err != nil {
			return nil, fmt.Errorf("read trusted key: %w", err)
		}
		key, err := cryptoutils.UnmarshalPEMToPublicKey(pem)
		if err != nil {
			return nil, fmt.Errorf("read trusted key %s: %w", file, err)
		}
		list = append(list, key)
	}
	return provenance.NewTrust(text, list...)
}

// read gives a file, and one byte more than limit of one that is too large.
func read(file string, limit int64) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read
	return io.ReadAll(io.LimitReader(f, limit+1))
}
