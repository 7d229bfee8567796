# METADATA
# title: Enrolment
# description: >-
#   May this device have a certificate? It may if its evidence verifies, nothing
#   in its past forbids it, and somebody vouches for its endorsement key: a
#   manufacturer by an EK certificate, or an operator by registering the EK's
#   hash.
#
#   An EK without a certificate needs a registration. An EK whose certificate
#   does not verify is refused even if it is registered, because a certificate
#   that cannot be right is worse than none; an operator who knows better sets
#   config.enroll.allow_unverified_certificate.
#
#   A manufacturer may vouch by another key instead: an IDevID or IAK with a
#   certificate of its own, proven to be in the TPM of the EK.
#   config.enroll.require_idevid asks for it of every device.
#
#   What its manufacturer revoked is refused, whoever else vouches, unless the
#   device is registered and config.enroll.allow_revoked_certificate is set.
#
#   The firmware is not judged here: a device whose PCRs match no release enrols
#   and then fails the control firmware-known, which is quarantined and shown. A
#   device that were refused here would be seen by nobody.
#
#   A quarantined device whose certificate is gone may attest again, so that it can
#   prove that it was mended. It stays in quarantine, and what it gets opens the
#   device routes alone: that is the service's doing, whatever is said here.
package troth.enroll

import data.troth.lib

# METADATA
# title: Enrolment decision
# entrypoint: true
decision := deny("device_retired", "The device is retired; a retired device does not come back.") if {
	input.device.lifecycle == "retired"
} else := deny("lifecycle_unknown", sprintf("The device is in a state of life that is not known: %s.", [lib.quoted(input.device.lifecycle)])) if {
	not input.device.lifecycle in {"", "pending", "active", "quarantined"}
} else := deny("attestation_failed", sprintf("The evidence does not verify: %s.", [problems])) if {
	not input.attestation.verified == true
} else := deny("certificate_revoked", "Its manufacturer revoked the certificate of the device's EK or of its IDevID.") if {
	revoked
	not revocation_excused
} else := deny("idevid_required", "This service enrols devices with a verified IDevID or IAK only.") if {
	not idevid_optional
	not input.idevid.verified == true
} else := deny("not_registered", "The device's EK hash is not registered, and this service enrols registered devices only.") if {
	not input.require_registration == false
	not input.registered == true
} else := deny("not_registered", "The device's TPM has no EK certificate and its EK hash is not registered.") if {
	input.ek.certificate == false
	not identified
	not input.registered == true
} else := deny("ek_certificate_invalid", sprintf("The EK certificate does not hold: %s.", [lib.quoted(input.ek.problem)])) if {
	unverified
	not input.ek.problem in {"", "ek_unknown_manufacturer"}
} else := deny("unknown_manufacturer", "The EK certificate does not lead to a trusted TPM manufacturer.") if {
	unverified
} else := deny("lifetime_misconfigured", "A lifetime of certificates in config.certificates is not a number of seconds.") if {
	lib.lifetimes_misconfigured
} else := allow("The EK certificate leads to a trusted manufacturer, and the EK hash is registered.") if {
	input.ek.verified == true
	input.registered == true
} else := allow(sprintf("The EK certificate leads to a trusted manufacturer, %s.", [lib.quoted(input.ek.manufacturer)])) if {
	input.ek.verified == true
} else := allow(sprintf("%s, a trusted manufacturer, certified another key of the TPM.", [lib.quoted(input.idevid.manufacturer)])) if {
	input.ek.certificate in {true, false}
	identified
} else := allow("The EK hash is registered; the EK certificate does not verify, which the configuration allows.") if {
	input.ek.certificate == true
	input.registered == true
} else := allow("The EK hash is registered.") if {
	input.ek.certificate == false
	input.registered == true
} else := deny("undecided", "The facts that enrolment needs are missing.")

# METADATA
# description: There is a certificate, it does not verify, and nothing lets that pass.
unverified if {
	input.ek.certificate == true
	not input.ek.verified == true
	not identified
	not excused
}

excused if {
	input.registered == true
	lib.setting_boolean("enroll", "allow_unverified_certificate", false) == true
}

excused if {
	input.ek.problem == "ek_revoked"
	revocation_excused
}

# METADATA
# description: A rule of its own, so that a setting of a wrong type asks for one.
idevid_optional if lib.setting_boolean("enroll", "require_idevid", false) == false

# METADATA
# description: A trusted manufacturer vouches for the TPM by an IDevID or IAK.
identified if input.idevid.verified == true

revoked if input.ek.problem == "ek_revoked"

revoked if input.idevid.problem == "idevid_revoked"

revocation_excused if {
	input.registered == true
	lib.setting_boolean("enroll", "allow_revoked_certificate", false) == true
}

problems := lib.listed(sort(input.attestation.problems)) if {
	count(input.attestation.problems) > 0
} else := "no reason is given"

allow(reason) := object.union({"allow": true, "code": "", "reason": reason}, lib.certificate_lifetime)

deny(code, reason) := {"allow": false, "code": code, "reason": reason}
