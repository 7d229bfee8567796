package store

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"

	"troth/internal/fleet"
)

var insertBlob = newTable("blobs", 1, "digest content").insertAbsent()

func digest(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

func (w *writer) blobs(c fleet.Change) error {
	list := slices.Clone(c.Blobs)
	slices.SortFunc(list, func(a, b fleet.Blob) int { return cmp.Compare(a.Digest, b.Digest) })
	for _, b := range list {
		if digest(b.Content) != b.Digest {
			return fleet.Errorf(fleet.Invalid, "invalid_digest", "content does not have the SHA-256 digest %q", b.Digest)
		}
		if _, err := w.exec(insertBlob, b.Digest, b.Content); err != nil {
			return err
		}
	}
	return nil
}

// Blob is the content with the digest (SHA-256, lower-case hexadecimal). Content
// that no longer has its digest is an error.
func (s *Store) Blob(ctx context.Context, name string) ([]byte, error) {
	content, err := one(ctx, s, func(r row) (b []byte, err error) {
		err = r.Scan(toBytes{&b})
		return b, err
	}, "SELECT content FROM blobs WHERE digest = $1", name)
	if err != nil {
		return nil, err
	}
	if digest(content) != name {
		return nil, fmt.Errorf("read blob %s: the content is damaged", name)
	}
	return content, nil
}

// HasBlob reports whether the content with the digest is kept.
func (s *Store) HasBlob(ctx context.Context, name string) (bool, error) {
	n, err := one(ctx, s, func(r row) (n int, err error) {
		err = r.Scan(&n)
		return n, err
	}, "SELECT COUNT(*) FROM blobs WHERE digest = $1", name)
	return n > 0, err
}
