# METADATA
# title: Renewal
# description: >-
#   May this device have a new certificate for the one it shows? It may if it is
#   active and its verdict of this moment is compliant; a verdict past its
#   freshness comes as unknown. Whoever wants it stricter sets
#   config.certificates.renew_max_verdict_age_seconds.
#
#   rotate_key asks for a new key in the TPM, which the device makes and certifies
#   by itself: here when the key is older than
#   config.certificates.key_max_age_seconds (zero: at any age). An operator's wish
#   for a new key holds whatever is said here.
package troth.renew

import data.troth.lib

# METADATA
# title: Renewal decision
# entrypoint: true
decision := no(sprintf("The device is %s, and only an active one is given a new certificate.", [lib.quoted(input.device.lifecycle)])) if {
	input.device.lifecycle != "active"
} else := no(sprintf("The device's verdict is %s: check in with a compliant posture first%s.", [lib.quoted(input.verdict), failing])) if {
	input.verdict != "compliant"
} else := no("The device's verdict is older than a renewal allows: check in first.") if {
	not recent
} else := deny("lifetime_misconfigured", "A lifetime of certificates in config.certificates is not a number of seconds.") if {
	lib.lifetimes_misconfigured
} else := deny("key_age_misconfigured", "config.certificates.key_max_age_seconds is not a number of seconds.") if {
	not key_age_configured
} else := object.union(
	{"allow": true, "code": "", "reason": "The device is active and compliant.", "rotate_key": old_key},
	lib.certificate_lifetime,
) if {
	input.device.lifecycle == "active"
	input.verdict == "compliant"
} else := no("The facts that a renewal needs are missing.")

recent if {
	not lib.configured("certificates", "renew_max_verdict_age_seconds")
}

recent if {
	input.verdict_age <= lib.setting_number("certificates", "renew_max_verdict_age_seconds", 0)
}

key_max_age := lib.setting_number("certificates", "key_max_age_seconds", 0)

key_age_configured if is_number(key_max_age)

default old_key := false

old_key if {
	key_max_age > 0
	input.certificate.key_age > key_max_age
}

failing := sprintf(" (it fails %s)", [lib.listed(input.failing)]) if {
	count(input.failing) > 0
} else := ""

no(reason) := deny("renewal_refused", reason)

deny(code, reason) := {"allow": false, "code": code, "reason": reason, "rotate_key": false}
