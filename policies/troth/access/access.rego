# METADATA
# title: Access
# description: >-
#   May this device do something at a relying party? Only an active, compliant
#   device may, whose verdict is fresh, that keeps its appointments, and whose
#   certificate is not revoked. Settings: config.access.max_age_seconds (900),
#   config.access.require_online (true).
package troth.access

import data.troth.lib

# METADATA
# title: Access decision
# entrypoint: true
decision := deny("certificate_revoked", "The device's certificate is revoked.") if {
	not input.certificate_revoked == false
} else := deny("device_quarantined", "The device is quarantined.") if {
	input.device.lifecycle == "quarantined"
} else := deny("device_not_active", sprintf("The device is not active but %s.", [lib.quoted(input.device.lifecycle)])) if {
	not input.device.lifecycle == "active"
} else := deny("device_noncompliant", "The device is not compliant.") if {
	input.verdict == "noncompliant"
} else := deny("verdict_unknown", sprintf("Whether the device is compliant is not known; its verdict is %s.", [lib.quoted(input.verdict)])) if {
	not input.verdict == "compliant"
} else := deny("verdict_stale", sprintf("The verdict is %d seconds old; at most %d are allowed.", [ceil(input.verdict_age), max_age])) if {
	is_number(input.verdict_age)
	input.verdict_age > max_age
} else := deny("device_offline", "The device missed its last appointment.") if {
	not present
} else := allow("The device is active and compliant.") if {
	is_number(input.verdict_age)
	input.verdict_age >= 0
	input.verdict_age <= max_age
} else := deny("undecided", "The facts that access needs are missing.")

max_age := lib.setting_number("access", "max_age_seconds", 900)

present if input.presence == "online"

present if lib.setting_boolean("access", "require_online", true) == false

allow(reason) := {"allow": true, "code": "", "reason": reason}

deny(code, reason) := {"allow": false, "code": code, "reason": reason}
