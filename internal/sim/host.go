package sim

import (
	"fmt"
	"os"
	"path/filepath"

	"troth/internal/agent/hostfacts"
)

// hostFiles are what a hardened device of the simulated kind has of /proc, /sys
// and /etc: a verified root, an encrypted data partition, keys alone for SSH, and
// one port open besides.
func hostFiles() map[string]string {
	return map[string]string{
		"proc/sys/kernel/osrelease":                 "6.6.52-edge\n",
		"proc/sys/kernel/kptr_restrict":             "2\n",
		"proc/sys/kernel/dmesg_restrict":            "1\n",
		"proc/sys/kernel/unprivileged_bpf_disabled": "1\n",
		"proc/sys/kernel/yama/ptrace_scope":         "2\n",
		"proc/sys/kernel/kexec_load_disabled":       "1\n",
		"proc/sys/kernel/modules_disabled":          "0\n",
		"proc/sys/kernel/randomize_va_space":        "2\n",
		"proc/sys/kernel/sysrq":                     "0\n",
		"proc/sys/kernel/tainted":                   "0\n",
		"proc/sys/kernel/core_pattern":              "|/bin/false\n",
		"proc/sys/fs/suid_dumpable":                 "0\n",
		"sys/module/module/parameters/sig_enforce":  "Y\n",
		"sys/kernel/security/lockdown":              "none [integrity] confidentiality\n",
		"sys/kernel/security/lsm":                   "lockdown,capability,landlock,yama,apparmor,ima",

		"proc/sys/net/ipv4/ip_forward":                    "0\n",
		"proc/sys/net/ipv4/tcp_syncookies":                "1\n",
		"proc/sys/net/ipv4/ip_local_port_range":           "32768\t60999\n",
		"proc/sys/net/ipv4/conf/all/rp_filter":            "1\n",
		"proc/sys/net/ipv4/conf/all/accept_redirects":     "0\n",
		"proc/sys/net/ipv4/conf/all/accept_source_route":  "0\n",
		"proc/sys/net/ipv4/conf/eth0/rp_filter":           "1\n",
		"proc/sys/net/ipv4/conf/eth0/accept_redirects":    "0\n",
		"proc/sys/net/ipv4/conf/eth0/accept_source_route": "0\n",
		"proc/sys/net/ipv6/conf/all/forwarding":           "0\n",
		"proc/sys/net/ipv6/conf/eth0/accept_redirects":    "0\n",
		"proc/net/tcp": "  sl  local_address rem_address   st\n" +
			"   0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 100\n",
		"proc/net/tcp6": "  sl  local_address remote_address st\n",
		"proc/net/udp":  "  sl  local_address rem_address   st\n",
		"proc/net/udp6": "  sl  local_address remote_address st\n",

		"proc/self/mountinfo": "" +
			"21 1 253:0 / / ro,relatime - ext4 /dev/mapper/root ro\n" +
			"22 21 0:20 / /tmp rw,nosuid,nodev,noexec - tmpfs tmpfs rw\n" +
			"23 21 253:1 / /var rw,nosuid,nodev - ext4 /dev/mapper/var rw\n",
		"sys/dev/block/253:0/dm/uuid": "CRYPT-VERITY-8a1b2c3d-root\n",
		"sys/dev/block/253:1/dm/uuid": "CRYPT-LUKS2-0f1e2d3c-var\n",
		"proc/swaps":                  "Filename Type Size Used Priority\n",
		"proc/uptime":                 "4211.50 16000.00\n",

		"etc/passwd":          "root:x:0:0:root:/root:/usr/sbin/nologin\nagent:x:990:990::/var/lib/agent:/usr/sbin/nologin\n",
		"etc/shadow":          "root:!:20000::::::\nagent:!:20000::::::\n",
		"etc/ssh/sshd_config": "PermitRootLogin no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n",

		"run/systemd/system/.keep":                    "",
		"sys/bus/usb/devices/usb1/authorized_default": "0\n",
	}
}

// makeHost writes the device's system below its directory, so that it can be
// changed there while the device runs.
func (d *Device) makeHost() error {
	for name, content := range hostFiles() {
		path := d.hostFile(name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return fmt.Errorf("make system of %s: %w", d.Name, err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			return fmt.Errorf("make system of %s: %w", d.Name, err)
		}
	}
	return nil
}

func (d *Device) hostFile(name string) string {
	return filepath.Join(d.Dir, "root", filepath.FromSlash(name))
}

// host is what the agent reads of the simulated system.
func (d *Device) host() *hostfacts.Host {
	return &hostfacts.Host{
		Root: os.DirFS(filepath.Join(d.Dir, "root")), Data: "/var/lib/agent",
		Superuser:    func() (bool, error) { return false, nil },
		Synchronised: func() (bool, error) { return true, nil },
		Free:         func(string) (int, error) { return 61, nil },
	}
}
