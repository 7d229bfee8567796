package firmware

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"troth/tuf/client"
)

// fetch gives a target as the client fetched and verified it. Closing it
// removes the copy.
func (r *Repository) fetch(ctx context.Context, updater *client.Client, name string) (io.ReadCloser, error) {
	dir, err := os.MkdirTemp(r.TrustDir, "target-")
	if err != nil {
		return nil, fmt.Errorf("store target: %w", err)
	}
	path := filepath.Join(dir, "target")
	err = updater.Download(ctx, name, path, nil)
	var f *os.File
	if err == nil {
		f, err = os.Open(path)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("fetch %s: %w", name, err), os.RemoveAll(dir))
	}
	return fetched{f, dir}, nil
}

type fetched struct {
	*os.File
	dir string
}

// Close implements io.Closer.
func (b fetched) Close() error { return errors.Join(b.File.Close(), os.RemoveAll(b.dir)) }

// content is what fetch gives, of at most so many bytes.
func (r *Repository) content(ctx context.Context, updater *client.Client, name string, limit int64) ([]byte, error) {
	f, err := r.fetch(ctx, updater, name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if int64(len(content)) > limit {
		return nil, fmt.Errorf("read %s: it has more than %d bytes", name, limit)
	}
	return content, nil
}
