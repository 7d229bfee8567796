package client

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Verified is what VerifyDirectory found.
type Verified struct {
	Catalog
	Checked int      // targets whose content is there and is what was signed
	Missing []string // names of targets whose content is not there
}

// VerifyDirectory checks a repository directory as a device would that trusts
// root and has seen nothing else: all metadata, every delegated role, and the
// content of every target that is there. It needs an empty scratch directory. The
// error is that of the first thing that does not verify; a role's problems count,
// content that is missing does not.
func VerifyDirectory(ctx context.Context, dir string, root []byte, scratch string, now time.Time) (Verified, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return Verified{}, fail(CodeStorage, "repository", err)
	}
	c, err := New(Config{
		Dir: filepath.Join(scratch, "metadata"), Root: root, Now: func() time.Time { return now },
		MetadataURL: "file://" + filepath.Join(dir, "metadata"), TargetsURL: "file://" + filepath.Join(dir, "targets"),
	})
	if err != nil {
		return Verified{}, err
	}
	if err := c.Refresh(ctx); err != nil {
		return Verified{}, err
	}
	catalog, err := c.Catalog(ctx)
	if err != nil {
		return Verified{}, err
	}
	got := Verified{Catalog: catalog}
	if len(catalog.Problems) > 0 {
		return got, errors.Join(catalog.Problems...)
	}
	for _, t := range catalog.Targets {
		at, err := locate(t, c.trusted.Root.Signed.ConsistentSnapshot)
		if err != nil {
			return got, err
		}
		switch err := verifyContent(filepath.Join(dir, "targets", filepath.FromSlash(at.raw)), t); {
		case errors.Is(err, fs.ErrNotExist):
			got.Missing = append(got.Missing, t.Name)
		case err != nil:
			return got, fail(CodeContent, t.Name, err)
		default:
			got.Checked++
		}
		if err := ctx.Err(); err != nil {
			return got, err
		}
	}
	return got, nil
}

func verifyContent(path string, t Target) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return t.Verify(f)
}
