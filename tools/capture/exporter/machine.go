//go:build linux && amd64

package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"unsafe"
)

func mounts() error {
	for _, m := range []struct{ kind, at string }{
		{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}, {"securityfs", "/sys/kernel/security"},
	} {
		if err := os.MkdirAll(m.at, 0o755); err != nil {
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
		f.Close()
		if errno != 0 {
			return fmt.Errorf("load module %s: %w", name, errno)
		}
	}
	return nil
}

// touchFiles reads every file below dir, which IMA's policy tcb measures because
// root does it. A file named written is then opened for writing while it is
// still open for reading, which is what IMA calls a violation.
func touchFiles(dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		var content bytes.Buffer
		if _, err := content.ReadFrom(f); err != nil {
			return err
		}
		if d.Name() != "written" {
			return nil
		}
		w, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			return err
		}
		return w.Close()
	})
}
