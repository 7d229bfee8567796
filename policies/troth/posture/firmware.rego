# The device runs what was published for it, and says so.
package troth.posture

import data.troth.lib

# METADATA
# title: Firmware known
# description: >-
#   The quoted PCRs equal the reference values that a published release of the
#   device's model carries in its signed metadata.
# scope: rule
# custom:
#   id: firmware-known
#   theme: firmware currency and vulnerabilities
#   severity: critical
#   remediation: quarantine
#   evidence: proven
#   frameworks:
#     NIST SP 800-213A: ["Device Security", "Cybersecurity State Awareness"]
#     NIST SP 800-193: ["4.3"]
#     IEC 62443-4-2: ["CR 3.4", "EDR 3.14"]
#     NISTIR 8259A: ["Cybersecurity State Awareness"]
#     ETSI EN 303 645: ["5.7-1", "5.7-2"]
#     EU CRA: ["Annex I Part I (2)(f)"]
controls contains lib.control(rego.metadata.rule(), firmware_known)

firmware_known := unproven if {
	not proven
} else := lib.pass(sprintf("The PCRs match release %s.", [input.firmware.version])) if {
	released
	count(input.firmware.mismatches) == 0
} else := lib.fail(sprintf("No release is published for the model %s.", [lib.quoted(input.device.model)])) if {
	input.firmware.known == false
	input.firmware.latest_version == ""
} else := lib.fail(sprintf("%s %s from every published release.", [
	lib.pcrs(input.firmware.mismatches),
	differ(count(input.firmware.mismatches)),
])) if {
	input.firmware.known == false
	count(input.firmware.mismatches) > 0
} else := {"outcome": "fail", "reason": "The PCRs match no published release."} if {
	input.firmware.known == false
} else := missing

differ(1) := "differs"

differ(n) := "differ" if n != 1

# METADATA
# description: The evidence proves a release that has a name.
default released := false

released if {
	proven
	input.firmware.known == true
	input.firmware.version != ""
}

unreleased := lib.undecided("The firmware matches no published release, so its version is not known.")

# METADATA
# title: Firmware current
# description: >-
#   The proven release is not older than the latest security release of its
#   model, by the monotonic release counter. There are 14 days to install one.
# scope: rule
# custom:
#   id: firmware-current
#   theme: firmware currency and vulnerabilities
#   severity: high
#   grace: 336h
#   remediation: patch
#   evidence: proven
#   frameworks:
#     NIST SP 800-213A: ["Software Update"]
#     ETSI EN 303 645: ["5.3-8"]
#     NISTIR 8259A: ["Software Update"]
#     IEC 62443-4-2: ["EDR 3.10"]
#     EU CRA: ["Annex I Part I (2)(c)", "Annex I Part II (2)"]
controls contains lib.control(rego.metadata.rule(), firmware_current)

firmware_current := unproven if {
	not proven
} else := unreleased if {
	not released
} else := lib.fail(sprintf("Firmware %s (release %d) is older than the latest security release (%d); the latest release is %s.", [
	input.firmware.version,
	input.firmware.counter,
	input.firmware.latest_security_counter,
	input.firmware.latest_version,
])) if {
	input.firmware.counter < input.firmware.latest_security_counter
} else := lib.pass(sprintf("Firmware %s includes every security release of its model.", [input.firmware.version])) if {
	is_number(input.firmware.counter)
	is_number(input.firmware.latest_security_counter)
} else := missing

# METADATA
# title: Reported firmware equals proven firmware
# description: >-
#   The version that the device reports is the one that its PCRs prove. A device
#   that says something else lies, or is confused about its own slots.
# scope: rule
# custom:
#   id: firmware-reported
#   theme: firmware currency and vulnerabilities
#   severity: medium
#   remediation: none
#   evidence: reported
#   frameworks:
#     NIST SP 800-213A: ["Cybersecurity State Awareness"]
#     NISTIR 8259A: ["Cybersecurity State Awareness"]
#     IEC 62443-4-2: ["CR 3.4"]
controls contains lib.control(rego.metadata.rule(), firmware_reported)

firmware_reported := unproven if {
	not proven
} else := unreleased if {
	not released
} else := lib.pass(sprintf("The device reports the firmware that it runs, %s.", [input.firmware.version])) if {
	input.firmware.reported == input.firmware.version
} else := {"outcome": "fail", "reason": "The device does not report which firmware it runs."} if {
	input.firmware.reported == ""
} else := lib.fail(sprintf("The device reports firmware %s but runs %s.", [
	lib.quoted(input.firmware.reported),
	input.firmware.version,
])) if {
	is_string(input.firmware.reported)
} else := missing
