# Controls of our own.
package troth.posture

import data.troth.lib

# METADATA
# title: Secure Boot on
# description: >-
#   The measured value of the SecureBoot variable says that only signed boot
#   loaders start. A control to begin with: rename it, or write another like it.
# scope: rule
# custom:
#   id: secure-boot-on
#   severity: high
#   remediation: none
#   frameworks:
#     NIST SP 800-193: ["4.2"]
controls contains lib.control(rego.metadata.rule(), secure_boot_on)

secure_boot_on := unproven if {
	not proven
} else := lib.pass("Secure Boot is on.") if {
	input.attestation.secure_boot.known == true
	input.attestation.secure_boot.enabled == true
} else := lib.fail("Secure Boot is off.") if {
	input.attestation.secure_boot.known == true
	input.attestation.secure_boot.enabled == false
} else := missing
