package client

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// store is the client's directory on disk. Each file is whole or absent.
type store struct {
	dir   string
	clock string
}

func (s store) init() error {
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	return nil
}

// path escapes the role: "../x" stays one file name in the directory.
func (s store) path(role string) string {
	return filepath.Join(s.dir, url.PathEscape(role)+".json")
}

// read gives what an earlier Refresh accepted, nil if nothing usable is there:
// a local file is a memory, and without it the repository is asked again.
func (s store) read(role string, limit int64) []byte {
	f, err := os.Open(s.path(role))
	if err != nil {
		return nil
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil || int64(len(data)) > limit {
		return nil
	}
	return data
}

func (s store) write(role string, data []byte) error {
	return writeAtomic(s.path(role), data)
}

// readClock gives the latest known time, zero if there is none.
func (s store) readClock() time.Time {
	data, err := os.ReadFile(s.clock)
	if err != nil {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339, strings.TrimSpace(string(data)))
	if err != nil {
		return time.Time{}
	}
	return t.UTC()
}

func (s store) writeClock(t time.Time) error {
	return writeAtomic(s.clock, []byte(t.UTC().Format(time.RFC3339)+"\n"))
}

// writeAtomic replaces a file in one step that survives a power cut. The
// temporary name is fixed, so that crashes leave at most one.
func writeAtomic(path string, data []byte) error {
	dir, base := filepath.Split(path)
	temporary := filepath.Join(dir, "."+base+".new")
	if err := os.Remove(temporary); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove leftover: %w", err)
	}
	f, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, 0o644)
	if err != nil {
		return fmt.Errorf("create file: %w", err)
	}
	if _, err = f.Write(data); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		os.Remove(temporary)
		return fmt.Errorf("write file: %w", err)
	}
	if err := os.Rename(temporary, path); err != nil {
		os.Remove(temporary)
		return fmt.Errorf("rename file: %w", err)
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("open directory: %w", err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	return nil
}
