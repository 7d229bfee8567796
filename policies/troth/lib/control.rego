package troth.lib

# METADATA
# description: The four things that a control can find, each with a sentence.
pass(reason) := {"outcome": "pass", "reason": reason}

fail(reason) := {"outcome": "fail", "reason": reason}

# METADATA
# description: It could not be decided. Counts against the device at once.
undecided(reason) := {"outcome": "error", "reason": reason}

not_applicable(reason) := {"outcome": "not_applicable", "reason": reason}

# METADATA
# description: >-
#   A control's answer: its id, what it found, and for a failure since when it
#   has failed and from when on that counts. A failure that was there before
#   keeps its beginning; only a failure, and not an error, has grace. A control
#   that config.controls.mode calls advisory is told of, and never counts.
control(meta, finding) := {
	"id": meta.custom.id,
	"outcome": "pass",
	"reason": finding.reason,
} if {
	finding.outcome == "pass"
} else := {
	"id": meta.custom.id,
	"outcome": "not_applicable",
	"reason": finding.reason,
} if {
	finding.outcome == "not_applicable"
} else := {
	"id": meta.custom.id,
	"outcome": finding.outcome,
	"reason": finding.reason,
	"since": time.format(failing_since(meta.custom.id)),
	"advisory": true,
} if {
	finding.outcome in {"fail", "error"}
	data.config.controls.mode[meta.custom.id] == "advisory"
} else := {
	"id": meta.custom.id,
	"outcome": finding.outcome,
	"reason": finding.reason,
	"since": time.format(since),
	"enforced_at": time.format(since + grace(meta, finding)),
} if {
	finding.outcome in {"fail", "error"}
	since := failing_since(meta.custom.id)
}

# METADATA
# description: >-
#   The first instant of a failure (nanoseconds), as the posture before this one
#   had it, but never in the future: that would lengthen the grace.
failing_since(id) := min([now, time.parse_rfc3339_ns(input.failing_since[id])]) if input.failing_since[id]

else := now

# METADATA
# description: >-
#   How long the finding does not count, in nanoseconds: as the finding says, or
#   else the control's metadata.
grace(meta, finding) := finding.grace if {
	finding.outcome == "fail"
	finding.grace
} else := time.parse_duration_ns(meta.custom.grace) if {
	finding.outcome == "fail"
	meta.custom.grace
} else := 0

# METADATA
# description: Whether a control's answer counts against the device by now.
enforced(control) if time.parse_rfc3339_ns(control.enforced_at) <= now

now := time.parse_rfc3339_ns(input.now)
