# Whose keys the firmware trusts, and that nobody told it or shim to look away.
package troth.posture

import data.troth.lib

# METADATA
# title: Secure Boot keys listed
# description: >-
#   Every key in the measured PK, KEK and db is one of config.boot.keys (SHA-256
#   in hexadecimal, of the certificate or of an entry that is a hash). With
#   somebody else's keys enrolled, Secure Boot is on and says nothing.
# scope: rule
# custom:
#   id: boot-keys
#   theme: boot integrity
#   severity: high
#   remediation: none
#   evidence: proven
#   frameworks:
#     NIST SP 800-193: ["4.2"]
#     IEC 62443-4-2: ["EDR 3.13", "EDR 3.14"]
#     ETSI EN 303 645: ["5.7-1"]
#     EU CRA: ["Annex I Part I (2)(f)"]
#     NIST SP 800-213A: ["Device Security"]
controls contains lib.control(rego.metadata.rule(), boot_keys)

boot_keys := {"outcome": "not_applicable", "reason": "No keys are listed (config.boot.keys)."} if {
	not lib.configured("boot", "keys")
} else := unproven if {
	not proven
} else := unusable("keys") if {
	not count(keys_listed) > 0
} else := {"outcome": "fail", "reason": "Nothing that the device sent shows which keys its firmware trusts."} if {
	input.attestation.secure_boot.known == false
} else := lib.fail(sprintf("The firmware trusts %s, for one %s.", [
	lib.counted(count(foreign_keys), "key that is not listed", "keys that are not listed"),
	lib.quoted(min(foreign_keys)),
])) if {
	count(foreign_keys) > 0
} else := lib.undecided("The firmware trusts more keys than policies are shown.") if {
	count({"pk", "kek", "db"} & {name | some name in input.attestation.secure_boot.cut}) > 0
} else := {"outcome": "pass", "reason": "The firmware trusts listed keys only."} if {
	input.attestation.secure_boot.known == true
	count(foreign_keys) == 0
} else := missing

keys_listed contains lower(entry) if some entry in lib.setting_words("boot", "keys")

# Undefined where one of the lists is not there: what is not known lists nothing.
foreign_keys := {key |
	some keys in [input.attestation.secure_boot.pk, input.attestation.secure_boot.kek, input.attestation.secure_boot.db]
	some key in keys
	not key in keys_listed
} if {
	is_array(input.attestation.secure_boot.pk)
	is_array(input.attestation.secure_boot.kek)
	is_array(input.attestation.secure_boot.db)
}

# METADATA
# title: shim verifies what it starts
# description: >-
#   shim's own verification is not switched off (MokSBState): the firmware would
#   verify shim, and shim nothing. A boot whose log does not tell is judged by
#   event-log.
# scope: rule
# custom:
#   id: boot-shim-verifies
#   theme: boot integrity
#   severity: high
#   remediation: none
#   evidence: proven
#   frameworks:
#     NIST SP 800-193: ["4.2"]
#     IEC 62443-4-2: ["EDR 3.14"]
#     ETSI EN 303 645: ["5.7-1"]
#     EU CRA: ["Annex I Part I (2)(f)"]
#     NIST SP 800-213A: ["Device Security"]
controls contains lib.control(rego.metadata.rule(), boot_shim_verifies)

boot_shim_verifies := {"outcome": "not_applicable", "reason": "Nothing is known of shim without an event log."} if {
	not booted_known
} else := unproven if {
	not proven
} else := {"outcome": "fail", "reason": "shim was told to verify nothing (MokSBState)."} if {
	some variable in input.attestation.boot.shim
	variable.digest == moksb_off
} else := {"outcome": "pass", "reason": "shim was not told to verify nothing."} if {
	is_array(input.attestation.boot.shim)
	not "shim" in input.attestation.boot.cut
} else := missing

# METADATA
# description: >-
#   SHA-256 of the one byte 1, the value of MokSBState that switches verification
#   off. It is found whatever the log calls the event.
moksb_off := "4bf5122f344554c53bde2ebb8cd2b7e3d1600ad631c385a5d7cce23c7785459a"

# METADATA
# title: Firmware handed over
# description: >-
#   The firmware measured that it left its boot services, as it does when an
#   operating system takes over (EV_EFI_ACTION in PCR 5).
# scope: rule
# custom:
#   id: boot-handover
#   theme: boot integrity
#   severity: low
#   remediation: none
#   evidence: proven
#   frameworks:
#     NIST SP 800-193: ["4.3"]
#     NIST SP 800-213A: ["Cybersecurity State Awareness"]
controls contains lib.control(rego.metadata.rule(), boot_handover)

boot_handover := unproven if {
	not proven
} else := {"outcome": "pass", "reason": "The firmware left its boot services."} if {
	input.attestation.boot.exit_boot_services.known == true
	input.attestation.boot.exit_boot_services.succeeded == true
	input.attestation.boot.exit_boot_services.failed == false
} else := {"outcome": "fail", "reason": "The log does not show that the firmware left its boot services."} if {
	is_boolean(input.attestation.boot.exit_boot_services.succeeded)
} else := missing
