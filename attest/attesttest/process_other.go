//go:build !linux

package attesttest

import (
	"os/exec"
	"syscall"
)

// dieWithParent has no portable equivalent: elsewhere a swtpm outlives a
// program that was killed.
func dieWithParent() *syscall.SysProcAttr { return nil }

// endAsGroup likewise: what a cancelled program started may stay.
func endAsGroup(*exec.Cmd) {}
