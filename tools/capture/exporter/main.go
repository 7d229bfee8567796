//go:build linux && amd64

// Command exporter is the init of a machine that exists to be measured: it asks
// the TPM for quotes, writes them and the logs of the boot to the second serial
// port, and powers off. tools/capture/capture.sh puts it into an initramfs.
package main

import (
	"fmt"
	"os"
	"syscall"
)

func main() {
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "exporter: not process 1; it is started by a kernel, see tools/capture/capture.sh")
		os.Exit(2)
	}
	// The first process must not end: the kernel would panic.
	if err := export(); err != nil {
		fmt.Println("exporter:", err)
	} else {
		fmt.Println("exporter: done")
	}
	syscall.Sync()
	err := syscall.Reboot(syscall.LINUX_REBOOT_CMD_POWER_OFF)
	fmt.Println("exporter: power off:", err)
	select {}
}

func export() error {
	if err := mounts(); err != nil {
		return err
	}
	if err := loadModules("/modules"); err != nil {
		return err
	}
	// Its module was only just loaded; nothing is shown without it.
	if err := syscall.Mount("efivarfs", "/sys/firmware/efi/efivars", "efivarfs", 0, ""); err != nil {
		return fmt.Errorf("mount efivarfs: %w", err)
	}
	if err := touchFiles("/etc"); err != nil {
		return err
	}
	port, err := os.OpenFile("/dev/ttyS1", os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("open serial port: %w", err)
	}
	defer port.Close()
	w := &blockWriter{w: port}
	if err := quotes(w); err != nil {
		return err
	}
	// Measured after the quotes, so that the list runs ahead of them.
	if err := touchFiles("/late"); err != nil {
		return err
	}
	if err := logs(w); err != nil {
		return err
	}
	return w.block("done", []byte("done"))
}
