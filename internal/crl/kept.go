package crl

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"troth/internal/atomicfile"
)

// Kept keeps fetched lists in files of a directory, the time of the fetch as the
// file's. It is an ek.Kept.
type Kept struct{ dir string }

// keptFor is how long a list that nobody asked for again is kept.
const keptFor = 90 * 24 * time.Hour

// OpenKept uses a directory, which it makes, and removes from it what was not
// fetched for 90 days.
func OpenKept(dir string, now time.Time) (Kept, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return Kept{}, fmt.Errorf("open kept CRLs: %w", err)
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		return Kept{}, fmt.Errorf("open kept CRLs: %w", err)
	}
	for _, f := range files {
		info, err := f.Info()
		if err == nil && info.Mode().IsRegular() && now.Sub(info.ModTime()) > keptFor {
			_ = os.Remove(filepath.Join(dir, f.Name())) // it is removed the next time
		}
	}
	return Kept{dir}, nil
}

func (k Kept) path(key string) string { return filepath.Join(k.dir, filepath.Base(key)+".crl") }

// Load returns a list and when it was fetched.
func (k Kept) Load(key string) ([]byte, time.Time) {
	data, fetched, err := readFile(k.path(key))
	if err != nil {
		return nil, time.Time{}
	}
	return data, fetched
}

// Save keeps a list. What cannot be written is fetched again after a restart.
func (k Kept) Save(key string, data []byte, fetched time.Time) {
	if err := atomicfile.Write(k.path(key), data, 0o600); err == nil {
		_ = os.Chtimes(k.path(key), fetched, fetched) // it counts as fetched at the real time then
	}
}

// readFile reads a regular file of up to the size of a list.
func readFile(path string) ([]byte, time.Time, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, time.Time{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, time.Time{}, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxSize {
		return nil, time.Time{}, fmt.Errorf("%s is no file of at most %d bytes", path, maxSize)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	return data, info.ModTime(), err
}
