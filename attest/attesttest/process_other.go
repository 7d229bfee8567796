//go:build !linux

package attesttest

import "syscall"

// dieWithParent has no portable equivalent: elsewhere a swtpm outlives a
// program that was killed.
func dieWithParent() *syscall.SysProcAttr { return nil }
