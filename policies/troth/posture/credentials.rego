# The certificate that the device goes by, and its key. The service's own records.
package troth.posture

import data.troth.lib

# METADATA
# title: Client key rotated
# description: >-
#   The key of the client certificate is not older to the service than
#   config.certificates.key_max_age_seconds. Without that setting, or with 0, keys
#   are not asked to change.
# scope: rule
# custom:
#   id: client-key-rotated
#   theme: credentials and rotation
#   severity: medium
#   grace: 168h
#   remediation: none
#   evidence: proven
#   frameworks:
#     IEC 62443-4-2: ["CR 1.5", "CR 1.9"]
#     NISTIR 8259A: ["Device Identification"]
#     NIST SP 800-213A: ["Device Identification"]
controls contains lib.control(rego.metadata.rule(), client_key_rotated)

client_key_rotated := {"outcome": "not_applicable", "reason": "Keys are not asked to change (config.certificates.key_max_age_seconds)."} if {
	key_age_limit == 0
} else := lib.undecided("The setting config.certificates.key_max_age_seconds cannot be used.") if {
	not key_age_setting
} else := {"outcome": "pass", "reason": "The client key is not older than it may be."} if {
	key_age <= key_age_limit
} else := {"outcome": "fail", "reason": "The client key is older than it may be, and should have been replaced."} if {
	key_age > key_age_limit
} else := missing

key_age_limit := lib.setting_number("certificates", "key_max_age_seconds", 0)

key_age_setting if is_number(key_age_limit)

key_age := (lib.now - time.parse_rfc3339_ns(input.certificate.key_since)) / 1000000000

# METADATA
# title: Client certificate short-lived
# description: >-
#   The certificate was made for no longer than
#   config.certificates.max_lifetime_seconds. Without that setting its lifetime is
#   not asked about.
# scope: rule
# custom:
#   id: certificate-short-lived
#   theme: credentials and rotation
#   severity: low
#   remediation: none
#   evidence: proven
#   frameworks:
#     IEC 62443-4-2: ["CR 1.8"]
#     NIST SP 800-213A: ["Device Identification"]
controls contains lib.control(rego.metadata.rule(), certificate_short_lived)

certificate_short_lived := {"outcome": "not_applicable", "reason": "The lifetime of certificates is not asked about (config.certificates.max_lifetime_seconds)."} if {
	not lib.configured("certificates", "max_lifetime_seconds")
} else := lib.undecided("The setting config.certificates.max_lifetime_seconds cannot be used.") if {
	not lib.setting_number("certificates", "max_lifetime_seconds", 0)
} else := {"outcome": "pass", "reason": "The client certificate is as short-lived as asked."} if {
	certificate_life <= lib.setting_number("certificates", "max_lifetime_seconds", 0)
} else := {"outcome": "fail", "reason": "The client certificate was made for longer than asked."} if {
	certificate_life > lib.setting_number("certificates", "max_lifetime_seconds", 0)
} else := missing

certificate_life := (time.parse_rfc3339_ns(input.certificate.not_after) - time.parse_rfc3339_ns(input.certificate.not_before)) / 1000000000
