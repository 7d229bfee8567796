# The device can be kept up to date.
package troth.posture

import data.troth.lib

# METADATA
# title: Last update succeeded
# description: >-
#   The last update did not fail and was not rolled back. A device that cannot be
#   updated needs a person.
# scope: rule
# custom:
#   id: update-healthy
#   theme: lifecycle and presence
#   severity: high
#   remediation: none
#   evidence: reported
#   frameworks:
#     NIST SP 800-213A: ["Software Update"]
#     NIST SP 800-193: ["4.4"]
#     NISTIR 8259A: ["Software Update"]
#     IEC 62443-4-2: ["EDR 3.10"]
#     EU CRA: ["Annex I Part I (2)(c)"]
controls contains lib.control(rego.metadata.rule(), update_healthy)

update_healthy := {"outcome": "not_applicable", "reason": "The device reports no update."} if {
	input.update.state == ""
} else := lib.fail(sprintf("The update to %s %s.", [update_target, update_ended[input.update.state]])) if {
	input.update.state in object.keys(update_ended)
	input.update.error == ""
} else := lib.fail(sprintf("The update to %s %s: %s.", [
	update_target,
	update_ended[input.update.state],
	lib.quoted(input.update.error),
])) if {
	input.update.state in object.keys(update_ended)
} else := lib.pass(sprintf("The update to %s is %s.", [update_target, input.update.state])) if {
	input.update.state in {"pending", "downloading", "installing", "rebooting", "verifying", "skipped"}
} else := lib.pass(sprintf("The update to %s succeeded.", [update_target])) if {
	input.update.state == "success"
} else := lib.undecided(sprintf("The device reports its update in a state that is not known: %s.", [lib.quoted(input.update.state)])) if {
	is_string(input.update.state)
} else := missing

update_ended := {
	"failure": "failed",
	"rolled-back": "was rolled back",
}

update_target := "an unnamed version" if {
	input.update.version == ""
} else := lib.quoted(input.update.version)
