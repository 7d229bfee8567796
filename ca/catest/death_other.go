//go:build !linux

package catest

import "syscall"

// dieWithParent has no counterpart outside Linux; cleanup still ends the server.
func dieWithParent() *syscall.SysProcAttr { return nil }
