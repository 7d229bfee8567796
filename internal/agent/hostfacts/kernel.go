package hostfacts

import (
	"strconv"
	"strings"

	"troth/internal/api"
)

func (h Host) kernel() api.KernelFacts {
	k := api.KernelFacts{
		KptrRestrict:    h.number("proc/sys/kernel/kptr_restrict"),
		DmesgRestrict:   h.number("proc/sys/kernel/dmesg_restrict"),
		UnprivilegedBPF: h.number("proc/sys/kernel/unprivileged_bpf_disabled"),
		PtraceScope:     h.number("proc/sys/kernel/yama/ptrace_scope"),
		KexecDisabled:   h.number("proc/sys/kernel/kexec_load_disabled"),
		ModulesDisabled: h.number("proc/sys/kernel/modules_disabled"),
		RandomizeVA:     h.number("proc/sys/kernel/randomize_va_space"),
		SuidDumpable:    h.number("proc/sys/fs/suid_dumpable"),
		SysRq:           h.number("proc/sys/kernel/sysrq"),
		Lockdown:        h.lockdown(),
	}
	if text, err := h.text("proc/sys/kernel/osrelease"); err == nil {
		k.Release = short(text)
	}
	if text, err := h.text("proc/sys/kernel/core_pattern"); err == nil {
		k.CorePattern = short(text)
	}
	if text, err := h.text("proc/sys/kernel/tainted"); err == nil {
		k.Tainted = known(strconv.ParseUint(text, 10, 64))
	}
	if text, err := h.text("sys/module/module/parameters/sig_enforce"); err == nil && (text == "Y" || text == "N") {
		enforce := text == "Y"
		k.ModuleSigEnforce = &enforce
	}
	if text, err := h.text("sys/kernel/security/lsm"); err == nil && text != "" {
		k.LSMs = names(strings.Split(text, ","))
	}
	return k
}

// lockdown is the word in brackets: none [integrity] confidentiality. A kernel
// whose securityfs is there without the file has none.
func (h Host) lockdown() string {
	text, err := h.text("sys/kernel/security/lockdown")
	if err != nil {
		if h.missing("sys/kernel/security/lockdown") && !h.missing("sys/kernel/security/lsm") {
			return "none"
		}
		return ""
	}
	_, after, _ := strings.Cut(text, "[")
	word, _, closed := strings.Cut(after, "]")
	if !closed {
		return ""
	}
	return short(word)
}

// names are the first of the words, each cut short.
func names(words []string) []string {
	out := make([]string, min(len(words), maxNames))
	for i := range out {
		out[i] = short(words[i])
	}
	return out
}

// usb looks at every root hub: what is plugged in below is let in or not as it
// says (Documentation/usb/authorization).
func (h Host) usb() api.USBFacts {
	hubs, err := h.list("sys/bus/usb/devices")
	if err != nil {
		return api.USBFacts{Known: h.missing("sys/bus/usb") && !h.missing("sys/bus")}
	}
	u := api.USBFacts{Known: true}
	for _, name := range hubs {
		if !strings.HasPrefix(name, "usb") {
			continue
		}
		u.Present = true
		value := h.number("sys/bus/usb/devices/" + name + "/authorized_default")
		if value == nil {
			return api.USBFacts{}
		}
		// 0 lets in none, 2 those that are built in.
		u.Accepts = u.Accepts || *value != 0 && *value != 2
	}
	return u
}

// consoles finds logins on serial lines: systemd's units, and inittab.
func (h Host) consoles() api.ConsoleFacts {
	c := api.ConsoleFacts{Serial: []string{}}
	for _, dir := range []string{"run/systemd/generator", "etc/systemd/system", "run/systemd/system", "usr/lib/systemd/system"} {
		units, err := h.list(dir + "/getty.target.wants")
		if err != nil && !h.missing(dir+"/getty.target.wants") {
			return api.ConsoleFacts{Serial: []string{}} // it is there, and not for us
		}
		for _, unit := range units {
			if line, ok := strings.CutPrefix(unit, "serial-getty@"); ok {
				c.Serial = append(c.Serial, strings.TrimSuffix(line, ".service"))
			}
		}
	}
	inittab, err := h.text("etc/inittab")
	if err != nil && !h.missing("etc/inittab") {
		return api.ConsoleFacts{Serial: []string{}}
	}
	for line := range strings.Lines(inittab) {
		if l := strings.TrimSpace(line); strings.HasPrefix(l, "#") || !strings.Contains(l, "getty") && !strings.Contains(l, "login") {
			continue
		}
		for _, word := range strings.FieldsFunc(line, func(r rune) bool { return strings.ContainsRune(" \t\n:/", r) }) {
			if serialLine(word) {
				c.Serial = append(c.Serial, word)
				break
			}
		}
	}
	// Without either init system nothing says where one can log in.
	c.Known = inittab != "" || !h.missing("run/systemd/system")
	c.Serial = sortedOnce(c.Serial)
	return c
}

// serialLine reports whether a terminal is a serial one (Documentation/admin-guide/devices).
func serialLine(name string) bool {
	for _, prefix := range []string{"ttyS", "ttyAMA", "ttymxc", "ttyO", "ttyUSB", "ttyACM", "ttyGS", "ttyPS", "ttySC", "ttyMSM", "ttyLP", "ttyHS", "hvc"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}
