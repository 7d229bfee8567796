package catest

import "syscall"

// dieWithParent has the kernel kill the server when the test binary dies in a
// way that runs no cleanup: a panic, a time limit, a kill.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
