# METADATA
# title: Remediation
# description: >-
#   What to do about a posture. Quarantine, if a control fails that asks for it
#   and its grace has passed. A rollout, as soon as a control fails that asks for a
#   patch: the grace is the time to install it. It goes to the first release without
#   the known vulnerabilities, where that is what fails, and to the latest release
#   otherwise. The rollout is proposed to a person unless
#   config.remediation.auto_start is true, or config.vulnerabilities.auto_start has
#   the severity of what fails.
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
# description: One rollout at most, to the first release without what is known to be wrong.
actions contains {
	"kind": cure_kind,
	"control": gravest(vulnerable),
	"reason": sprintf("Failing: %s (%s). Release %s is the first without.", [names(vulnerable), ids, cure.version]),
	"release": cure.version,
} if {
	input.device.lifecycle in {"active", "quarantined"}
	cure.counter > input.firmware.counter
}

# METADATA
# description: Otherwise to the latest release, if it is newer.
actions contains {
	"kind": rollout_kind,
	"control": gravest(outdated),
	"reason": sprintf("Failing: %s. The latest release is %s.", [names(outdated), input.firmware.latest_version]),
	"release": input.firmware.latest_version,
} if {
	input.device.lifecycle in {"active", "quarantined"}
	not cure
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
	not control.id in object.keys(severities)
}

# METADATA
# description: The controls of known vulnerabilities, and of which severity each is.
severities := {"no-known-critical-vulnerability": "critical", "no-known-high-vulnerability": "high"}

vulnerable contains control if {
	some control in input.controls
	control.outcome == "fail"
	severities[control.id]
}

failing_severities := {severities[control.id] | some control in vulnerable}

known_wrong := input.firmware.vulnerabilities

# METADATA
# description: >-
#   The release to go to. Where nothing mends the high ones, the critical ones are
#   mended.
cure := known_wrong.no_high if {
	"high" in failing_severities
	known_wrong.no_high.version != ""
} else := known_wrong.no_critical if {
	"critical" in failing_severities
	known_wrong.no_critical.version != ""
}

ids := lib.listed(array.concat(array.slice(found, 0, 10), [word | count(found) > 10; word := "others"])) if {
	found := sort({v.id | some v in known_wrong.list; v.severity in failing_severities; v.undecided == false})
}

default cure_kind := "propose_rollout"

cure_kind := "start_rollout" if rollout_kind == "start_rollout"

else := "start_rollout" if {
	some severity in lib.setting_words("vulnerabilities", "auto_start")
	severity in failing_severities
}

rollout_kind := "start_rollout" if {
	lib.setting_boolean("remediation", "auto_start", false) == true
} else := "propose_rollout"

# METADATA
# description: The id of the control with the highest severity; of several, the first by name.
gravest(some_controls) := min([[rank[c.severity], c.id] | some c in some_controls])[1]

rank := {"critical": 0, "high": 1, "medium": 2, "low": 3}

names(some_controls) := lib.listed(sort([c.title | some c in some_controls]))
