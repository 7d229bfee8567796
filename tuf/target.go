package tuf

import (
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"path"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// Target is one entry of signed targets metadata.
type Target struct {
	Name   string            // relative path
	Length int64             // bytes
	Hashes map[string]string // "sha256", "sha512" → lower-case hex
	Custom json.RawMessage   // as signed; nil if none
	// Release is Custom understood, nil when it is not a valid Release of this
	// name: ParseRelease(Custom) says why. A nil Release is never installed.
	Release *Release
	// Approval is shared by all targets of a role. Only a client's Catalog sets it.
	Approval *Approval
}

// NewTarget reads an entry of verified targets metadata.
func NewTarget(name string, f *metadata.TargetFiles) Target {
	t := Target{Name: name, Length: f.Length, Hashes: map[string]string{}}
	for algorithm, sum := range f.Hashes {
		t.Hashes[algorithm] = hex.EncodeToString(sum)
	}
	if f.Custom != nil {
		t.Custom = append(json.RawMessage(nil), *f.Custom...)
		if rel, err := ParseRelease(t.Custom); err == nil && rel.Name == name {
			t.Release = &rel
		}
	}
	return t
}

// Verify reads r to its end and says whether it is the target: exactly its
// length, and every signed hash. It reads at most one byte more than the
// length. Installers call it on the very open file that they then install
// from. Its errors wrap ErrContent, or are those of r.
func (t Target) Verify(r io.Reader) error {
	hashes := map[string]hash.Hash{}
	writers := []io.Writer{}
	for algorithm := range t.Hashes {
		switch algorithm {
		case "sha256":
			hashes[algorithm] = sha256.New()
		case "sha512":
			hashes[algorithm] = sha512.New()
		default:
			return fmt.Errorf("verify target: %w: unknown hash %q", ErrContent, algorithm)
		}
		writers = append(writers, hashes[algorithm])
	}
	if len(hashes) == 0 {
		return fmt.Errorf("verify target: %w: no signed hash", ErrContent)
	}
	n, err := io.Copy(io.MultiWriter(writers...), io.LimitReader(r, t.Length+1))
	if err != nil {
		return fmt.Errorf("verify target: %w", err)
	}
	if n != t.Length {
		return fmt.Errorf("verify target: %w: length differs from %d", ErrContent, t.Length)
	}
	for algorithm, h := range hashes {
		want, err := hex.DecodeString(t.Hashes[algorithm])
		if err != nil || subtle.ConstantTimeCompare(want, h.Sum(nil)) != 1 {
			return fmt.Errorf("verify target: %w: %s differs", ErrContent, algorithm)
		}
	}
	return nil
}

// Path is where the target's content lies below the targets directory of a
// repository with consistent snapshots: the file name is prefixed with a hash
// (TUF 1.0.31, section 6.2). Slash-separated.
func (t Target) Path(consistent bool) string {
	sum := t.Hashes["sha256"]
	if sum == "" {
		sum = t.Hashes["sha512"]
	}
	if !consistent || sum == "" {
		return t.Name
	}
	dir, base := path.Split(t.Name)
	return dir + sum + "." + base
}
