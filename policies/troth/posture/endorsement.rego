# Who vouches for the hardware. The service's own records of what was verified when
# the device enrolled.
package troth.posture

import data.troth.lib

# METADATA
# title: TPM endorsed by its manufacturer
# description: >-
#   The certificate of the endorsement key led to a manufacturer that the service
#   trusts: the keys are in a real TPM.
# scope: rule
# custom:
#   id: tpm-endorsed
#   theme: identity and keys
#   severity: high
#   remediation: none
#   evidence: proven
#   frameworks:
#     NIST SP 800-193: ["4.1"]
#     IEC 62443-4-2: ["CR 1.2", "EDR 3.12"]
#     ETSI EN 303 645: ["5.4-2"]
#     NISTIR 8259A: ["Device Identification"]
#     NIST SP 800-213A: ["Device Identification"]
controls contains lib.control(rego.metadata.rule(), tpm_endorsed)

tpm_endorsed := {"outcome": "pass", "reason": "The TPM's manufacturer is one that the service trusts."} if {
	input.endorsement.known == true
	input.endorsement.manufacturer != ""
} else := {"outcome": "fail", "reason": "No manufacturer that the service trusts vouches for the TPM."} if {
	input.endorsement.known == true
	input.endorsement.manufacturer == ""
} else := missing

# METADATA
# title: Device certified by its maker
# description: >-
#   The device's maker certified it in its TPM (IDevID or IAK, IEEE 802.1AR and
#   TCG), and the certificate led to one that the service trusts. Asked for by
#   config.enroll.require_idevid, also of devices that enrolled before that was
#   set.
# scope: rule
# custom:
#   id: device-certified
#   theme: identity and keys
#   severity: medium
#   remediation: none
#   evidence: proven
#   frameworks:
#     NIST SP 800-193: ["4.1"]
#     IEC 62443-4-2: ["CR 1.2", "EDR 3.12"]
#     NISTIR 8259A: ["Device Identification"]
#     NIST SP 800-213A: ["Device Identification"]
controls contains lib.control(rego.metadata.rule(), device_certified)

device_certified := lib.undecided("The setting config.enroll.require_idevid cannot be used.") if {
	not idevid_setting
} else := {"outcome": "not_applicable", "reason": "A certificate of the device's maker is not asked for (config.enroll.require_idevid)."} if {
	idevid_required == false
} else := {"outcome": "pass", "reason": "The device's maker certified it."} if {
	input.endorsement.known == true
	input.endorsement.devid != ""
} else := {"outcome": "fail", "reason": "The device showed no certificate of its maker that verifies."} if {
	input.endorsement.known == true
	input.endorsement.devid == ""
} else := missing

idevid_required := lib.setting_boolean("enroll", "require_idevid", false)

idevid_setting if is_boolean(idevid_required)
