package sim

import "syscall"

// owned makes a child that does not get this terminal's Ctrl-C and that cannot
// outlive us.
func owned() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
