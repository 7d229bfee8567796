//go:build !linux

package sim

import "syscall"

func owned() *syscall.SysProcAttr { return &syscall.SysProcAttr{} }
