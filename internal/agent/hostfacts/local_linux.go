package hostfacts

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Local is this machine, for an agent that keeps its state in the directory.
func Local(dir string) *Host {
	if absolute, err := filepath.Abs(dir); err == nil {
		dir = absolute
	}
	return &Host{
		Root: os.DirFS("/"), Data: dir, Free: freePercent, Synchronised: synchronised,
		Superuser: func() (bool, error) { return os.Geteuid() == 0, nil },
	}
}

// synchronised reads the kernel's clock discipline and changes nothing.
func synchronised() (bool, error) {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	if err != nil {
		return false, fmt.Errorf("read clock state: %w", err)
	}
	return state != unix.TIME_ERROR && t.Status&unix.STA_UNSYNC == 0, nil
}

// freePercent is what is left of a file system for whoever is not root.
func freePercent(dir string) (int, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, fmt.Errorf("read file system: %w", err)
	}
	if s.Blocks == 0 {
		return 0, fmt.Errorf("read file system: %s has no size", dir)
	}
	return int(100 * min(s.Bavail, s.Blocks) / s.Blocks), nil //nolint:gosec // at most 100
}
