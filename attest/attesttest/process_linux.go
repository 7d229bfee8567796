package attesttest

import "syscall"

// dieWithParent also puts the child in a process group of its own, so that an
// interrupt at the terminal reaches the parent only, which then ends the child
// in order.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}
