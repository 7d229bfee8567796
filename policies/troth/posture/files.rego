# Which files ran, and that the list of them is of this very boot.
package troth.posture

import data.troth.lib

# METADATA
# title: No unknown files
# description: >-
#   Every file that IMA measured since boot is in the release's allow-list or
#   signed with one of its keys. Where the release has neither, this says nothing,
#   unless config.ima.require_allow_list is true.
# scope: rule
# custom:
#   id: ima-known-files
#   theme: runtime integrity
#   severity: high
#   remediation: none
#   evidence: proven
#   frameworks:
#     NIST SP 800-213A: ["Device Security"]
#     NIST SP 800-193: ["4.3"]
#     IEC 62443-4-2: ["CR 3.4", "EDR 3.2"]
#     ETSI EN 303 645: ["5.7-2"]
#     EU CRA: ["Annex I Part I (2)(f)"]
controls contains lib.control(rego.metadata.rule(), ima_known_files)

ima_known_files := lib.undecided("The setting config.ima.require_allow_list cannot be used.") if {
	not allow_list_setting
} else := {"outcome": "fail", "reason": "Files were not judged: the device proves no release that has an allow-list or IMA keys, or sent no IMA list."} if {
	proven
	allow_list_required == true
	input.attestation.ima.judged_by == ""
} else := {"outcome": "not_applicable", "reason": "Files were not judged: the release has no allow-list and no IMA keys."} if {
	allow_list_required == false
	not judged
} else := unproven if {
	not proven
} else := lib.fail(sprintf("%s that nothing vouches for, for one %s.", [
	lib.counted(input.attestation.ima.unknown, "file ran", "files ran"),
	lib.quoted(input.attestation.ima.unknown_files[0].name),
])) if {
	input.attestation.ima.unknown > 0
} else := lib.fail(sprintf("%s that nothing vouches for.", [lib.counted(input.attestation.ima.unknown, "file ran", "files ran")])) if {
	input.attestation.ima.unknown > 0
} else := {"outcome": "pass", "reason": "The release vouches for every file that IMA measured."} if {
	input.attestation.ima.replayed == true
	input.attestation.ima.unknown == 0
	judged
} else := missing

allow_list_required := lib.setting_boolean("ima", "require_allow_list", false)

allow_list_setting if is_boolean(allow_list_required)

judged if {
	is_string(input.attestation.ima.judged_by)
	input.attestation.ima.judged_by != ""
}

# METADATA
# title: IMA list of this boot
# description: >-
#   The first entry of the IMA list, boot_aggregate, is the hash of the quoted
#   PCRs: firmware, boot loader and list are of one boot. Asked for by
#   config.ima.require_boot_aggregate, because a kernel that computes it with
#   SHA-1 shows nothing that the quote covers.
# scope: rule
# custom:
#   id: ima-boot-aggregate
#   theme: runtime integrity
#   severity: medium
#   remediation: none
#   evidence: proven
#   frameworks:
#     NIST SP 800-213A: ["Device Security"]
#     NIST SP 800-193: ["4.3"]
#     IEC 62443-4-2: ["CR 3.4"]
controls contains lib.control(rego.metadata.rule(), ima_boot_aggregate)

ima_boot_aggregate := lib.undecided("The setting config.ima.require_boot_aggregate cannot be used.") if {
	not boot_aggregate_setting
} else := {"outcome": "not_applicable", "reason": "boot_aggregate is not asked for (config.ima.require_boot_aggregate)."} if {
	boot_aggregate_required == false
} else := unproven if {
	not proven
} else := {"outcome": "fail", "reason": "Without an IMA list there is no boot_aggregate."} if {
	input.attestation.ima.given == false
} else := {"outcome": "pass", "reason": "boot_aggregate is the hash of the quoted PCRs."} if {
	input.attestation.ima.replayed == true
	input.attestation.ima.boot_aggregate == "verified"
} else := {"outcome": "fail", "reason": "boot_aggregate is not the hash of the quoted PCRs."} if {
	input.attestation.ima.boot_aggregate == "mismatch"
} else := {"outcome": "fail", "reason": "The IMA list does not begin with boot_aggregate."} if {
	input.attestation.ima.boot_aggregate == "absent"
} else := {"outcome": "fail", "reason": "boot_aggregate is of PCRs that the quote does not cover."} if {
	input.attestation.ima.boot_aggregate == "unknown"
} else := missing

boot_aggregate_required := lib.setting_boolean("ima", "require_boot_aggregate", false)

boot_aggregate_setting if is_boolean(boot_aggregate_required)
