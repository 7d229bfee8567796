package hostfacts_test

import (
	"errors"
	"io/fs"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"troth/internal/agent/hostfacts"
	"troth/internal/api"
)

const heads = "  sl  local_address rem_address   st tx_queue rx_queue\n"

// system is a small one, with files added or, where the content is empty, taken out.
func system(changes map[string]string) fs.FS {
	files := map[string]string{
		"proc/sys/kernel/kptr_restrict":                   "2\n",
		"proc/sys/kernel/tainted":                         "8192\n",
		"sys/kernel/security/lockdown":                    "none [integrity] confidentiality\n",
		"sys/kernel/security/lsm":                         "capability,yama,apparmor",
		"sys/module/module/parameters/sig_enforce":        "Y\n",
		"proc/sys/net/ipv4/ip_forward":                    "0\n",
		"proc/sys/net/ipv4/tcp_syncookies":                "1\n",
		"proc/sys/net/ipv4/ip_local_port_range":           "32768 60999\n",
		"proc/sys/net/ipv4/conf/all/rp_filter":            "0\n",
		"proc/sys/net/ipv4/conf/all/accept_redirects":     "0\n",
		"proc/sys/net/ipv4/conf/all/accept_source_route":  "0\n",
		"proc/sys/net/ipv4/conf/eth0/rp_filter":           "1\n",
		"proc/sys/net/ipv4/conf/eth0/accept_redirects":    "0\n",
		"proc/sys/net/ipv4/conf/eth0/accept_source_route": "1\n",
		"proc/net/tcp":                                     heads + "   0: 00000000:0016 00000000:0000 0A 0\n   1: 0100007F:1538 00000000:0000 0A 0\n   2: 0200A8C0:0016 0300A8C0:C350 01 0\n",
		"proc/net/udp":                                     heads + "   0: 00000000:0044 00000000:0000 07 0\n   1: 00000000:9C40 00000000:0000 07 0\n   2: 0200A8C0:007B 0300A8C0:007B 01 0\n",
		"proc/net/tcp6":                                    heads + "   0: 000080FE000000000000000001000000:1F90 00000000000000000000000000000000:0000 0A 0\n",
		"proc/net/udp6":                                    heads,
		"proc/self/mountinfo":                              "21 1 253:0 / / ro - ext4 /dev/dm-0 ro\n22 21 253:1 / /var rw,nosuid,nodev - ext4 /dev/dm-1 rw\n23 21 0:9 / /tmp rw,nosuid - tmpfs tmpfs rw\n24 22 8:1 / /var/my\\040data rw - ext4 /dev/sda1 rw\n",
		"sys/dev/block/253:0/dm/uuid":                      "CRYPT-VERITY-ab-root\n",
		"sys/dev/block/253:0/slaves/sda2/size":             "1\n",
		"sys/dev/block/253:1/dm/uuid":                      "LVM-xyz\n",
		"sys/dev/block/253:1/slaves/dm-2/dm/uuid":          "CRYPT-LUKS2-cd-pv\n",
		"sys/dev/block/253:1/slaves/dm-2/slaves/sda3/size": "1\n",
		"sys/dev/block/8:1/size":                           "1\n",
		"sys/class/block/sda4/size":                        "1\n",
		"proc/swaps":                                       "Filename Type Size Used Priority\n",
		"proc/uptime":                                      "259300.10 1.0\n",
		"etc/passwd":                                       "root:x:0:0:r:/root:/bin/sh\ntoor:x:0:0::/:/bin/sh\nguest::100:100::/:/bin/sh\n",
		"etc/shadow":                                       "root:!:1::::::\nweb::1::::::\n",
		"etc/ssh/sshd_config":                              "Include /etc/ssh/sshd_config.d/*.conf\nPermitRootLogin yes\nPasswordAuthentication no\n",
		"etc/ssh/sshd_config.d/10.conf":                    "PermitRootLogin no\n",
		"run/systemd/system/x":                             "x",
		"etc/systemd/system/getty.target.wants/serial-getty@ttyS0.service": "x",
		"sys/bus/usb/devices/usb1/authorized_default":                      "1\n",
	}
	maps.Copy(files, changes)
	out := fstest.MapFS{}
	for name, content := range files {
		if content != "" {
			out[name] = &fstest.MapFile{Data: []byte(content)}
		}
	}
	return out
}

func read(changes map[string]string) *api.HostFacts {
	return hostfacts.Host{Root: system(changes), Data: "/var/lib/agent"}.Read()
}

func TestRead(t *testing.T) {
	f := read(nil)
	if f.Kernel.Lockdown != "integrity" || *f.Kernel.KptrRestrict != 2 || *f.Kernel.Tainted != 8192 || !*f.Kernel.ModuleSigEnforce ||
		!slices.Equal(f.Kernel.LSMs, []string{"capability", "yama", "apparmor"}) {
		t.Errorf("kernel %+v", f.Kernel)
	}
	if n := f.Network; *n.Forwards || *n.ReversePath != 1 || *n.AcceptsRedirects || *n.AcceptsSourceRoutes || *n.SYNCookies != 1 {
		t.Errorf("network %+v", n)
	}
	want := []api.SocketFact{{Protocol: "tcp", Port: 22, Scope: "any"}, {Protocol: "tcp", Port: 8080, Scope: "link"}, {Protocol: "udp", Port: 68, Scope: "any"}}
	if s := f.Sockets; !s.Known || s.Cut || !slices.Equal(s.Listening, want) {
		t.Errorf("sockets %+v", s)
	}
	if v := f.Volumes; v.Root.Backing != "verity" || !v.Root.ReadOnly || v.Data.Backing != "crypt" || v.Data.Mount != "/var" || !v.Data.NoDev ||
		v.Tmp.Backing != "memory" || v.Tmp.NoDev || v.Boot.Mount != "/" {
		t.Errorf("root %+v data %+v tmp %+v", v.Root, v.Data, v.Tmp)
	}
	if s := f.Swap; !s.Known || s.Active {
		t.Errorf("swap %+v", s)
	}
	if a := f.Accounts; !a.Known || !a.Shadow || !slices.Equal(a.Superusers, []string{"root", "toor"}) || !slices.Equal(a.Passwordless, []string{"guest", "web"}) {
		t.Errorf("accounts %+v", a)
	}
	if s := f.SSH; !s.Known || !s.Installed || s.RootLogin != "no" || s.Passwords != "no" || s.Keyboard != "yes" {
		t.Errorf("ssh %+v", s)
	}
	if c := f.Consoles; !c.Known || !slices.Equal(c.Serial, []string{"ttyS0"}) || !f.USB.Present || !f.USB.Accepts || *f.Upkeep.UptimeDays != 3 {
		t.Errorf("consoles %+v, usb %+v, upkeep %+v", c, f.USB, f.Upkeep)
	}
}

// What is not there, or is not as it should be, is not known: never good news.
func TestNothingIsKnownOfNothing(t *testing.T) {
	for name, root := range map[string]fs.FS{"empty": fstest.MapFS{}, "forbidden": forbidden{}} {
		f := hostfacts.Host{Root: root, Data: "/var", Superuser: failing, Synchronised: failing}.Read()
		if name == "empty" {
			f.SSH, f.USB.Known = api.SSHFacts{}, false // there certainly is none
			f.Network.Forwards = nil
		}
		want := api.HostFacts{
			Sockets:  api.SocketsFacts{Listening: []api.SocketFact{}},
			Accounts: api.AccountFacts{Superusers: []string{}, Passwordless: []string{}},
			Consoles: api.ConsoleFacts{Serial: []string{}},
		}
		if !reflect.DeepEqual(*f, want) {
			t.Errorf("%s: %+v", name, *f)
		}
	}
}

func failing() (bool, error) { return true, errors.New("no") }

// forbidden is a system of which nothing may be read.
type forbidden struct{}

func (forbidden) Open(name string) (fs.File, error) {
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
}

func TestVariations(t *testing.T) {
	for name, c := range map[string]struct {
		changes map[string]string
		holds   func(*api.HostFacts) bool
	}{
		"no IPv6":              {map[string]string{"proc/net/tcp6": "", "proc/net/udp6": ""}, func(f *api.HostFacts) bool { return f.Sockets.Known }},
		"no table of TCP":      {map[string]string{"proc/net/tcp": ""}, func(f *api.HostFacts) bool { return !f.Sockets.Known }},
		"a table that is cut":  {map[string]string{"proc/net/tcp": heads + "  0: 0000"}, func(f *api.HostFacts) bool { return !f.Sockets.Known }},
		"a weak interface":     {map[string]string{"proc/sys/net/ipv4/conf/eth1/rp_filter": "0", "proc/sys/net/ipv4/conf/eth1/accept_redirects": "1", "proc/sys/net/ipv4/conf/eth1/accept_source_route": "0"}, func(f *api.HostFacts) bool { return *f.Network.ReversePath == 0 && *f.Network.AcceptsRedirects }},
		"source routes":        {map[string]string{"proc/sys/net/ipv4/conf/all/accept_source_route": "1"}, func(f *api.HostFacts) bool { return *f.Network.AcceptsSourceRoutes }},
		"an unread interface":  {map[string]string{"proc/sys/net/ipv4/conf/eth0/rp_filter": "x"}, func(f *api.HostFacts) bool { return f.Network.ReversePath == nil && f.Network.AcceptsRedirects == nil }},
		"IPv6 forwards":        {map[string]string{"proc/sys/net/ipv6/conf/all/forwarding": "1"}, func(f *api.HostFacts) bool { return *f.Network.Forwards }},
		"lockdown unknown":     {map[string]string{"sys/kernel/security/lockdown": "none"}, func(f *api.HostFacts) bool { return f.Kernel.Lockdown == "" }},
		"no lockdown":          {map[string]string{"sys/kernel/security/lockdown": ""}, func(f *api.HostFacts) bool { return f.Kernel.Lockdown == "none" }},
		"half encrypted":       {map[string]string{"sys/dev/block/253:1/slaves/sdb1/size": "1"}, func(f *api.HostFacts) bool { return f.Volumes.Data.Backing == "plain" }},
		"a device not there":   {map[string]string{"proc/self/mountinfo": "1 1 9:9 / / rw - ext4 /dev/x rw\n"}, func(f *api.HostFacts) bool { return f.Volumes.Root.Backing == "" }},
		"overlay":              {map[string]string{"proc/self/mountinfo": "1 1 0:44 / / rw - overlay overlay rw\n"}, func(f *api.HostFacts) bool { return f.Volumes.Root.Backing == "" }},
		"mounted over":         {map[string]string{"proc/self/mountinfo": "1 1 8:1 / / rw - ext4 /dev/x rw\n2 1 0:5 / / rw - tmpfs t rw\n"}, func(f *api.HostFacts) bool { return f.Volumes.Root.Backing == "memory" }},
		"mounts malformed":     {map[string]string{"proc/self/mountinfo": "1 1 8:1\n"}, func(f *api.HostFacts) bool { return f.Volumes.Root == nil }},
		"plain swap":           {map[string]string{"proc/swaps": "Filename Type\n/dev/sda4 partition 1 0 -2\n"}, func(f *api.HostFacts) bool { return f.Swap.Active && !f.Swap.Encrypted }},
		"swap in a file":       {map[string]string{"proc/swaps": "Filename Type\n/var/swap file 1 0 -2\n"}, func(f *api.HostFacts) bool { return f.Swap.Active && f.Swap.Encrypted }},
		"swap in memory":       {map[string]string{"proc/swaps": "Filename Type\n/dev/zram0 partition 1 0 -2\n"}, func(f *api.HostFacts) bool { return f.Swap.Encrypted }},
		"swap on what is gone": {map[string]string{"proc/swaps": "Filename Type\n/dev/sdz partition 1 0 -2\n"}, func(f *api.HostFacts) bool { return !f.Swap.Known }},
		"no shadow":            {map[string]string{"etc/shadow": ""}, func(f *api.HostFacts) bool { return f.Accounts.Known && !f.Accounts.Shadow }},
		"match block":          {map[string]string{"etc/ssh/sshd_config.d/10.conf": "PermitRootLogin no\nMatch Address 10.0.0.0/8\n  PermitRootLogin without-password\n"}, func(f *api.HostFacts) bool { return f.SSH.RootLogin == "prohibit-password" }},
		"match ends with file": {map[string]string{"etc/ssh/sshd_config.d/10.conf": "Match User x\n"}, func(f *api.HostFacts) bool { return f.SSH.RootLogin == "yes" }},
		"old name":             {map[string]string{"etc/ssh/sshd_config": "ChallengeResponseAuthentication=no # why\n"}, func(f *api.HostFacts) bool { return f.SSH.Keyboard == "no" && f.SSH.Passwords == "yes" }},
		"includes itself":      {map[string]string{"etc/ssh/sshd_config": "Include sshd_config\n"}, func(f *api.HostFacts) bool { return !f.SSH.Known }},
		"another SSH server":   {map[string]string{"etc/ssh/sshd_config": "", "usr/sbin/dropbear": "x"}, func(f *api.HostFacts) bool { return !f.SSH.Known }},
		"no SSH server":        {map[string]string{"etc/ssh/sshd_config": ""}, func(f *api.HostFacts) bool { return f.SSH.Known && !f.SSH.Installed }},
		"inittab":              {map[string]string{"etc/systemd/system/getty.target.wants/serial-getty@ttyS0.service": "", "etc/inittab": "# ttyS9 getty\nttyAMA0::respawn:/sbin/getty -L ttyAMA0 115200\ntty1::respawn:/sbin/getty\n"}, func(f *api.HostFacts) bool { return slices.Equal(f.Consoles.Serial, []string{"ttyAMA0"}) }},
		"USB guarded":          {map[string]string{"sys/bus/usb/devices/usb1/authorized_default": "2"}, func(f *api.HostFacts) bool { return f.USB.Known && !f.USB.Accepts }},
		"a file without end":   {map[string]string{"etc/passwd": strings.Repeat("x", 2<<20)}, func(f *api.HostFacts) bool { return !f.Accounts.Known }},
	} {
		if f := read(c.changes); !c.holds(f) {
			t.Errorf("%s: %+v", name, *f)
		}
	}
}

// Of this machine only the form is known, and that reading it twice says the same.
func TestLocal(t *testing.T) {
	h := hostfacts.Local(t.TempDir())
	if h == nil {
		t.Skip("NOT TESTED: facts of the host are read on Linux only")
	}
	f := h.Read()
	if f.Agent.Root == nil || f.Volumes.Data == nil || f.Upkeep.FreePercent == nil || !f.Sockets.Known {
		t.Errorf("%+v", *f)
	}
}

// FuzzRead: nothing in a file makes the agent fail, and lists stay bounded.
func FuzzRead(f *testing.F) {
	for _, name := range []string{"proc/net/tcp", "proc/self/mountinfo", "proc/swaps", "etc/passwd", "etc/ssh/sshd_config", "etc/inittab", "sys/kernel/security/lockdown"} {
		content, err := fs.ReadFile(system(map[string]string{"etc/inittab": "ttyS0::respawn:/sbin/getty\n"}), name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(name, string(content))
	}
	f.Fuzz(func(t *testing.T, name, content string) {
		if !fs.ValidPath(name) {
			return
		}
		r := read(map[string]string{name: content})
		if len(r.Sockets.Listening) > 256 || len(r.Accounts.Superusers) > 16 || len(r.Accounts.Passwordless) > 16 || len(r.Consoles.Serial) > 16 || len(r.Kernel.LSMs) > 16 {
			t.Errorf("%+v", *r)
		}
	})
}
