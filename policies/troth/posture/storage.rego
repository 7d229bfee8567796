# What is on the device's storage, for whoever takes it out. In the device's own
# words.
package troth.posture

import data.troth.lib

# METADATA
# title: Root file system tamper-proof
# description: >-
#   The root file system is verified block by block as it is read (dm-verity), or
#   was loaded into memory by a measured boot. An allow-list for IMA proves more.
# scope: rule
# custom:
#   id: root-tamper-proof
#   theme: data protection
#   severity: medium
#   remediation: none
#   evidence: reported
#   frameworks:
#     EU CRA: ["Annex I Part I (2)(f)"]
#     IEC 62443-4-2: ["CR 3.4"]
#     NIST SP 800-213A: ["Device Security"]
controls contains lib.control(rego.metadata.rule(), root_tamper_proof)

root_tamper_proof := {"outcome": "pass", "reason": "The device reports that its root file system is verified as it is read, or in memory."} if {
	proven
	input.host.volumes.root.backing in {"verity", "crypt_verity", "memory"}
} else := {"outcome": "fail", "reason": "The device reports a root file system that nothing verifies."} if {
	input.host.volumes.root.backing in {"plain", "crypt"}
} else := unreported

# METADATA
# title: Data encrypted at rest
# description: >-
#   The file system that holds the agent's state is encrypted (dm-crypt), or in
#   memory.
# scope: rule
# custom:
#   id: data-encrypted
#   theme: data protection
#   severity: medium
#   remediation: none
#   evidence: reported
#   frameworks:
#     EU CRA: ["Annex I Part I (2)(e)"]
#     IEC 62443-4-2: ["CR 4.1"]
#     ETSI EN 303 645: ["5.4-1"]
#     NISTIR 8259A: ["Data Protection"]
#     NIST SP 800-213A: ["Data Protection"]
controls contains lib.control(rego.metadata.rule(), data_encrypted)

data_encrypted := {"outcome": "pass", "reason": "The device reports that its data is encrypted at rest."} if {
	proven
	input.host.volumes.data.backing in {"crypt", "crypt_verity", "memory"}
} else := {"outcome": "fail", "reason": "The device reports that its data is not encrypted at rest."} if {
	input.host.volumes.data.backing in {"plain", "verity"}
} else := unreported

# METADATA
# title: Swap encrypted or off
# description: >-
#   Memory is written to no storage that can be read without a key.
# scope: rule
# custom:
#   id: swap-encrypted
#   theme: data protection
#   severity: medium
#   remediation: none
#   evidence: reported
#   frameworks:
#     EU CRA: ["Annex I Part I (2)(e)"]
#     IEC 62443-4-2: ["CR 4.1"]
#     ETSI EN 303 645: ["5.4-1"]
#     NISTIR 8259A: ["Data Protection"]
#     NIST SP 800-213A: ["Data Protection"]
controls contains lib.control(rego.metadata.rule(), swap_encrypted)

swap_encrypted := {"outcome": "pass", "reason": "The device reports no swap."} if {
	proven
	input.host.swap.known == true
	input.host.swap.active == false
} else := {"outcome": "pass", "reason": "The device reports that its swap is encrypted."} if {
	proven
	input.host.swap.known == true
	input.host.swap.encrypted == true
} else := {"outcome": "fail", "reason": "The device reports swap that is not encrypted."} if {
	input.host.swap.known == true
	input.host.swap.active == true
} else := unreported

# METADATA
# title: Data brings no privileges
# description: >-
#   The file system that holds the agent's state has no set-user-id programs and
#   no device files (nosuid, nodev).
# scope: rule
# custom:
#   id: data-mount-hardened
#   theme: data protection
#   severity: low
#   remediation: none
#   evidence: reported
#   frameworks:
#     EU CRA: ["Annex I Part I (2)(k)"]
#     IEC 62443-4-2: ["CR 7.6"]
#     NIST SP 800-213A: ["Device Security"]
controls contains lib.control(rego.metadata.rule(), data_mount_hardened)

data_mount_hardened := {"outcome": "pass", "reason": "The device reports that its data is mounted with nosuid and nodev."} if {
	proven
	input.host.volumes.data.nosuid == true
	input.host.volumes.data.nodev == true
} else := {"outcome": "fail", "reason": "The device reports that its data is mounted without nosuid or nodev."} if {
	is_boolean(input.host.volumes.data.nosuid)
} else := unreported
