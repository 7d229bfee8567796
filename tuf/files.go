package tuf

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// Layout of a repository directory. Unfinished files live in staging, outside
// of what is served, and are renamed into place when they are whole.
const (
	metadataDir = "metadata"
	targetsDir  = "targets"
	stagingDir  = ".staging"
	lockFile    = ".lock"        // held while metadata changes
	uploadFile  = ".upload.lock" // held while content is staged, which may take long
)

// stage opens a new file that place can later rename to its final name.
func stage(dir string) (*os.File, error) {
	staging := filepath.Join(dir, stagingDir)
	if err := os.MkdirAll(staging, 0o700); err != nil {
		return nil, fmt.Errorf("make staging directory: %w", err)
	}
	f, err := os.CreateTemp(staging, "new-")
	if err != nil {
		return nil, fmt.Errorf("make staged file: %w", err)
	}
	return f, nil
}

// place makes a staged file durable and visible under its final name in one step.
func place(f *os.File, final string, mode os.FileMode) error {
	if err := f.Chmod(mode); err != nil {
		return fmt.Errorf("set mode: %w", err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("sync file: %w", err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("close file: %w", err)
	}
	parent := filepath.Dir(final)
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	if err := os.Rename(f.Name(), final); err != nil {
		return fmt.Errorf("rename file: %w", err)
	}
	return syncDir(parent)
}

func writeFile(dir, final string, data []byte, mode os.FileMode) error {
	f, err := stage(dir)
	if err != nil {
		return err
	}
	defer discard(f)
	if _, err := f.Write(data); err != nil {
		return fmt.Errorf("write file: %w", err)
	}
	return place(f, final, mode)
}

// discard removes a staged file that was not placed; after place it does nothing.
func discard(f *os.File) {
	_ = f.Close()
	os.Remove(f.Name())
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("open directory: %w", err)
	}
	defer func() { _ = d.Close() }()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	return nil
}

// lock takes an advisory lock that the kernel drops when the process ends, so
// that a crash never leaves a repository locked.
func lock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, ErrLocked
		}
		return nil, fmt.Errorf("take lock: %w", err)
	}
	return func() { _ = f.Close() }, nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
