# The device started as it should: Secure Boot, and a boot log that accounts for
# what the TPM holds.
package troth.posture

import data.troth.lib

# METADATA
# title: Secure Boot enabled
# description: >-
#   The firmware's own measurement of the SecureBoot variable, replayed to the
#   quoted PCR 7, says that only signed boot loaders start. In UEFI debug mode, or
#   with no platform key enrolled, that means nothing.
# scope: rule
# custom:
#   id: secure-boot
#   theme: boot integrity
#   severity: high
#   remediation: none
#   evidence: proven
#   frameworks:
#     NIST SP 800-213A: ["Device Security"]
#     NIST SP 800-193: ["4.2"]
#     IEC 62443-4-2: ["EDR 3.14"]
#     ETSI EN 303 645: ["5.7-1"]
#     EU CRA: ["Annex I Part I (2)(f)"]
controls contains lib.control(rego.metadata.rule(), secure_boot)

secure_boot := unproven if {
	not proven
} else := {"outcome": "fail", "reason": "The firmware is in UEFI debug mode."} if {
	input.attestation.secure_boot.debug_mode == true
} else := {"outcome": "fail", "reason": "The firmware is in setup mode: no platform key is enrolled."} if {
	input.attestation.secure_boot.enabled == true
	input.attestation.secure_boot.setup_mode == true
} else := {"outcome": "pass", "reason": "Secure Boot is on."} if {
	input.attestation.event_log.replayed == true
	input.attestation.secure_boot.known == true
	input.attestation.secure_boot.enabled == true
} else := {"outcome": "fail", "reason": "Secure Boot is off."} if {
	input.attestation.secure_boot.known == true
	input.attestation.secure_boot.enabled == false
} else := {"outcome": "fail", "reason": "Nothing that the device sent shows that Secure Boot is on."} if {
	input.attestation.secure_boot.known == false
} else := missing

# METADATA
# title: Event log given and replayed
# description: >-
#   The device sent its TCG event log, and the log replays to the quoted PCRs. A
#   boot loader that bypasses the EFI stub leaves a kernel without a log; a
#   missing log is not a log that agrees.
# scope: rule
# custom:
#   id: event-log
#   theme: boot integrity
#   severity: medium
#   remediation: none
#   evidence: proven
#   frameworks:
#     NIST SP 800-213A: ["Cybersecurity State Awareness"]
#     NIST SP 800-193: ["4.3"]
#     NISTIR 8259A: ["Cybersecurity State Awareness"]
#     IEC 62443-4-2: ["EDR 3.14", "CR 6.2"]
#     EU CRA: ["Annex I Part I (2)(l)"]
controls contains lib.control(rego.metadata.rule(), event_log)

event_log := unproven if {
	not proven
} else := {"outcome": "fail", "reason": "The device sent no event log."} if {
	input.attestation.event_log.given == false
} else := {"outcome": "fail", "reason": "The event log does not replay to the quoted PCRs."} if {
	input.attestation.event_log.replayed == false
} else := {"outcome": "pass", "reason": "The event log replays to the quoted PCRs."} if {
	input.attestation.event_log.given == true
	input.attestation.event_log.replayed == true
} else := missing

# METADATA
# title: No unexplained PCRs
# description: >-
#   Every quoted PCR is at its reset value or explained by events of a log.
#   Something was measured that no log tells of.
# scope: rule
# custom:
#   id: no-unexplained-pcrs
#   theme: boot integrity
#   severity: high
#   remediation: none
#   evidence: proven
#   frameworks:
#     NIST SP 800-213A: ["Device Security"]
#     NIST SP 800-193: ["4.3"]
#     IEC 62443-4-2: ["CR 3.4"]
#     ETSI EN 303 645: ["5.7-2"]
controls contains lib.control(rego.metadata.rule(), no_unexplained_pcrs)

no_unexplained_pcrs := unproven if {
	not proven
} else := lib.fail(sprintf("No event explains the value of %s.", [lib.pcrs(input.attestation.event_log.unexplained_pcrs)])) if {
	count(input.attestation.event_log.unexplained_pcrs) > 0
} else := {"outcome": "fail", "reason": "There is no event log that explains the quoted PCRs."} if {
	input.attestation.event_log.given == false
} else := {"outcome": "pass", "reason": "The logs explain every quoted PCR."} if {
	input.attestation.event_log.replayed == true
	count(input.attestation.event_log.unexplained_pcrs) == 0
} else := missing
