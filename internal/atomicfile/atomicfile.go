// Package atomicfile replaces files so that a power cut leaves the old content
// or the new one, and never a part.
package atomicfile

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
)

// Write replaces the file at path with content. Its directory must exist.
func Write(path string, content []byte, mode os.FileMode) error {
	return WriteFrom(path, mode, func(w io.Writer) error {
		_, err := w.Write(content)
		return err
	})
}

// WriteFrom is Write for content that is produced as it is written: temporary
// file, fsync, rename, fsync of the directory. Where write fails, its error is
// in the one returned, and the file stays as it was. What killed writers of the
// same file left behind is removed first; see Clean.
func WriteFrom(path string, mode os.FileMode, write func(io.Writer) error) error {
	dir, base := filepath.Dir(path), filepath.Base(path)
	sweep(dir, base)
	f, err := create(dir, base)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer os.Remove(f.Name()) // gone already where all went well
	if err = write(f); err == nil {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		// Before the lock is given up by closing: until then the name is the writer's.
		err = os.Rename(f.Name(), path)
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = syncDir(dir)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// create makes a temporary file that is locked for as long as its writer lives.
func create(dir, base string) (*os.File, error) {
	for attempt := 0; ; attempt++ {
		f, err := os.CreateTemp(dir, "."+base+mark+"*")
		if err != nil {
			return nil, err
		}
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil && linked(f) || err != nil && !errors.Is(err, syscall.EWOULDBLOCK) {
			return f, nil // where a file system has no locks, nobody sweeps either
		}
		// Somebody who sweeps took it for a leftover in the moment before it was locked.
		_ = f.Close()
		_ = os.Remove(f.Name())
		if attempt == 10 {
			return nil, fmt.Errorf("lock %s: it is taken away again and again", f.Name())
		}
	}
}

// linked says whether the open file still has its name.
func linked(f *os.File) bool {
	info, err := f.Stat()
	if err != nil {
		return false
	}
	named, err := os.Lstat(f.Name())
	return err == nil && os.SameFile(info, named)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }() // only synced
	return d.Sync()
}
