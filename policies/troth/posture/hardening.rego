# How the kernel and the file systems keep what runs on the device from harming it.
# All of it is in the device's own words: a pass says that the device is configured
# so if nobody has taken it over.
package troth.posture

import data.troth.lib

# METADATA
# title: Kernel addresses hidden
# description: >-
#   The kernel shows no addresses of its own (kernel.kptr_restrict is 1 or 2),
#   which exploits need to find their way.
# scope: rule
# custom:
#   id: kernel-addresses-hidden
#   theme: configuration hardening
#   severity: low
#   remediation: none
#   evidence: reported
#   frameworks:
#     EU CRA: ["Annex I Part I (2)(k)"]
#     IEC 62443-4-2: ["CR 7.6"]
#     NIST SP 800-213A: ["Device Security"]
controls contains lib.control(rego.metadata.rule(), kernel_addresses_hidden)

kernel_addresses_hidden := {"outcome": "pass", "reason": "The device reports that the kernel hides its addresses."} if {
	proven
	input.host.kernel.kptr_restrict in {1, 2}
} else := {"outcome": "fail", "reason": "The device reports that the kernel shows its addresses (kernel.kptr_restrict is 0)."} if {
	input.host.kernel.kptr_restrict == 0
} else := unreported

# METADATA
# title: Kernel log restricted
# description: >-
#   Only privileged processes read the kernel's log (kernel.dmesg_restrict).
# scope: rule
# custom:
#   id: kernel-log-restricted
#   theme: configuration hardening
#   severity: low
#   remediation: none
#   evidence: reported
#   frameworks:
#     EU CRA: ["Annex I Part I (2)(k)"]
#     IEC 62443-4-2: ["CR 7.6"]
#     NIST SP 800-213A: ["Device Security"]
controls contains lib.control(rego.metadata.rule(), kernel_log_restricted)

kernel_log_restricted := {"outcome": "pass", "reason": "The device reports that its kernel log is for privileged processes only."} if {
	proven
	input.host.kernel.dmesg_restrict == 1
} else := {"outcome": "fail", "reason": "The device reports that every process can read the kernel log (kernel.dmesg_restrict is 0)."} if {
	input.host.kernel.dmesg_restrict == 0
} else := unreported

# METADATA
# title: BPF for privileged processes only
# description: >-
#   Unprivileged processes load no BPF programs into the kernel
#   (kernel.unprivileged_bpf_disabled is 1 or 2), a frequent way into it.
# scope: rule
# custom:
#   id: bpf-restricted
#   theme: configuration hardening
#   severity: medium
#   remediation: none
#   evidence: reported
#   frameworks:
#     EU CRA: ["Annex I Part I (2)(j)", "Annex I Part I (2)(k)"]
#     IEC 62443-4-2: ["CR 7.6"]
#     NIST SP 800-213A: ["Device Security"]
controls contains lib.control(rego.metadata.rule(), bpf_restricted)

bpf_restricted := {"outcome": "pass", "reason": "The device reports that unprivileged processes load no BPF programs."} if {
	proven
	input.host.kernel.unprivileged_bpf_disabled in {1, 2}
} else := {"outcome": "fail", "reason": "The device reports that every process can load BPF programs (kernel.unprivileged_bpf_disabled is 0)."} if {
	input.host.kernel.unprivileged_bpf_disabled == 0
} else := unreported

# METADATA
# title: Processes cannot read each other
# description: >-
#   A process attaches to no other but its children (kernel.yama.ptrace_scope is
#   at least 1), so that one that was taken over does not read the secrets of the
#   next.
# scope: rule
# custom:
#   id: ptrace-restricted
#   theme: configuration hardening
#   severity: medium
#   remediation: none
#   evidence: reported
#   frameworks:
#     EU CRA: ["Annex I Part I (2)(k)"]
#     IEC 62443-4-2: ["CR 7.6"]
#     NIST SP 800-213A: ["Device Security"]
controls contains lib.control(rego.metadata.rule(), ptrace_restricted)

ptrace_restricted := {"outcome": "pass", "reason": "The device reports that processes cannot attach to each other."} if {
	proven
	input.host.kernel.ptrace_scope in {1, 2, 3}
} else := {"outcome": "fail", "reason": "The device reports that processes of a user can read each other's memory (kernel.yama.ptrace_scope is 0)."} if {
	input.host.kernel.ptrace_scope == 0
} else := unreported

# METADATA
# title: Addresses randomised
# description: >-
#   Programs are loaded at random addresses, heap included
#   (kernel.randomize_va_space is 2).
# scope: rule
# custom:
#   id: address-space-randomised
#   theme: configuration hardening
#   severity: medium
#   remediation: none
#   evidence: reported
#   frameworks:
#     EU CRA: ["Annex I Part I (2)(k)"]
#     NIST SP 800-213A: ["Device Security"]
controls contains lib.control(rego.metadata.rule(), address_space_randomised)

address_space_randomised := {"outcome": "pass", "reason": "The device reports that addresses are fully randomised."} if {
	proven
	input.host.kernel.randomize_va_space == 2
} else := {"outcome": "fail", "reason": "The device reports that addresses are not fully randomised (kernel.randomize_va_space is not 2)."} if {
	input.host.kernel.randomize_va_space in {0, 1}
} else := unreported

# METADATA
# title: No core dumps of privileged programs
# description: >-
#   Programs that run with more rights than who starts them leave no core dump
#   that others could read (fs.suid_dumpable is 0 or 2).
# scope: rule
# custom:
#   id: privileged-dumps-off
#   theme: configuration hardening
#   severity: low
#   remediation: none
#   evidence: reported
#   frameworks:
#     EU CRA: ["Annex I Part I (2)(e)"]
#     IEC 62443-4-2: ["CR 4.1"]
#     NIST SP 800-213A: ["Data Protection"]
controls contains lib.control(rego.metadata.rule(), privileged_dumps_off)

privileged_dumps_off := {"outcome": "pass", "reason": "The device reports that privileged programs leave no core dumps for others."} if {
	proven
	input.host.kernel.suid_dumpable in {0, 2}
} else := {"outcome": "fail", "reason": "The device reports that privileged programs leave core dumps for everybody (fs.suid_dumpable is 1)."} if {
	input.host.kernel.suid_dumpable == 1
} else := unreported

# METADATA
# title: Magic SysRq restricted
# description: >-
#   Keys at a console do not dump memory or end processes: kernel.sysrq allows at
#   most sync, remount and reboot (bits 16, 32, 128).
# scope: rule
# custom:
#   id: sysrq-restricted
#   theme: configuration hardening
#   severity: low
#   remediation: none
#   evidence: reported
#   frameworks:
#     EU CRA: ["Annex I Part I (2)(j)"]
#     IEC 62443-4-2: ["EDR 2.13"]
#     ETSI EN 303 645: ["5.6-4"]
#     NIST SP 800-213A: ["Logical Access to Interfaces"]
controls contains lib.control(rego.metadata.rule(), sysrq_restricted)

sysrq_restricted := {"outcome": "pass", "reason": "The device reports that its consoles offer at most sync, remount and reboot."} if {
	proven
	sysrq_others == 0
} else := {"outcome": "fail", "reason": "The device reports that its consoles offer more than sync, remount and reboot (kernel.sysrq)."} if {
	sysrq_others > 0
} else := unreported

# METADATA
# description: What kernel.sysrq allows besides; 1 alone stands for everything.
sysrq_others := input.host.kernel.sysrq - bits.and(input.host.kernel.sysrq, 176)

# METADATA
# title: Temporary files cannot bring privileges
# description: >-
#   /tmp is a file system of its own, without set-user-id programs and device
#   files (nosuid, nodev).
# scope: rule
# custom:
#   id: tmp-hardened
#   theme: configuration hardening
#   severity: low
#   remediation: none
#   evidence: reported
#   frameworks:
#     EU CRA: ["Annex I Part I (2)(k)"]
#     IEC 62443-4-2: ["CR 7.6"]
#     NIST SP 800-213A: ["Device Security"]
controls contains lib.control(rego.metadata.rule(), tmp_hardened)

tmp_hardened := {"outcome": "pass", "reason": "The device reports that /tmp is apart, with nosuid and nodev."} if {
	proven
	input.host.volumes.tmp.mount == "/tmp"
	input.host.volumes.tmp.nosuid == true
	input.host.volumes.tmp.nodev == true
} else := {"outcome": "fail", "reason": "The device reports that /tmp is not apart, or lacks nosuid or nodev."} if {
	is_string(input.host.volumes.tmp.mount)
} else := unreported

# METADATA
# title: USB devices are not let in by themselves
# description: >-
#   No USB controller lets in what is plugged in (authorized_default is 0 or 2),
#   or there is none.
# scope: rule
# custom:
#   id: usb-guarded
#   theme: configuration hardening
#   severity: low
#   remediation: none
#   evidence: reported
#   frameworks:
#     EU CRA: ["Annex I Part I (2)(j)"]
#     IEC 62443-4-2: ["CR 7.7"]
#     ETSI EN 303 645: ["5.6-3"]
#     NISTIR 8259A: ["Logical Access to Interfaces"]
#     NIST SP 800-213A: ["Logical Access to Interfaces"]
controls contains lib.control(rego.metadata.rule(), usb_guarded)

usb_guarded := {"outcome": "pass", "reason": "The device reports that nothing plugged into USB is let in by itself."} if {
	proven
	input.host.usb.known == true
	input.host.usb.accepts == false
} else := {"outcome": "fail", "reason": "The device reports that whatever is plugged into USB is let in."} if {
	input.host.usb.known == true
	input.host.usb.accepts == true
} else := unreported

# METADATA
# title: No login on serial lines
# description: >-
#   No serial line of the device offers a login. Whoever opens the case would find
#   it.
# scope: rule
# custom:
#   id: serial-login-off
#   theme: configuration hardening
#   severity: medium
#   remediation: none
#   evidence: reported
#   frameworks:
#     EU CRA: ["Annex I Part I (2)(d)", "Annex I Part I (2)(j)"]
#     IEC 62443-4-2: ["EDR 2.13"]
#     ETSI EN 303 645: ["5.6-4"]
#     NISTIR 8259A: ["Logical Access to Interfaces"]
#     NIST SP 800-213A: ["Logical Access to Interfaces"]
controls contains lib.control(rego.metadata.rule(), serial_login_off)

serial_login_off := {"outcome": "pass", "reason": "The device reports no login on a serial line."} if {
	proven
	input.host.consoles.known == true
	count(input.host.consoles.serial) == 0
} else := lib.fail(sprintf("The device reports a login on %s.", [lib.listed([lib.quoted(line) | some line in input.host.consoles.serial])])) if {
	input.host.consoles.known == true
	count(input.host.consoles.serial) > 0
} else := unreported
