# Which of the published releases the device may still run.
package troth.posture

import data.troth.lib

# METADATA
# title: Latest release installed
# description: >-
#   The proven release is the latest of its model. There are 30 days to install
#   one that brings no security fix.
# scope: rule
# custom:
#   id: firmware-latest
#   theme: firmware currency and vulnerabilities
#   severity: low
#   grace: 720h
#   remediation: none
#   evidence: proven
#   frameworks:
#     ETSI EN 303 645: ["5.3-8"]
#     NISTIR 8259A: ["Software Update"]
#     IEC 62443-4-2: ["EDR 3.10"]
#     EU CRA: ["Annex I Part I (2)(c)"]
#     NIST SP 800-213A: ["Software Update"]
controls contains lib.control(rego.metadata.rule(), firmware_latest)

firmware_latest := unproven if {
	not proven
} else := unreleased if {
	not released
} else := {"outcome": "pass", "reason": "The firmware is the latest release."} if {
	input.firmware.counter >= input.firmware.latest_counter
} else := lib.fail(sprintf("Firmware %s is older than the latest release, %s.", [input.firmware.version, input.firmware.latest_version])) if {
	input.firmware.counter < input.firmware.latest_counter
} else := missing

# METADATA
# title: Firmware not below the floor
# description: >-
#   The proven release is not below config.firmware.minimum_counter of its model:
#   what was withdrawn does not come back.
# scope: rule
# custom:
#   id: firmware-floor
#   theme: firmware currency and vulnerabilities
#   severity: high
#   remediation: none
#   evidence: proven
#   frameworks:
#     NIST SP 800-193: ["4.2"]
#     ETSI EN 303 645: ["5.3-8"]
#     NISTIR 8259A: ["Software Update"]
#     IEC 62443-4-2: ["EDR 3.10"]
#     EU CRA: ["Annex I Part I (2)(a)", "Annex I Part I (2)(c)"]
#     NIST SP 800-213A: ["Software Update"]
controls contains lib.control(rego.metadata.rule(), firmware_floor)

firmware_floor := {"outcome": "not_applicable", "reason": "No floor is set for the model (config.firmware.minimum_counter)."} if {
	not lib.configured("firmware", "minimum_counter")
} else := lib.undecided("The setting config.firmware.minimum_counter cannot be used.") if {
	not floors
} else := {"outcome": "not_applicable", "reason": "No floor is set for the model (config.firmware.minimum_counter)."} if {
	is_string(input.device.model)
	not input.device.model in object.keys(floors)
} else := unproven if {
	not proven
} else := unreleased if {
	not released
} else := {"outcome": "pass", "reason": "The firmware is not below the floor of its model."} if {
	input.firmware.counter >= floors[input.device.model]
} else := lib.fail(sprintf("Firmware %s (release %d) is below the floor of its model, %d.", [input.firmware.version, input.firmware.counter, floors[input.device.model]])) if {
	input.firmware.counter < floors[input.device.model]
} else := missing

floors := data.config.firmware.minimum_counter if {
	is_object(data.config.firmware.minimum_counter)
	every floor in data.config.firmware.minimum_counter {
		is_number(floor)
	}
}

# METADATA
# title: Model supported
# description: >-
#   The support of the device's model has not ended (config.firmware.support_ends,
#   for each model an instant in RFC 3339). Without security updates it stays as
#   vulnerable as it is.
# scope: rule
# custom:
#   id: model-supported
#   theme: firmware currency and vulnerabilities
#   severity: medium
#   remediation: none
#   evidence: proven
#   frameworks:
#     ETSI EN 303 645: ["5.3-13"]
#     EU CRA: ["Annex I Part II (2)", "Annex I Part II (8)"]
#     NIST SP 800-213A: ["Software Update"]
controls contains lib.control(rego.metadata.rule(), model_supported)

model_supported := {"outcome": "not_applicable", "reason": "No end of support is set for the model (config.firmware.support_ends)."} if {
	not lib.configured("firmware", "support_ends")
} else := {"outcome": "not_applicable", "reason": "No end of support is set for the model (config.firmware.support_ends)."} if {
	is_string(input.device.model)
	is_object(data.config.firmware.support_ends)
	not input.device.model in object.keys(data.config.firmware.support_ends)
} else := {"outcome": "pass", "reason": "The model is supported."} if {
	lib.now < support_ends
} else := {"outcome": "fail", "reason": "The support of the model has ended."} if {
	lib.now >= support_ends
} else := lib.undecided("The model of the device or the setting config.firmware.support_ends cannot be used.")

support_ends := time.parse_rfc3339_ns(end) if {
	end := data.config.firmware.support_ends[input.device.model]
	is_string(end)
	regex.match(`^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})$`, end)
}
