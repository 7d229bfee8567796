//go:build linux && amd64

package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"unsafe"
)

func mounts() error {
	for _, m := range []struct{ kind, at string }{
		{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}, {"securityfs", "/sys/kernel/security"},
	} {
		if err := os.MkdirAll(m.at, 0o750); err != nil {
			return fmt.Errorf("mount %s: %w", m.kind, err)
		}
		if err := syscall.Mount(m.kind, m.at, m.kind, 0, ""); err != nil {
			return fmt.Errorf("mount %s: %w", m.kind, err)
		}
	}
	return nil
}

// loadModules loads the kernel modules of a directory, in the order of their
// names. IMA measures them.
func loadModules(dir string) error {
	names, err := filepath.Glob(filepath.Join(dir, "*.ko"))
	if err != nil {
		return err
	}
	const finitModule = 313 // not among the constants of package syscall
	for _, name := range names {
		f, err := os.Open(name)
		if err != nil {
			return fmt.Errorf("load module: %w", err)
		}
		parameters := [1]byte{}                                                                      // an empty C string
		_, _, errno := syscall.Syscall(finitModule, f.Fd(), uintptr(unsafe.Pointer(&parameters)), 0) //nolint:gosec // as package unsafe allows for a system call
		if errno != 0 {
			return fmt.Errorf("load module %s: %w", name, errno)
		}
		if err := f.Close(); err != nil {
			return fmt.Errorf("load module: %w", err)
		}
	}
	return nil
}

// touchFiles reads every file in dir, which IMA's policy tcb measures because
// root does it. A file named written is then opened for writing while it is
// still open for reading, which is what IMA calls a violation.
func touchFiles(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("read files: %w", err)
	}
	for _, entry := range entries {
		if err := touch(filepath.Join(dir, entry.Name()), entry.Name() == "written"); err != nil {
			return fmt.Errorf("read files: %w", err)
		}
	}
	return nil
}

func touch(path string, write bool) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := io.Copy(io.Discard, f); err != nil || !write {
		return err
	}
	w, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	return w.Close()
}
