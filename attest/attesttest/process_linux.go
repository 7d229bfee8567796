package attesttest

import (
	"os/exec"
	"syscall"
)

// dieWithParent also puts the child in a process group of its own, so that an
// interrupt at the terminal reaches the parent only, which then ends the child
// in order.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}

// endAsGroup makes a program that is cancelled end with everything it started.
func endAsGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = dieWithParent()
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}
