# The device is who it says it is, and will be able to say so tomorrow.
package troth.posture

import data.troth.lib

# METADATA
# title: Attestation verified
# description: >-
#   The quote is signed by the device's attestation key, fresh, bound to this
#   check-in, and agrees with the PCR values and with every log that came along.
# scope: rule
# custom:
#   id: attestation-verified
#   theme: identity and keys
#   severity: critical
#   remediation: quarantine
#   evidence: proven
#   frameworks:
#     NIST SP 800-213A: ["Device Identification", "Cybersecurity State Awareness"]
#     NIST SP 800-193: ["4.1", "4.3"]
#     NISTIR 8259A: ["Device Identification", "Cybersecurity State Awareness"]
#     IEC 62443-4-2: ["CR 1.2", "CR 3.4"]
#     ETSI EN 303 645: ["5.7-2"]
#     EU CRA: ["Annex I Part I (2)(f)"]
controls contains lib.control(rego.metadata.rule(), attestation_verified)

attestation_verified := {"outcome": "pass", "reason": "The quote and all logs that came with it verify."} if {
	proven
	count(input.attestation.problems) == 0
} else := lib.pass(sprintf("The quote and all logs that came with it verify, with remarks: %s.", [remarks])) if {
	proven
	remarks := lib.listed(sort(input.attestation.problems))
} else := lib.fail(sprintf("The evidence does not verify: %s.", [problems])) if {
	input.attestation.verified == false
	count(input.attestation.problems) > 0
	problems := lib.listed(sort(input.attestation.problems))
} else := {"outcome": "fail", "reason": "The evidence does not verify."} if {
	input.attestation.verified == false
} else := missing

# METADATA
# title: Client certificate current
# description: >-
#   The certificate that the device used stays valid for longer than it may take
#   to renew it (config.posture.certificate_min_remaining_seconds). A device
#   that does not renew in time loses its access.
# scope: rule
# custom:
#   id: certificate-current
#   theme: credentials and rotation
#   severity: medium
#   remediation: none
#   evidence: proven
#   frameworks:
#     NIST SP 800-213A: ["Device Identification"]
#     IEC 62443-4-2: ["CR 1.8"]
#     NISTIR 8259A: ["Device Identification"]
controls contains lib.control(rego.metadata.rule(), certificate_current)

certificate_current := lib.fail(sprintf("The client certificate ended at %s.", [input.certificate.not_after])) if {
	remaining <= 0
} else := lib.fail(sprintf("The client certificate ends at %s, in %d minutes; it should have been renewed.", [
	input.certificate.not_after,
	floor(remaining / 60),
])) if {
	remaining < minimum
} else := lib.pass(sprintf("The client certificate is valid until %s.", [input.certificate.not_after])) if {
	remaining >= minimum
} else := missing

remaining := (time.parse_rfc3339_ns(input.certificate.not_after) - lib.now) / 1000000000

minimum := lib.setting_number("posture", "certificate_min_remaining_seconds", 3600)
