# Whether the kernel that was measured can be changed while it runs. In the device's
# own words, because the kernel does not measure it.
package troth.posture

import data.troth.lib

# METADATA
# title: Kernel locked down
# description: >-
#   Not even root changes the running kernel: lockdown is in the mode integrity or
#   confidentiality (kernel_lockdown(7)).
# scope: rule
# custom:
#   id: kernel-lockdown
#   theme: runtime integrity
#   severity: medium
#   remediation: none
#   evidence: reported
#   frameworks:
#     EU CRA: ["Annex I Part I (2)(f)", "Annex I Part I (2)(k)"]
#     IEC 62443-4-2: ["CR 3.4"]
#     NIST SP 800-213A: ["Device Security"]
controls contains lib.control(rego.metadata.rule(), kernel_lockdown)

kernel_lockdown := {"outcome": "pass", "reason": "The device reports that its kernel is locked down."} if {
	proven
	input.host.kernel.lockdown in {"integrity", "confidentiality"}
} else := {"outcome": "fail", "reason": "The device reports that its kernel is not locked down."} if {
	input.host.kernel.lockdown == "none"
} else := unreported

# METADATA
# title: Kernel modules signed
# description: >-
#   The kernel loads signed modules only, or none any more: module.sig_enforce,
#   kernel.modules_disabled, or lockdown.
# scope: rule
# custom:
#   id: kernel-modules-signed
#   theme: runtime integrity
#   severity: medium
#   remediation: none
#   evidence: reported
#   frameworks:
#     EU CRA: ["Annex I Part I (2)(f)"]
#     IEC 62443-4-2: ["CR 3.4", "EDR 3.2"]
#     NIST SP 800-213A: ["Device Security"]
controls contains lib.control(rego.metadata.rule(), kernel_modules_signed)

kernel_modules_signed := {"outcome": "pass", "reason": "The device reports that only signed kernel modules are loaded, or none."} if {
	proven
	modules_bound
} else := {"outcome": "fail", "reason": "The device reports that unsigned kernel modules can be loaded."} if {
	input.host.kernel.module_sig_enforce == false
	input.host.kernel.modules_disabled == 0
	input.host.kernel.lockdown == "none"
} else := unreported

modules_bound if input.host.kernel.module_sig_enforce == true

modules_bound if input.host.kernel.modules_disabled == 1

modules_bound if input.host.kernel.lockdown in {"integrity", "confidentiality"}

# METADATA
# title: Kernel not tainted by modules
# description: >-
#   Since it started, the kernel has loaded no unsigned module and none by force,
#   and removed none by force (bits 1, 3 and 13 of kernel.tainted).
# scope: rule
# custom:
#   id: kernel-untainted
#   theme: runtime integrity
#   severity: medium
#   remediation: none
#   evidence: reported
#   frameworks:
#     EU CRA: ["Annex I Part I (2)(f)", "Annex I Part I (2)(l)"]
#     IEC 62443-4-2: ["CR 3.4"]
#     NISTIR 8259A: ["Cybersecurity State Awareness"]
#     NIST SP 800-213A: ["Cybersecurity State Awareness"]
controls contains lib.control(rego.metadata.rule(), kernel_untainted)

kernel_untainted := {"outcome": "pass", "reason": "The device reports that its kernel has loaded no unsigned module, and none by force."} if {
	proven
	taint == 0
} else := {"outcome": "fail", "reason": "The device reports that its kernel has loaded an unsigned module, or one by force."} if {
	taint > 0
} else := unreported

taint := bits.and(input.host.kernel.tainted, 8202)

# METADATA
# title: No other kernel started from this one
# description: >-
#   The running kernel starts no other in its place, which nothing would measure
#   (kernel.kexec_load_disabled is 1).
# scope: rule
# custom:
#   id: kexec-disabled
#   theme: runtime integrity
#   severity: medium
#   remediation: none
#   evidence: reported
#   frameworks:
#     EU CRA: ["Annex I Part I (2)(f)", "Annex I Part I (2)(j)"]
#     IEC 62443-4-2: ["CR 3.4"]
#     NIST SP 800-213A: ["Device Security"]
controls contains lib.control(rego.metadata.rule(), kexec_disabled)

kexec_disabled := {"outcome": "pass", "reason": "The device reports that no other kernel can be started from this one."} if {
	proven
	input.host.kernel.kexec_load_disabled == 1
} else := {"outcome": "fail", "reason": "The device reports that another kernel can be started from this one (kernel.kexec_load_disabled is 0)."} if {
	input.host.kernel.kexec_load_disabled == 0
} else := unreported

# METADATA
# title: Mandatory access control
# description: >-
#   A security module confines programs: SELinux, AppArmor, Smack or TOMOYO is
#   active.
# scope: rule
# custom:
#   id: mandatory-access-control
#   theme: runtime integrity
#   severity: low
#   remediation: none
#   evidence: reported
#   frameworks:
#     EU CRA: ["Annex I Part I (2)(d)", "Annex I Part I (2)(k)"]
#     IEC 62443-4-2: ["CR 2.1"]
#     ETSI EN 303 645: ["5.6-7"]
#     NIST SP 800-213A: ["Device Security"]
controls contains lib.control(rego.metadata.rule(), mandatory_access_control)

mandatory_access_control := {"outcome": "pass", "reason": "The device reports an active security module that confines programs."} if {
	proven
	count(confining) > 0
} else := {"outcome": "fail", "reason": "The device reports no active security module that confines programs."} if {
	count(input.host.kernel.lsms) > 0
} else := unreported

confining := {name | some name in input.host.kernel.lsms; name in {"selinux", "apparmor", "smack", "tomoyo"}}
