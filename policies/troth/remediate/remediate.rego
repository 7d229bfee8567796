# METADATA
# title: Remediation
# description: >-
#   What to do about a posture. Quarantine, if a control fails that asks for it
#   and its grace has passed. A rollout of the latest release, as soon as a
#   control fails that asks for a patch: the grace is the time to install it. The
#   rollout is proposed to a person unless config.remediation.auto_start is true.
#
#   Only failures count. A control that could not be decided denies access, but
#   is no proof against a device: a fault of the service must not quarantine a
#   fleet.
package troth.remediate

import data.troth.lib

# METADATA
# title: Remediation decision
# entrypoint: true
decision := {"actions": actions}

# METADATA
# description: One quarantine at most, for the gravest control.
actions contains {
	"kind": "quarantine",
	"control": gravest(guilty),
	"reason": sprintf("Failing: %s.", [names(guilty)]),
	"release": "",
} if {
	input.device.lifecycle == "active"
	count(guilty) > 0
}

# METADATA
# description: One rollout at most, to the latest release, if it is newer.
actions contains {
	"kind": rollout_kind,
	"control": gravest(outdated),
	"reason": sprintf("Failing: %s. The latest release is %s.", [names(outdated), input.firmware.latest_version]),
	"release": input.firmware.latest_version,
} if {
	input.device.lifecycle in {"active", "quarantined"}
	count(outdated) > 0
	input.firmware.latest_version != ""
	input.firmware.latest_counter > input.firmware.counter
}

guilty contains control if {
	some control in input.controls
	control.outcome == "fail"
	control.remediation == "quarantine"
	lib.enforced(control)
}

outdated contains control if {
	some control in input.controls
	control.outcome == "fail"
	control.remediation == "patch"
}

rollout_kind := "start_rollout" if {
	lib.setting_boolean("remediation", "auto_start", false) == true
} else := "propose_rollout"

# METADATA
# description: The id of the control with the highest severity; of several, the first by name.
gravest(some_controls) := min([[rank[c.severity], c.id] | some c in some_controls])[1]

rank := {"critical": 0, "high": 1, "medium": 2, "low": 3}

names(some_controls) := lib.listed(sort([c.title | some c in some_controls]))
