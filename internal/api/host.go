package api

// HostFacts is what an agent reads of its own system. What it could not read it
// leaves out: a fact that is not there is not known. Policies see it as
// policy.HostInput, which has the same form and says what each fact means.
type HostFacts struct {
	Agent    AgentFacts   `json:"agent"`
	Kernel   KernelFacts  `json:"kernel"`
	Network  NetworkFacts `json:"network"`
	Volumes  VolumeFacts  `json:"volumes"`
	Swap     SwapFacts    `json:"swap"`
	Accounts AccountFacts `json:"accounts"`
	SSH      SSHFacts     `json:"ssh"`
	Consoles ConsoleFacts `json:"consoles"`
	USB      USBFacts     `json:"usb"`
	Upkeep   UpkeepFacts  `json:"upkeep"`
	Sockets  SocketsFacts `json:"sockets"`
}

// AgentFacts are of the agent itself.
type AgentFacts struct {
	Version string `json:"version,omitempty"`
	Root    *bool  `json:"root,omitempty"` // it runs with the effective user id 0
}

// KernelFacts are the kernel's protections of itself: sysctls by their last name,
// and what securityfs says.
type KernelFacts struct {
	Release  string `json:"release,omitempty"`
	Lockdown string `json:"lockdown,omitempty"` // none, integrity, confidentiality (kernel_lockdown(7))
	// LSMs are the active security modules, in order; nil: not known.
	LSMs             []string `json:"lsms,omitempty"`
	Tainted          *uint64  `json:"tainted,omitempty"` // bits of kernel.tainted (Documentation/admin-guide/tainted-kernels)
	KptrRestrict     *int     `json:"kptr_restrict,omitempty"`
	DmesgRestrict    *int     `json:"dmesg_restrict,omitempty"`
	UnprivilegedBPF  *int     `json:"unprivileged_bpf_disabled,omitempty"`
	PtraceScope      *int     `json:"ptrace_scope,omitempty"` // kernel.yama
	KexecDisabled    *int     `json:"kexec_load_disabled,omitempty"`
	ModulesDisabled  *int     `json:"modules_disabled,omitempty"`
	ModuleSigEnforce *bool    `json:"module_sig_enforce,omitempty"`
	RandomizeVA      *int     `json:"randomize_va_space,omitempty"`
	SuidDumpable     *int     `json:"suid_dumpable,omitempty"` // fs.suid_dumpable
	SysRq            *int     `json:"sysrq,omitempty"`
	CorePattern      string   `json:"core_pattern,omitempty"`
}

// NetworkFacts are how the kernel treats packets. Where it has a value for all
// interfaces and one for each, they are what together takes effect on the weakest
// interface other than the loopback one (Documentation/networking/ip-sysctl).
type NetworkFacts struct {
	Forwards            *bool `json:"forwards,omitempty"`              // IPv4 or IPv6
	ReversePath         *int  `json:"reverse_path,omitempty"`          // rp_filter: 0 off, 1 strict, 2 loose
	AcceptsRedirects    *bool `json:"accepts_redirects,omitempty"`     // ICMP redirects, IPv4 or IPv6
	AcceptsSourceRoutes *bool `json:"accepts_source_routes,omitempty"` // IPv4
	SYNCookies          *int  `json:"syn_cookies,omitempty"`
}

// SocketsFacts are the sockets that wait for others, on any interface but the
// loopback one.
type SocketsFacts struct {
	Known bool `json:"known"`
	Cut   bool `json:"cut"` // there are more than what is here
	// Listening are those of TCP that listen, and those of UDP that are bound to a
	// port outside of the ephemeral range and to no peer. Sorted, each once.
	Listening []SocketFact `json:"listening"`
}

// SocketFact is one such socket.
type SocketFact struct {
	Protocol string `json:"protocol"` // tcp, udp
	Port     int    `json:"port"`
	Scope    string `json:"scope"` // link (link-local); address (one address of the device); any
}

// VolumeFacts are the file systems that hold the directories that matter.
type VolumeFacts struct {
	Root *VolumeFact `json:"root,omitempty"` // /
	Tmp  *VolumeFact `json:"tmp,omitempty"`  // /tmp
	Boot *VolumeFact `json:"boot,omitempty"` // /boot
	Data *VolumeFact `json:"data,omitempty"` // the agent's state directory
}

// VolumeFact is the mounted file system that holds a directory.
type VolumeFact struct {
	Mount      string `json:"mount"`      // where it is mounted
	Filesystem string `json:"filesystem"` // its type
	ReadOnly   bool   `json:"read_only"`
	NoSUID     bool   `json:"nosuid"`
	NoDev      bool   `json:"nodev"`
	NoExec     bool   `json:"noexec"`
	// Backing is what it is on: plain, crypt (dm-crypt), verity (dm-verity),
	// crypt_verity (both), memory. Empty: it could not be found out.
	Backing string `json:"backing,omitempty"`
}

// SwapFacts say where memory may be written to.
type SwapFacts struct {
	Known     bool `json:"known"`
	Active    bool `json:"active"`
	Encrypted bool `json:"encrypted"` // every active area is on dm-crypt, or in memory
}

// AccountFacts are of /etc/passwd and /etc/shadow.
type AccountFacts struct {
	Known bool `json:"known"` // passwd was read
	// Superusers are the accounts with user id 0; Passwordless those that need no
	// password. At most 16 each.
	Superusers   []string `json:"superusers"`
	Passwordless []string `json:"passwordless"`
	Shadow       bool     `json:"shadow"` // shadow was read as well, or passwd refers to none
}

// SSHFacts are of an OpenSSH server's configuration: the weakest value of each
// setting, also of those in Match blocks. Other servers are not known of.
type SSHFacts struct {
	Known     bool   `json:"known"`
	Installed bool   `json:"installed"`
	RootLogin string `json:"permit_root_login,omitempty"` // yes, prohibit-password, forced-commands-only, no
	Passwords string `json:"password_authentication,omitempty"`
	Keyboard  string `json:"kbd_interactive_authentication,omitempty"`
}

// ConsoleFacts say where one can log in at the device itself.
type ConsoleFacts struct {
	Known  bool     `json:"known"`
	Serial []string `json:"serial"` // serial lines with a login, at most 16
}

// USBFacts say whether a device that is plugged in is let in.
type USBFacts struct {
	Known   bool `json:"known"`
	Present bool `json:"present"` // there is a USB controller
	Accepts bool `json:"accepts"` // at least one lets every device in
}

// UpkeepFacts say whether the device can be kept running.
type UpkeepFacts struct {
	TimeSynchronised *bool `json:"time_synchronised,omitempty"` // adjtimex(2)
	UptimeDays       *int  `json:"uptime_days,omitempty"`
	FreePercent      *int  `json:"free_percent,omitempty"` // of the agent's file system, for whoever is not root
}
